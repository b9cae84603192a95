"""The Lua that Redis runs for us, each as one step that nothing can come between.

The board is two keys: KEYS[1], a sorted set of calls by the millisecond at which each lapses, and KEYS[2], a
hash of what they are, whose values begin with the lease, 32 characters, and a space. Every script of it first
drops what has lapsed; also what would live longer than it can: then Redis's clock was set back, or it is
somebody else's writing.
"""

from __future__ import annotations

from voxray.stores.link import Script
from voxray.stores.ports import MAX_SHOWN

ONCE = Script("""
local t = redis.call('TYPE', KEYS[1]).ok
if t == 'string' then
  return redis.call('GETRANGE', KEYS[1], 0, ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")

TAKE = Script("""
local text = redis.call('GETRANGE', KEYS[1], 0, ARGV[1])
redis.call('DEL', KEYS[1])
return text
""")

_FIRST = """
local function only(key, kind)
  local t = redis.call('TYPE', key).ok
  if t ~= kind and t ~= 'none' then redis.call('DEL', key) end
end
only(KEYS[1], 'zset')
only(KEYS[2], 'hash')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ttl = tonumber(ARGV[1])
local function drop(low, high)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], low, high)) do
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
  end
end
drop('-inf', now)
drop(now + ttl + 1000, '+inf')
local function lease_of(member)
  local about = redis.call('ZSCORE', KEYS[1], member) and redis.call('HGET', KEYS[2], member)
  return about and string.sub(about, 1, 32) or nil
end
local function hold(member, lease, about)
  redis.call('ZADD', KEYS[1], now + ttl, member)
  redis.call('HSET', KEYS[2], member, lease .. ' ' .. about)
  redis.call('PEXPIRE', KEYS[1], ttl + 60000)
  redis.call('PEXPIRE', KEYS[2], ttl + 60000)
end
"""

# ARGV: ttl, member, lease, about, limit, take over (0, 1) -> {0 admitted | 1 full | 2 live elsewhere, count}
RESERVE = Script(
    _FIRST
    + """
local held = lease_of(ARGV[2])
local count = redis.call('ZCARD', KEYS[1])
if held and held ~= ARGV[3] and ARGV[6] ~= '1' then return {2, count} end
if not held and count >= tonumber(ARGV[5]) then return {1, count} end
hold(ARGV[2], ARGV[3], ARGV[4])
return {0, redis.call('ZCARD', KEYS[1])}
"""
)

# ARGV: ttl, then member, lease, about of each call -> {count, the leases that are lost...}
RENEW = Script(
    _FIRST
    + """
local answer = {0}
for i = 2, #ARGV, 3 do
  local held = lease_of(ARGV[i])
  if held and held ~= ARGV[i + 1] then
    answer[#answer + 1] = ARGV[i + 1]
  else
    hold(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
end
answer[1] = redis.call('ZCARD', KEYS[1])
return answer
"""
)

# KEYS[3]: the mark of a call that is over. ARGV: ttl, member, lease, how long the mark stands, 0: none
RELEASE = Script(
    _FIRST
    + """
local held = lease_of(ARGV[2])
if not held or held == ARGV[3] then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[2])
  if ARGV[4] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[4]) end
end
return redis.call('ZCARD', KEYS[1])
"""
)

# -> what the calls are
LIST = Script(
    _FIRST
    + f"""
local answer = {{}}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, {MAX_SHOWN - 1})) do
  if redis.call('HSTRLEN', KEYS[2], member) <= 4096 then
    answer[#answer + 1] = string.sub(redis.call('HGET', KEYS[2], member) or '', 34)
  end
end
return answer
"""
)

COUNT = Script(_FIRST + "return redis.call('ZCARD', KEYS[1])")

# KEYS[3]: as in RELEASE. ARGV: ttl, member
SEEN = Script(_FIRST + "return (lease_of(ARGV[2]) or redis.call('EXISTS', KEYS[3]) == 1) and 1 or 0")

# ARGV: ttl, member
LIVE = Script(_FIRST + "return lease_of(ARGV[2]) and 1 or 0")
