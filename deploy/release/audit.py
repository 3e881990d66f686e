"""Ask the advisories about every release that our locks name, and tell "none known" from "nobody could be asked".

    python deploy/release/audit.py PIP_AUDIT LOCK...

Exit codes: 0 none is known, 1 at least one is, 77 it could not be asked about all of them. pip-audit itself says "no
known vulnerabilities" of what it could not ask about.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.markers import Marker

PINNED = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.+?))? \\$", re.MULTILINE)
IMPOSSIBLE = 77
SECONDS = 900


def main() -> int:
    """Audit each lock, and say in a line what came of it."""
    program, *locks = sys.argv[1:]
    codes = {_audited(program, Path(lock)) for lock in locks}
    return 1 if 1 in codes else max(codes)


def _audited(program: str, lock: Path) -> int:
    pins = PINNED.findall(lock.read_text(encoding="utf-8"))
    wanted = {(name, version) for name, version, marker in pins if not marker or Marker(marker).evaluate()}
    told, trouble = _asked(program, lock)
    found = [f"{one['name']} {one['version']}: {bad['id']}" for one in told for bad in one.get("vulns", ())]
    asked = {(one["name"], one["version"]) for one in told if "skip_reason" not in one}
    if found:
        sys.stdout.write(f"{lock.name}: {', '.join(found)}\n")
        return 1
    if left := len(wanted - asked):
        why = trouble or "the advisory service does not know them"
        sys.stdout.write(f"{lock.name}: {left} of {len(wanted)} releases were not audited: {why}\n")
        return IMPOSSIBLE
    sys.stdout.write(f"{lock.name}: no advisory is known for any of {len(wanted)} releases\n")
    return 0


def _asked(program: str, lock: Path) -> tuple[list[dict[str, Any]], str]:
    """Return what pip-audit tells of each library, or why it tells nothing."""
    words = [program, "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    try:
        asked = subprocess.run(  # noqa: S603  # our own tool
            [*words, "--requirement", str(lock)], capture_output=True, text=True, check=False, timeout=SECONDS
        )
        told: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], "the advisory service gave no answer in time"
    except ValueError:
        last = (asked.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return [], f"the advisory service could not be asked: {last[:200]}"
    return told, ""


if __name__ == "__main__":
    sys.exit(main())
