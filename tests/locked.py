"""A folder that lets nobody in, not even root while it is locked."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = 0x20080522
LOOKS_EVERYWHERE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as the block runs; root stays the owner of the rest, but may not look everywhere."""
    mode, rights = folder.stat().st_mode, _Rights()
    _call(_libc.capget, rights)
    effective = rights.effective
    folder.chmod(0)
    rights.effective = effective & ~LOOKS_EVERYWHERE
    try:
        _call(_libc.capset, rights)
        yield
    finally:
        rights.effective = effective
        _call(_libc.capset, rights)
        folder.chmod(mode)


class _Rights(ctypes.Structure):
    """This thread's capabilities: the first 32, then those above."""

    _fields_ = [
        (f"{name}{half}", ctypes.c_uint32)
        for half in ("", "_above")
        for name in ("effective", "permitted", "inheritable")
    ]


def _call(function: ctypes._FuncPointer, rights: _Rights) -> None:
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    if function(header, ctypes.byref(rights)) != 0:
        raise OSError(ctypes.get_errno(), "this thread's capabilities")
