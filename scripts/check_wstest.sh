#!/usr/bin/env bash
# The Autobahn test suite (RFC 6455, parts 1 to 10) against the media socket's own protocol; see bench/wstest.py.
#
#   scripts/check_wstest.sh
#
# The suite runs on Python 2.7 alone. PYTHON2: one; without it python2.7, python2 or pyenv's. The suite's
# environment is temporary and needs the network (WSTEST=/path/to/wstest uses one that is there); a virtualenv
# before 20.22 still makes environments for 2.7. PYTHON: the interpreter that runs Voxray. Two minutes or so.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find_python2() {
    local candidate
    for candidate in "${PYTHON2:-}" "$(command -v python2.7 || true)" "$(command -v python2 || true)" \
        "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; assert sys.version_info[:2] == (2, 7)' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python 2.7 here (PYTHON2=...): Autobahn's test suite does not run without" >&2
    return 1
}

wstest=${WSTEST:-}
if [ -z "$wstest" ]; then
    python2=$(find_python2)
    "$python" -m venv "$work/maker"
    "$work/maker/bin/pip" install -q --disable-pip-version-check 'virtualenv<20.22'
    "$work/maker/bin/virtualenv" -q -p "$python2" "$work/wstest"
    "$work/wstest/bin/pip" install -q --disable-pip-version-check \
        autobahntestsuite==0.8.2 autobahn==0.10.9 twisted==20.3.0 txaio==2.1.0
    wstest=$work/wstest/bin/wstest
fi
exec_python() { PYTHONPATH=$PWD "$python" -m bench.wstest "$wstest" "$@"; }
exec_python "$@"
