"""Why calls end: the one list. Whatever is counted or recorded of an end is one of these.

`docs/cdr.md` says what each means for the owner.
"""

from __future__ import annotations

from enum import StrEnum


class EndReason(StrEnum):
    """Members are their texts, so that they go where a port wants a `str`."""

    # the other end
    CALLER_HANGUP = "caller_hangup"  # the carrier said `stop`
    CLOSED = "closed"  # the carrier closed the socket without it
    LOST = "lost"  # the connection went without a close
    DEAD_PEER = "dead_peer"  # no message of any kind for a while
    SLOW_CONSUMER = "slow_consumer"  # the carrier does not read
    POLICY = "policy"  # misconduct on the socket
    PROTOCOL = "protocol"  # not RFC 6455, or over its size limits
    # this end
    AGENT = "agent"
    IDLE = "idle"  # nobody spoke, after the prompts
    MAX_DURATION = "max_duration"
    PROVIDER_FAILURE = "provider_failure"  # turn after turn failed
    TRANSFERRED = "transferred"
    OPERATOR = "operator"  # through the API
    REPLACED = "replaced"  # the same call came back on another socket
    # dialled by us, and never up
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    CANCELED = "canceled"  # through the API
    FAILED = "failed"  # the carrier would not
    # the daemon
    SHUTDOWN = "shutdown"  # the daemon stopped
    DRAIN_FORCED = "drain_forced"  # the time for waiting on a stop was up
    ERROR = "error"  # our own fault


def reason_of(text: str, otherwise: EndReason) -> EndReason:
    """The reason of this name. What a model calls its own is free text, hence `otherwise`."""
    try:
        return EndReason(text)
    except ValueError:
        return otherwise
