"""List the licences of the libraries that the program runs with, as their installed metadata tell, in docs/licences.md.

    python deploy/release/licences.py docs/licences.md            write the list
    python deploy/release/licences.py docs/licences.md --check    exit 1 if it is not what would be written

A licence that is not named here ends it with 1: somebody has to read it first.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PINNED = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.+?))? \\$", re.MULTILINE)

PERMISSIVE = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
"""They ask for no more than that their text goes along; it does, in each library's *.dist-info folder."""

COPYLEFT = {
    "certifi": (
        "MPL-2.0",
        "a list of authorities; a change to its own files would have to be published, and none is made",
    ),
    "psycopg": ("LGPL-3.0-only", "used unchanged, as a library that anyone can replace in the environment"),
    "psycopg-binary": (
        "LGPL-3.0-only",
        "as psycopg; it holds, unchanged, libpq, OpenSSL, Kerberos, OpenLDAP and SASL, which are permissive, and"
        " libkeyutils and libcrypt, which are LGPL-2.1-or-later",
    ),
}
"""Libraries under a weak copyleft, with the reason why that asks for nothing of kuma-sync's own sources."""

BY_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
ELSEWHERE = {"tzdata": "Apache-2.0"}
"""Libraries of other systems, which are not installed here."""

HEAD = """\
# Licences

The libraries that kuma-sync runs with, as `requirements.lock` names them, and the licences that their metadata tell.
Written by `make licences`; a test fails if it is stale. The texts lie in each library's `*.dist-info` folder.

| library | version | licence |
|---|---|---|
"""
FOOT = """
All are permissive but these, whose weak copyleft asks for nothing of kuma-sync's own sources:

"""


class Unread(Exception):
    """A licence that nobody has judged yet."""


def listed() -> str:
    """Return the list; raise Unread."""
    rows, copyleft = "", ""
    for name, version, marker in sorted(PINNED.findall(LOCK.read_text(encoding="utf-8"))):
        licence = _licence(name)
        where = f" ({marker})" if name in ELSEWHERE else ""
        rows += f"| {name}{where} | {version} | {licence} |\n"
        if name in COPYLEFT:
            copyleft += f"* **{name}** ({licence}): {COPYLEFT[name][1]}.\n"
        elif not _permissive(licence):
            raise Unread(f"{name} {version} is under {licence!r}, which nobody has judged: deploy/release/licences.py")
    return HEAD + rows + FOOT + copyleft


def _licence(name: str) -> str:
    """Return a library's licence as an SPDX expression."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return ELSEWHERE.get(name, "unknown")
    expression, text = told.get("License-Expression"), (told.get("License") or "").strip()
    names = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    found = (
        expression
        or (text if text in PERMISSIVE else "")
        or " AND ".join(BY_CLASSIFIER.get(each, each) for each in names)
    )
    expected = COPYLEFT.get(name)
    if expected is not None and expected[0] != found:
        raise Unread(f"{name} is under {found!r} now; expected {expected[0]}: deploy/release/licences.py")
    return found or text or "unknown"


def _permissive(licence: str) -> bool:
    """Tell whether a library may be had under permissive licences alone."""
    return any(set(choice.strip("() ").split(" AND ")) <= PERMISSIVE for choice in licence.split(" OR "))


def main() -> int:
    """Write the list, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    try:
        text = listed()
    except Unread as unread:
        sys.stderr.write(f"{unread}\n")
        return 1
    if not given.check:
        given.path.write_text(text, encoding="utf-8")
    elif given.path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{given.path} is stale: make licences\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
