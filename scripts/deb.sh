#!/usr/bin/env bash
# Builds the Debian package for the release that this runs on: dist/voxray_VERSION+debN_ARCH.deb.
# Called by `make deb`. As root it installs what the build needs; as anyone else it says what to type.
#
# The tree is copied first: the build leaves nothing in the checkout but dist/.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf '\nvoxray: %s\n' "$*" >&2; exit 1; }

# A home of its own is given to the build; pip's cache is worth keeping all the same.
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$HOME/.cache/pip}
export DEBIAN_FRONTEND=noninteractive

[ -e /etc/debian_version ] || die "this is not Debian: its packages can be built there alone"
if ! command -v dpkg-buildpackage >/dev/null || ! dpkg-checkbuilddeps 2>/dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
        die "the build needs packages. Type: sudo apt-get install -y dpkg-dev && sudo apt-get build-dep -y ."
    fi
    echo "  installing what the build needs"
    apt-get update -qq || echo "  apt-get update failed; going on with what is there"
    apt-get install -y -qq --no-install-recommends dpkg-dev >/dev/null
    apt-get build-dep -y -qq --no-install-recommends "$PWD" >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/voxray"
tar --create --exclude-vcs --exclude-caches --exclude=./.venv --exclude=./dist --exclude=./build --exclude='*.egg-info' \
    --exclude=__pycache__ --exclude=dropin.cache --exclude='_trial_temp*' --exclude=./results . |
    tar --extract --directory "$work/voxray"

started=$SECONDS
printf '  building the package (wheels from PyPI, then compressing; the log is shown if it fails)\n'
if ! (cd "$work/voxray" && dpkg-buildpackage --build=binary --no-sign) >"$work/log" 2>&1 </dev/null; then
    cut -c1-400 "$work/log" | tail -n 40 >&2
    die "dpkg-buildpackage failed"
fi
mkdir -p dist
for made in "$work"/voxray_*.deb; do
    mv "$made" dist/
    made=dist/${made##*/}
    printf '  %s, %d MB, %d MB installed, in %d s\n' "$made" $(($(stat -c %s "$made") / 1000000)) \
        $(($(dpkg-deb -f "$made" Installed-Size) / 1000)) $((SECONDS - started))
done
