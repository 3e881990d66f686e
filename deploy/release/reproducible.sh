#!/bin/sh
# Build the wheel and the archive of the sources twice, in places as unlike as can be, and fail unless the bytes are the same.
#
#   PYTHON=.venv/bin/python deploy/release/reproducible.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# built FOLDER UMASK TIMEZONE SEED: copy the sources that git knows, and build
built() {
    umask "$2"
    mkdir -p "$1/sources"
    git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && tar --null -T - -cf -) | tar -m -C "$1/sources" -xf -
    (cd "$1/sources" && TZ=$3 PYTHONHASHSEED=$4 LC_ALL=$5 "$PYTHON" -m hatchling build -d "$1/made" > /dev/null 2>&1)
}
built "$work/one" 022 UTC 1 C
built "$work/another place, with a longer name" 027 Asia/Kamchatka 2 C.UTF-8

cd "$work/one/made"
for file in *; do
    cmp "$file" "$work/another place, with a longer name/made/$file"
    sha256sum "$file"
done
