#!/usr/bin/env bash
# Tries the Debian package for real: lintian; install, upgrade, remove and purge in a chroot; then a boot under
# systemd in a container without a network, with calls placed into it. Called by `make deb-test`, as root, for the
# package in dist/ that was built for this release (or the one named). Ten minutes on two cores.
#
# Nothing is left behind: the container is powered off, what was mounted goes with its namespace.
set -euo pipefail
cd "$(dirname "$0")/.."
. /etc/os-release

die() { printf '\nvoxray: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "a container takes root: sudo make deb-test"
deb=${1:-$(find dist -name "voxray_*+deb${VERSION_ID}_*.deb" 2>/dev/null | sort -V | tail -n 1)}
[ -f "$deb" ] || die "there is no dist/voxray_*+deb${VERSION_ID}_*.deb: make deb"

release=${deb##*+deb}
case ${release%%_*} in # another release's package can be tried here, too
    12) suite=bookworm ;;
    13) suite=trixie ;;
    *) suite=$VERSION_CODENAME ;;
esac

work=$(mktemp -d)
root=$work/root
nspawn='' leader='' failed=0 passed=0
machine=$$ # in names of what must not collide

# ------------------------------------------------------------------ telling
say() { printf '\n=== %s (%d s)\n' "$*" $SECONDS; }
verdict() { # verdict STATUS TEXT
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1)) && printf '  ok      %s\n' "$2"
    else
        failed=$((failed + 1)) && printf '  FAILED  %s\n' "$2"
    fi
}
check() { # check TEXT COMMAND...: what it printed is shown when it fails
    local text=$1 status=0
    shift
    "$@" >"$work/said" 2>&1 </dev/null || status=$?
    verdict "$status" "$text"
    if [ "$status" -ne 0 ]; then
        tail -n 15 "$work/said" | cut -c1-300 | sed 's/^/          | /'
        if [ -n "$nspawn" ]; then inside journalctl --no-pager --lines 6 | cut -c1-300 | sed 's/^/          : /'; fi
    fi
}
is() { # is EXPECTED ACTUAL
    [ "$1" = "$2" ] || { printf 'expected: %s\ngot:      %s\n' "$1" "$2"; return 1; }
}
not() { ! "$@"; }
within() { # within SECS COMMAND...: again and again, until it succeeds
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

# ------------------------------------------------------------------ the container
inside() { nsenter --target "$leader" --mount --uts --ipc --net --pid --root -- timeout 100 env --chdir=/ -i \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 SYSTEMD_PAGER= DEBIAN_FRONTEND=noninteractive "$@"; }
state() { inside systemctl show --value --property "$1" "${2:-voxray}"; }
journal() { inside journalctl --output cat --no-pager --unit "${2:-voxray}" --since "@$1"; }
now() { date +%s.%N; }
answers() { # answers URL [CURL'S OPTIONS]: 200 from the daemon; asked from outside, in the container's network
    local url=$1
    shift
    nsenter --target "$leader" --net curl --silent --fail --max-time 5 --output "$work/body" "$@" "$url"
}
dial() { inside voxray-dial --say 'What are your opening hours?' --expect-reply 'friday|monday|six|nine' "$@"; }
configure() { # configure KEY=JSON...: the administrator's edit
    inside /usr/lib/voxray/bin/python -c '
import json, sys
path = sys.argv[1]
made = json.load(open(path))
made.update((name, json.loads(value)) for name, _, value in (word.partition("=") for word in sys.argv[2:]))
json.dump(made, open(path, "w"), indent=2)' /etc/voxray.json "$@"
}
boot() {
    # A mount namespace and a /run of its own: systemd-nspawn is not to talk to a systemd of this machine, and there
    # may be none. Under systemd 256 and later, cgroups of version 1 have to be asked for.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=${UNIFIED:-} unshare --mount sh -c \
        'mount -t tmpfs tmpfs /run && exec systemd-nspawn --quiet --register=no --keep-unit --private-network \
            --machine="$1" --directory="$2" --boot $3' sh "voxray-$machine" "$root" "${INIT_ARGUMENTS:-}" \
        >"$work/console" 2>&1 </dev/null &
    nspawn=$!
    within 20 child || { cat "$work/console"; return 1; }
    within 60 booted || { tail -n 20 "$work/console"; return 1; }
}
child() { # its init, once that runs: systemd-nspawn has other children before
    for leader in $(pgrep --parent "$nspawn"); do
        case $(cat "/proc/$leader/comm" 2>/dev/null) in systemd | init) return 0 ;; esac
    done
    return 1
}
booted() { case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac }
power_off() {
    [ -n "$nspawn" ] || return 0
    inside systemctl poweroff >/dev/null 2>&1 || true
    within 40 ended || kill -KILL "$leader" "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
    nspawn=''
}
ended() { ! kill -0 "$nspawn" 2>/dev/null; }
clean() {
    power_off
    if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf --one-file-system "$work"; fi
}
trap clean EXIT

files() { # everything but what dpkg and the system themselves write
    (cd "$root" && find . -xdev ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*' \
        ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' ! -path './run/*' ! -path './tmp/*' ! -path './root/*' \
        ! -path './var/lib/systemd/*' ! -path './var/tmp/*' ! -path './etc/machine-id' ! -path './var/lib/private' \
        ! -path './var/lib/apt/*' ! -path './var/lib/dbus/*' ! -path './etc/systemd/system/*.wants*' \
        ! -path './etc/letsencrypt*' ! -path '*/.updated' | sort)
}
without_network() { unshare --net chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# ------------------------------------------------------------------ the parts
tools() {
    local missing=()
    command -v lintian >/dev/null || missing+=(lintian)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    command -v curl >/dev/null || missing+=(curl)
    command -v pgrep >/dev/null || missing+=(procps)
    [ ${#missing[@]} -eq 0 ] && return
    apt-get update -qq || echo "apt-get update failed; going on with what is there"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

bootstrap() { # the smallest Debian with what the package depends on, from where this machine gets its own
    local depends
    depends=$(dpkg-deb --field "$deb" Depends | tr ',' '\n' | sed 's/(.*//; s/|.*//; s/ //g' | sort -u | paste -sd,)
    apt-config dump | grep -E '^Acquire::https?' >"$work/apt.conf" || true
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        grep -E " $suite(-[a-z]+)? " | sort -u >"$work/sources" || true
    [ -s "$work/sources" ] || echo "deb http://deb.debian.org/debian $suite main" >"$work/sources"
    mmdebstrap --quiet --variant=minbase --format=directory --aptopt="$work/apt.conf" \
        --include="systemd,systemd-sysv,dbus,openssl,man-db,certbot,pebble,procps,$depends" "$suite" "$root" "$work/sources"
    # A man page cannot be looked at if it is left out, and in minbase nothing is.
    rm -f "$root/etc/machine-id" && touch "$root/etc/machine-id"
    echo '127.0.0.1 localhost bot.example.com' >"$root/etc/hosts"
}

next_version() { # the same with a higher number, and another line in the conffile; packed again, not built again
    dpkg-deb --raw-extract "$deb" "$work/next"
    sed -i 's/^Version: .*/&.1/' "$work/next/DEBIAN/control"
    sed -i 's/"_comment": "/&Next version. /' "$work/next/etc/voxray.json"
    (cd "$work/next" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zzstd -z1 --build "$work/next" "$work/next.deb"
    rm -rf "$work/next"
}

lint() {
    check "lintian has no errors" lintian --allow-root --fail-on error "$deb"
    grep -oE '^W: voxray: [a-z-]+' "$work/said" | sort | uniq -c | sed 's/^/          /' || true
}

chroot_part() {
    check "it installs without a network" without_network dpkg --install /root/this.deb
    check "twistd has the voxray command, without a word about its cache" twistd_help
    check "so has voxray-twistd, and as nobody" nobody_help
    check "another package's twistd would not be in the way" \
        is /usr/bin/voxray-twistd "$(chroot "$root" readlink -f /etc/alternatives/twistd | sed 's|/usr/lib/voxray/bin/|/usr/bin/voxray-|')"
    check "every module of ours can be imported" without_network /usr/lib/voxray/bin/python -W error::ImportWarning -c '
import importlib, pkgutil, voxray
for each in pkgutil.walk_packages(voxray.__path__, "voxray."):
    if each.name not in ("voxray.testing", "voxray.simulator.__main__"): importlib.import_module(each.name)'
    check "the unit is clean to systemd-analyze verify" chroot "$root" systemd-analyze verify \
        voxray.service voxray.socket voxray@north.service
    check "voxray(8) and voxray-dial(1) can be read" without_network sh -c \
        'man voxray | grep -q credentials && man voxray-twistd | grep -q NAME && man 1 voxray-dial | grep -q carrier'
    check "keys are root's alone" is "700 root 600 root" \
        "$(chroot "$root" stat --format '%a %U' /etc/voxray/credentials /etc/default/voxray | paste -sd' ')"
    check "an edited configuration is upgraded" sed -i 's/"max_calls": 50/"max_calls": 51/' "$root/etc/voxray.json"
    check "  ... to the next version" without_network dpkg --force-confold --install /root/next.deb
    check "  ... and keeps the edit" grep -q '"max_calls": 51' "$root/etc/voxray.json"
    check "it is removed" without_network dpkg --remove voxray
    check "  ... and the configuration stays" grep -q '"max_calls": 51' "$root/etc/voxray.json"
    check "  ... and the command is gone" not test -e "$root/usr/bin/twistd" -o -L "$root/usr/bin/twistd"
    check "it is purged" without_network dpkg --purge voxray
    files >"$work/after"
    check "  ... and leaves nothing" diff "$work/before" "$work/after"
}
twistd_help() {
    without_network twistd --help >"$work/help" 2>&1 && grep -E '^ +voxray ' "$work/help" && ! grep -i cache "$work/help"
}
nobody_help() {
    without_network setpriv --reuid=65534 --regid=65534 --clear-groups voxray-twistd --help >"$work/help" 2>&1 &&
        grep -E '^ +voxray ' "$work/help" && ! grep -i cache "$work/help"
}

started_part() {
    check "it is up after the boot: READY came" is "active running" "$(state ActiveState) $(state SubState)"
    check "it tells how it is" is "answering, 0 calls" "$(state StatusText)"
    check "it runs as a user that exists while it runs" awk "BEGIN { exit !($(owner) >= 61184 && $(owner) <= 65519) }"
    check "/ready" answers http://127.0.0.1:8080/ready
    check "a call from inside, as installed: nothing edited, no key" dial
    exposure
}
owner() { inside stat --format %u "/proc/$(state MainPID)"; }
exposure() {
    local figure
    figure=$(inside systemd-analyze security --no-pager voxray.service | grep -oE 'voxray.service: [0-9.]+' | grep -oE '[0-9.]+$')
    echo "          exposure of the running unit: $figure"
    check "exposure is 1.3 or less" awk "BEGIN { exit !($figure <= 1.3) }"
}

secrets_part() {
    inside install -m 600 /dev/stdin /etc/voxray/credentials/twilio_auth_token <<<"0123456789abcdef0123456789abcdef"
    configure 'proxy_host="bot.example.com"' \
        'api_keys={"twilio_account_sid": "AC00000000000000000000000000000000", "twilio_auth_token": "credential:twilio_auth_token"}'
    began=$(now)
    check "a key is named in the configuration, and the daemon restarted" inside systemctl restart voxray
    check "a call signed with that key is answered" signed --public-url https://bot.example.com/
    check "the key's file is root's alone" is "600 root" \
        "$(inside stat --format '%a %U' /etc/voxray/credentials/twilio_auth_token)"
    check "the journal has no warning" not grep -E '#(warn|error|critical)\]|Traceback|Warning' <(journal "$began")
    check "  ... nor has systemd" is "" \
        "$(inside journalctl --no-pager --output cat --priority warning --unit voxray --since "@$began")"
    check "a call signed with another key is not" not signed_wrong
}
signed() { inside env TWILIO_ACCOUNT_SID=AC00000000000000000000000000000000 TWILIO_AUTH_TOKEN=0123456789abcdef0123456789abcdef \
    voxray-dial --say 'What are your opening hours?' --expect-reply 'friday|monday|six|nine' "$@"; }
signed_wrong() { inside env TWILIO_ACCOUNT_SID=AC00000000000000000000000000000000 TWILIO_AUTH_TOKEN=ffffffffffffffffffffffffffffffff \
    voxray-dial --public-url https://bot.example.com/ --wait 1 --no-transcribe; }

reload_part() {
    local before call
    began=$(now) before=$(state MainPID)
    signed --public-url https://bot.example.com/ >"$work/call" 2>&1 &
    call=$!
    within 20 speaking || true
    check "a reload, with a call up" inside systemctl reload voxray
    check "  ... has reached it" within 5 sighup
    check "  ... and left it running" is "active $before" "$(state ActiveState) $(state MainPID)"
    check "  ... and the call" wait "$call"
}
speaking() { state StatusText | grep -q ' 1 call$'; }
sighup() { journal "$began" | grep -q SIGHUP; }

watchdog_part() {
    local before after
    before=$(state MainPID) began=$(now)
    inside kill -STOP "$before"
    check "a loop that hangs is ended by the watchdog" within 25 restarted "$before"
    after=$(now)
    check "  ... and calls are answered again" within 10 answers http://127.0.0.1:8080/ready
    printf '          stopped, ended, started and answering again within %.1f s; answering %.1f s after the end\n' \
        "$(bc_ "$(now) - $began")" "$(bc_ "$(now) - $after")"
    check "  ... with the stack in the journal" grep -q 'Fatal Python error: Aborted' <(journal "$began")
    before=$(state MainPID)
    inside kill -KILL "$before"
    began=$(now)
    check "after SIGKILL calls are answered" within 15 answers_anew "$before"
    printf '          %.1f s after it\n' "$(bc_ "$(now) - $began")"
    check "  ... by an ordinary call, too" signed --public-url https://bot.example.com/
}
bc_() { awk "BEGIN { print $1 }"; }
restarted() { local pid; pid=$(state MainPID) && [ "$pid" != "$1" ] && [ "$pid" != 0 ]; }
answers_anew() { restarted "$1" && answers http://127.0.0.1:8080/ready; }

workers_part() {
    local parent first
    configure workers=2
    began=$(now)
    check "two workers on the port, within the unit's sandbox" inside systemctl restart voxray
    check "  ... who tell how they are" is "answering, 0 calls, 2 workers" "$(state StatusText)"
    check "  ... and take a call" signed --public-url https://bot.example.com/
    parent=$(state MainPID) first=$(workers | head -n 1)
    inside kill -KILL "$first"
    check "one that is killed is replaced" within 30 replaced "$first"
    first=$(workers | head -n 1)
    inside kill -STOP "$first"
    check "one that hangs is replaced, by the watchdog's time" within 60 replaced "$first"
    check "  ... and a call is taken" signed --public-url https://bot.example.com/
    check "  ... by the same daemon" is "$parent" "$(state MainPID)"
    first=$(workers | head -n 1)
    configure workers=1
    check "they stop" inside systemctl restart voxray
    check "  ... all of them" not inside kill -0 "$first"
}
workers() { inside pgrep --parent "$(state MainPID)" -f voxray.workers; }
replaced() { # replaced PID: it is gone, and there are two that serve
    ! workers | grep -qx "$1" && [ "$(workers | wc -l)" -eq 2 ] && state StatusText | grep -q ', 2 workers$'
}

stop_part() {
    began=$(now)
    check "it stops" inside systemctl stop voxray
    printf '          in %.1f s\n' "$(bc_ "$(now) - $began")"
    check "  ... and that is no failure" is "inactive dead success" \
        "$(state ActiveState) $(state SubState) $(state Result)"
    check "  ... and nothing is worth a warning" is "" \
        "$(inside journalctl --no-pager --output cat --priority warning --unit voxray --since "@$began")"
}

socket_part() {
    check "with the socket unit, systemd listens on 443" inside systemctl enable --now voxray.socket
    check "  ... and the first to come starts the daemon" is inactive "$(state ActiveState)"
    check "  ... who waits for it" answers http://127.0.0.1:443/ready --max-time 30
    check "  ... on the very socket" grep -q 'answering on :: port 443' <(journal "$began")
    check "a call on port 443, which the daemon could not open itself" \
        signed --public-url https://bot.example.com/ --url http://127.0.0.1:443/
}

tls_part() {
    local live=$root/etc/letsencrypt/live/bot.example.com call state
    authority || return 0
    check "certbot gets a certificate that only root can read, and its hook hands it over" inside certbot certonly --standalone \
        --domain bot.example.com --agree-tos --register-unsafely-without-email --server https://localhost:14000/dir \
        --deploy-hook /usr/share/voxray/certbot-deploy-hook $CERTBOT
    check "  ... which is root's alone" is 700 "$(stat --format %a "$root/etc/letsencrypt/archive")"
    configure tls_enable=true 'tls_cert_file="/var/lib/voxray/tls/fullchain.pem"' 'tls_key_file="/var/lib/voxray/tls/privkey.pem"'
    began=$(now)
    check "the daemon starts with it" inside systemctl restart voxray
    check "  ... and serves it, on the socket of systemd" within 10 answers https://bot.example.com/ready \
        --resolve bot.example.com:443:127.0.0.1 --cacert "$root/root/trusted.pem"
    check "  ... the very one" within 5 served "$live/cert.pem"
    cp -L "$live/cert.pem" "$work/first.pem"
    inside env SSL_CERT_FILE=/root/trusted.pem TWILIO_ACCOUNT_SID=AC00000000000000000000000000000000 \
        TWILIO_AUTH_TOKEN=0123456789abcdef0123456789abcdef voxray-dial --allow-remote --url https://bot.example.com/ \
        --public-url https://bot.example.com/ --say 'What are your opening hours?' --expect-reply 'friday|monday|six|nine' \
        --wait 6 --say 'What are your opening hours?' --expect-reply 'friday|monday|six|nine' >"$work/call" 2>&1 &
    call=$!
    within 20 speaking || true
    check "certbot renews it while a call is up" inside certbot renew --force-renewal $CERTBOT
    check "  ... the daemon is told" within 5 sighup
    state=$(stat --format %u "$root/var/lib/private/voxray") # its user; from systemd 254 on a stand-in for it
    check "  ... the new pair is where its user alone reads it" is "$state 600 $state 600" \
        "$(stat --format '%u %a' "$root"/var/lib/private/voxray/tls/*.pem | paste -sd' ')"
    check "  ... and is a new one" not cmp --silent "$live/cert.pem" "$work/first.pem"
    check "  ... and is served" within 10 served "$live/cert.pem"
    check "  ... with the call still up" speaking
    check "  ... which went on over TLS" went_well "$call"
    check "  ... and nobody restarted anything" is 1 "$(journal "$began" | grep -c 'answering on')"
    inside systemctl stop pebble certbot.timer >/dev/null 2>&1 || true
    rm -rf "$root/var/lib/letsencrypt"
}
CERTBOT="--non-interactive --no-verify-ssl --no-random-sleep-on-renew" # the server's own certificate is its test's
authority() { # Let's Encrypt's test server, in the container; it asks port 80 of the name for the proof, as the real one does
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$root/root/acme.key" -out "$root/root/acme.pem" 2>/dev/null
    cat >"$root/root/acme.json" <<'END'
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "httpPort": 80, "tlsPort": 5001,
 "certificate": "/root/acme.pem", "privateKey": "/root/acme.key"}}
END
    check "an ACME server runs in the container" inside systemd-run --quiet --unit pebble \
        --setenv PEBBLE_VA_NOSLEEP=1 --setenv PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/acme.json
    check "  ... and shows its root certificate" within 20 root_certificate
}
went_well() { wait "$1" || { tail -n 8 "$work/call"; return 1; }; }
root_certificate() { nsenter --target "$leader" --net curl --silent --fail --insecure --max-time 5 \
    --output "$root/root/trusted.pem" https://127.0.0.1:15000/roots/0; }
served() { # served FILE: the certificate in it is what a new connection gets
    is "$(openssl x509 -noout -fingerprint -in "$1")" "$(nsenter --target "$leader" --net openssl s_client \
        -connect 127.0.0.1:443 -servername bot.example.com </dev/null 2>/dev/null | openssl x509 -noout -fingerprint)"
}

instance_part() {
    inside systemctl disable --now voxray.socket voxray.service >/dev/null 2>&1
    install -m 644 etc/voxray.json "$root/etc/voxray/north.json"
    sed -i 's/"port": 8080/"port": 8090/' "$root/etc/voxray/north.json"
    check "an instance with a configuration of its own" inside systemctl start voxray@north
    check "  ... answers a call on its port" dial --url http://127.0.0.1:8090/
    check "  ... and stops" inside systemctl stop voxray@north
}

upgrade_part() {
    configure tls_enable=false
    inside systemctl enable --now voxray.service >/dev/null 2>&1
    local before
    before=$(state MainPID)
    check "an upgrade of the running daemon" inside dpkg --force-confold --install /root/next.deb
    check "  ... has it running anew" restarted "$before"
    check "  ... answering" within 15 answers http://127.0.0.1:8080/ready
    check "  ... with the keys and the configuration there were" signed --public-url https://bot.example.com/
    check "it is removed while it runs" inside dpkg --remove voxray
    check "  ... which ends it" not answers http://127.0.0.1:8080/ready
    check "it is purged" inside dpkg --purge voxray
    power_off
    files >"$work/after"
    check "  ... and leaves nothing, state and keys neither" diff "$work/before" "$work/after"
}

# ------------------------------------------------------------------ the order
say "tools, and $suite for the container"
tools
bootstrap
cp "$deb" "$root/root/this.deb"
next_version
mv "$work/next.deb" "$root/root/next.deb"
files >"$work/before"
say "lintian"
lint
say "in a chroot, without systemd and without a network"
chroot_part
say "under systemd, in a container without a network"
without_network dpkg --install /root/this.deb >/dev/null
boot || die "the container did not boot"
started_part
say "a key that only root can read"
secrets_part
say "reload"
reload_part
say "watchdog, and SIGKILL"
watchdog_part
say "workers"
workers_part
say "stop"
stop_part
say "socket unit"
socket_part
say "TLS: certbot and its hook"
tls_part
say "an instance"
instance_part
say "upgrade, remove and purge, running"
upgrade_part

printf '\n%d passed, %d failed, in %d s\n' "$passed" "$failed" "$SECONDS"
[ "$failed" -eq 0 ]
