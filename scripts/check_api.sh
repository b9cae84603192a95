#!/usr/bin/env bash
# schemathesis, all its checks, against the real daemon and the OpenAPI description that it serves.
#
#   scripts/check_api.sh           a small run, half a minute
#   scripts/check_api.sh 1000      so many examples for each operation
#   scripts/check_api.sh 100 ...   what else `schemathesis run` is to be told, such as --seed 1
#
# schemathesis goes into a temporary environment and is gone afterwards: it needs the network, and is no
# dependency of ours. SCHEMATHESIS=/path/to/schemathesis uses one that is there. PYTHON: the interpreter that
# runs Voxray.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

program=${SCHEMATHESIS:-}
if [ -z "$program" ]; then
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --disable-pip-version-check schemathesis==4.32.5
    program=$work/venv/bin/schemathesis
fi
"$python" scripts/check_api.py "$program" "${@:-20}"
