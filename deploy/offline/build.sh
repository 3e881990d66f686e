#!/bin/sh
# Build the archive for machines without a network: the wheel, those of its locked requirements, checksums, install.sh.
#
#   PYTHON=.venv/bin/python deploy/offline/build.sh build      for the version of that Python, and this kind of machine
#   SBOM=build/kuma-sync-0.1.0-py3.11.cdx.json …               the bill of materials that goes along
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$PYTHON
mkdir -p "$1"
into=$(cd "$1" && pwd)
umask 022
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2> /dev/null || stat -c %Y "$root/CHANGELOG.md")}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$root" && "$python" -m hatchling build -t wheel -d "$work/wheels" > /dev/null 2>&1)
own=$(basename "$work"/wheels/kuma_sync-*.whl)
version=${own#kuma_sync-}
version=${version%%-*}
name=kuma-sync-$version-py$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$(uname -m)
mkdir "$work/$name"
mv "$work/wheels" "$work/$name/"
"$python" -m pip --disable-pip-version-check download --quiet --only-binary :all: --require-hashes \
    --requirement "$root/requirements.lock" --dest "$work/$name/wheels"
cp "$root/requirements.lock" "$root/config.example.toml" "$root/CHANGELOG.md" "$root/README.md" "$root/README.ru.md" \
    "$root/deploy/kuma-sync.service" "$root/deploy/offline/install.sh" "$work/$name/"
cp -r "$root/docs" "$work/$name/"
mkdir "$work/$name/deploy"
cp -r "$root/deploy/prometheus" "$root/deploy/grafana" "$root/deploy/kuma-sync.service" "$work/$name/deploy/"
[ -z "${SBOM:-}" ] || cp "$SBOM" "$work/$name/"
"$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' > "$work/$name/PYTHON_VERSION"
(cd "$work/$name" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum > SHA256SUMS)
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u=rwX \
    -C "$work" -cf - "$name" | gzip -n -6 > "$into/$name.tar.gz"
echo "$into/$name.tar.gz"
