#!/bin/sh
# Install kuma-sync from this folder, without a network: sh install.sh [FOLDER], by default /opt/kuma-sync
#
# Another Python than python3: PYTHON=/path/to/python3 sh install.sh. Installed over an older version, it is an upgrade:
# stop the service before.
set -eu
cd "$(dirname "$0")"
umask 022
into=${1:-/opt/kuma-sync}
python=${PYTHON:-python3}
say() { echo "kuma-sync: $1" >&2; exit 1; }

sha256sum --check --strict --quiet SHA256SUMS || say 'the files are not those that were packed; fetch the archive again'
wanted=$(cat PYTHON_VERSION)
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || say "there is no $python"
[ "$found" = "$wanted" ] || say "this archive is for Python $wanted, and $python is Python $found"
"$python" -c 'import ensurepip' 2> /dev/null || say "$python cannot make environments (Debian: package python3-venv)"

"$python" -m venv "$into"
pip() { "$into/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-index "$@"; }
pip --require-hashes --find-links wheels --requirement requirements.lock
pip --no-deps --force-reinstall wheels/kuma_sync-*.whl
"$into/bin/kuma-sync" --version
