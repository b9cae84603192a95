#!/usr/bin/env bash
# Has sslyze compare what a server speaks with Mozilla's intermediate profile; exit status 0: compliant.
#
#   scripts/check_tls.sh HOST:PORT   a server that is up
#   scripts/check_tls.sh             daemons of our own on loopback, with an ECDSA and an RSA certificate of an
#                                    authority made for the occasion; then testssl.sh too, if it is installed
#
# sslyze goes into a temporary environment and is gone afterwards: it needs the network, and is no dependency
# of ours. SSLYZE=/path/to/sslyze uses one that is there. PYTHON: the interpreter that runs Voxray.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
daemons=
finish() {
    if [ -n "$daemons" ]; then
        kill "$daemons" 2>/dev/null || true
        wait "$daemons" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

sslyze=${SSLYZE:-}
if [ -z "$sslyze" ]; then
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --disable-pip-version-check sslyze
    sslyze=$work/venv/bin/sslyze
fi

# Starts the daemons, writes their addresses to a file, and ends them when it is asked to end.
start_daemons() {
    "$python" - "$work" <<'PYTHON' &
import signal
import ssl
import sys
import threading
from pathlib import Path

sys.path.insert(0, ".")
from tests.attackers import SCRIPTED, LiveDaemon
from tests.certificates import Authority, write_pair

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
work = Path(sys.argv[1])
authority, daemons = Authority(), []
root = authority.write_root(work)
for kind in ("ecdsa", "rsa"):
    certificate, key = write_pair(work, kind, kind=kind, authority=authority, ends=90)
    tls = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
    daemons.append(LiveDaemon(work / kind, {**SCRIPTED, **tls}))
    daemons[-1].tls = ssl.create_default_context(cafile=root)
try:
    for daemon in daemons:
        daemon.start()
    (work / "addresses.new").write_text("".join(f"localhost:{daemon.port}\n" for daemon in daemons))
    (work / "addresses.new").rename(work / "addresses")
    while not over.wait(0.2):
        pass
finally:
    for daemon in daemons:
        daemon.stop()
PYTHON
    daemons=$!
    until [ -s "$work/addresses" ]; do
        kill -0 "$daemons" 2>/dev/null || { echo "the daemons did not start" >&2; exit 1; }
        sleep 0.2
    done
}

trust=()
if [ $# -eq 0 ]; then
    start_daemons
    mapfile -t targets <"$work/addresses"
    trust=(--certinfo_ca_file "$work/root.pem")
else
    targets=("$@")
fi

failed=0
for target in "${targets[@]}"; do
    echo "== sslyze, Mozilla's intermediate profile: $target"
    if "$sslyze" --mozilla_config=intermediate "${trust[@]}" "$target" >"$work/report" 2>&1; then
        sed -n '/^ COMPLIANCE/,$p' "$work/report"
    else
        cat "$work/report"
        failed=1
    fi
done

if [ $# -eq 0 ] && command -v testssl >/dev/null; then
    for target in "${targets[@]}"; do
        echo "== testssl.sh: $target (what it finds above LOW)"
        testssl --add-ca "$work/root.pem" --quiet --color 0 --warnings batch --severity MEDIUM --jsonfile "$work/findings.json" \
            --ids-friendly "$target" >"$work/testssl" 2>&1 || true
        "$python" - "$work/findings.json" <<'PYTHON' || failed=1
import json
import sys

# Of no web page, and of an authority that nobody can ask.
APART = ("security_headers", "cert_revocation")
found = [f for f in json.load(open(sys.argv[1])) if f["severity"] in ("MEDIUM", "HIGH", "CRITICAL")]
for finding in found:
    print(f'{finding["severity"]}: {finding["id"]}: {finding["finding"]}')
sys.exit(any(f["id"] not in APART for f in found))
PYTHON
        rm -f "$work/findings.json"
    done
fi
exit "$failed"
