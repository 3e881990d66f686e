"""How the C library keeps memory for this process."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""mallopt(3), of glibc."""


def keep_one_arena() -> None:
    """Let all threads allocate from one place.

    glibc gives each thread a place of its own, and what large alerts took in one is not used by another: ten megabytes
    more at the peak. Where the C library is another one, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
