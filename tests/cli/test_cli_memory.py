"""Where the C library keeps what threads allocate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

THREADS = """
import ctypes, sys, threading
from kuma_sync.cli.daemon import keep_one_arena

libc = ctypes.CDLL(None)
if sys.argv[1] == "one":
    keep_one_arena()
together = threading.Barrier(4)

def allocate():
    together.wait()
    libc.malloc(100_000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
"""


def arenas(folder: Path, how: str) -> int:
    subprocess.run([sys.executable, "-c", THREADS, how, str(folder / "info.xml")], check=True, timeout=60)
    return (folder / "info.xml").read_text().count("<heap nr=")


def test_threads_of_the_daemon_allocate_from_one_place(tmp_path: Path) -> None:
    if arenas(tmp_path, "as it is") == 1:
        pytest.skip("this C library has one place for all threads anyway")
    assert arenas(tmp_path, "one") == 1
