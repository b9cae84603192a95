#!/usr/bin/env bash
# Makes .venv: the environment that runs Voxray from this checkout. Called by the Makefile.
#
#   scripts/venv.sh run     what the daemon and the demo need
#   scripts/venv.sh dev     that, and what tests and lint need
#
# Idempotent: a stamp holds a hash of everything the result depends on; when it still matches
# there is nothing to do. PYTHON chooses the interpreter; SYSTEM_LIBS=skip leaves the system's
# libraries alone (on systems without apt).
set -euo pipefail

cd "$(dirname "$0")/.."
kind=${1:-run}
venv=$PWD/.venv
log=$venv/install.log

say() { printf '  %s\n' "$*"; }
die() { printf '\nvoxray: %s\n' "$*" >&2; exit 1; }

# ------------------------------------------------------------------ nothing to do?
stamp() { { printf '%s\n' "$PWD" "$1"; cat setup.cfg pyproject.toml constraints.txt scripts/venv.sh; } | sha256sum | cut -d' ' -f1; }

current() { # current KIND: was KIND installed from these very files, and does the interpreter still run?
    [ -f "$venv/.stamp-$1" ] && [ "$(cat "$venv/.stamp-$1")" = "$(stamp "$1")" ] && "$venv/bin/python" -c '' 2>/dev/null
}

# ------------------------------------------------------------------ the interpreter
suitable() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

interpreter() {
    local name
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if suitable "$name"; then command -v "$name"; return; fi
    done
    die "no Python >= 3.11 found. Install one (Debian 12: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.11 ..."
}

# ------------------------------------------------------------------ Debian's libraries
# Asked of the loader, not of dpkg: any way of having them will do.
loads() { "$python" -c 'import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]' "$@" 2>/dev/null; }

system_libraries() {
    local needed=() optional=()
    if [ "${SYSTEM_LIBS:-}" = skip ]; then return; fi
    loads libopus.so.0 || needed+=(libopus0)
    loads libflite.so.1 libflite_cmu_us_rms.so.1 || needed+=(libflite1)
    loads libespeak-ng.so.1 || optional+=(espeak-ng libespeak-ng1)
    if [ "$kind" = dev ]; then # the tests start their own; without it they are skipped
        command -v redis-server >/dev/null || optional+=(redis-server)
        command -v redis-sentinel >/dev/null || optional+=(redis-sentinel)
    fi
    "$python" -c 'import ensurepip' 2>/dev/null || needed+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
    local all=("${needed[@]}" "${optional[@]}")
    if [ ${#all[@]} -eq 0 ]; then return; fi

    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "installing from Debian: ${all[*]}"
        local apt_log
        apt_log=$(mktemp)
        if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${all[@]}"; } \
            >"$apt_log" 2>&1 </dev/null; then
            tail -n 20 "$apt_log" >&2
            die "apt-get failed; its output is in $apt_log"
        fi
        rm -f "$apt_log"
        return
    fi
    local line="sudo apt-get update && sudo apt-get install -y --no-install-recommends ${all[*]}"
    if [ ${#needed[@]} -eq 0 ]; then
        say "these are missing; everything works without them but a fallback voice and some tests. To add them:"
        say "    $line"
        return
    fi
    printf '\nThe system lacks %s. Type this, then the same make again:\n\n    %s\n\n' "${needed[*]}" "$line" >&2
    die "system libraries are missing (no Debian? install them your way, then: make SYSTEM_LIBS=skip ...)"
}

# ------------------------------------------------------------------ slow steps, shown
step() { # step TEXT COMMAND...: a ticking line while it runs, its log when it fails
    local text=$1 started=$SECONDS pid
    shift
    printf '  %s ' "$text"
    "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $(((SECONDS - started) % 3)) -eq 0 ]; then printf '.'; fi
    done
    if ! wait "$pid"; then
        printf ' failed\n\n' >&2
        tail -n 30 "$log" >&2
        die "\"$text\" failed; the whole output is in $log"
    fi
    printf ' %d s\n' $((SECONDS - started))
}

install() {
    local extras=local
    if [ "$kind" = dev ]; then extras=local,dev; fi
    # Compat mode: the default editable install hides twisted/plugins from Twisted's plugin search.
    # PIP_CONSTRAINT, not -c: it also holds for the isolated environment that builds the project.
    # A relative name: pip takes a space in the variable for the end of one file.
    PIP_CONSTRAINT=constraints.txt "$venv/bin/python" -m pip install \
        --disable-pip-version-check --no-input --progress-bar off \
        --editable ".[$extras]" --config-settings editable_mode=compat
}

plugin_cache() { # rewritten now, so that a run as another user finds it current
    (cd / && "$venv/bin/python" -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))')
}

usable() { # moved or half-made environments have launchers that point elsewhere
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 && grep -qsF "$venv/bin/python" "$venv/bin/pip"
}

main() {
    exec 9<. && flock 9 # one at a time
    if current "$kind" || { [ "$kind" = run ] && current dev; }; then return; fi
    python=$(interpreter)
    printf 'Making .venv (%s, %s)\n' "$kind" "$("$python" --version)"
    system_libraries
    if ! usable; then
        rm -rf "$venv"
        mkdir "$venv"
        step "creating the environment" "$python" -m venv "$venv"
    fi
    : >"$log"
    step "installing packages (from PyPI, about 150 MB the first time)" install
    step "telling Twisted about the plugin" plugin_cache
    stamp "$kind" >"$venv/.stamp-$kind"
}

main
