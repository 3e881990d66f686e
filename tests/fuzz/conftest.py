"""The stage of the whole days serves the fuzzed daemon, too."""

from __future__ import annotations

import sys
from pathlib import Path

_WALK = str(Path(__file__).parents[1] / "walk")
if _WALK not in sys.path:
    sys.path.append(_WALK)
