#!/bin/sh
# Write the bill of materials (CycloneDX) of what the image and the archive hold: the wheel and its locked requirements,
# installed as there, for the Python that is named.
#
#   PYTHON=.venv/bin/python CYCLONEDX=.venv-release/bin/cyclonedx-py deploy/release/sbom.sh build
#
# The same commit gives the same bytes.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
into=$(cd "$1" && pwd)
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2> /dev/null || stat -c %Y "$root/CHANGELOG.md")}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$root" && "$PYTHON" -m hatchling build -t wheel -d "$work" > /dev/null 2>&1)
"$PYTHON" -m venv --without-pip "$work/environment"
pip="$PYTHON -m pip --python $work/environment/bin/python --disable-pip-version-check install --quiet --no-compile"
$pip --only-binary :all: --require-hashes --requirement "$root/requirements.lock"
# By its name, not its path: of a path pip would write down where it lay.
$pip --no-deps --no-index --find-links "$work" kuma-sync
version=$("$work/environment/bin/kuma-sync" --version | sed 's/.* //')
name=kuma-sync-$version-py$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])').cdx.json
"$CYCLONEDX" environment --output-reproducible --output-format JSON --output-file "$into/$name" "$work/environment/bin/python"
echo "$into/$name"
