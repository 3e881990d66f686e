"""Parked pieces of KUMA's answer, large and many: their size is shown, and each is read when it is asked for."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import sys
import tracemalloc
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from prompt import Answered, World, ask, shell, world
from stores import opened

from kuma_sync.core.comparison import Rejected

LARGE = 4 * 1024 * 1024
ALERT = b'{"id": "5f0c2a3e-0000-4000-8000-000000000001", "name": "one", "status": "new", "priority": "high"}'


def noise(seed: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return random.Random(seed).randbytes(LARGE)


async def park(url: str, pieces: Sequence[bytes]) -> list[str]:
    """Park pieces; return their digests."""
    rejected = [
        Rejected(digest=f"sha256:{number:064x}", reason="not valid JSON", raw=raw) for number, raw in enumerate(pieces)
    ]
    async with opened(url) as store:
        for piece in rejected:
            with store.writing() as tx:
                tx.rejects.park([piece])
    return [piece.digest for piece in rejected]


async def measured(w: World, words: str) -> tuple[Answered, int]:
    """Run a command; return how it ended, and how many bytes it held at most."""
    await ask(*words.split(), "--help")  # what it loads is not what it reads
    tracemalloc.start()
    try:
        answer = await ask(*words.split(), *w.c)
        return answer, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_who_only_looks_reads_no_piece_and_is_told_its_size(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        digest, *_others = await park(either_url, [noise(number) for number in range(2)])
        looks = ["status", "status --json", "alerts", "alerts --json --state parked", f"show {digest}"]
        for words in looks:
            await ask(*words.split(), *w.c)
        # What is loaded, or done in another thread, meanwhile is not what it reads: the smaller one of two counts.
        answers = {words: min([await measured(w, words) for _ in range(2)], key=itemgetter(1)) for words in looks}

    for words, (answer, peak) in answers.items():
        assert answer.code == 0
        assert peak < LARGE / 2, words
        assert (str(LARGE) if words == "status --json" else "4.0 MB") in answer.out


async def test_a_piece_is_printed_as_it_came_when_it_is_asked_for(either_url: str, tmp_path: Path) -> None:
    raw = b'{"name": "\xff\x00\x1b[31m\n"}'
    async with world(tmp_path, store={"url": either_url}) as w:
        (digest,) = await park(either_url, [raw])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", "show", "--raw", digest, *w.c), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()

    assert (process.returncode, out) == (0, raw)


async def test_a_piece_cannot_write_to_a_terminal_but_letters(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        (digest,) = await park(sqlite_url, [b'{"name": "\xff\x1b[31m\xc2\x9b\xd0\xb6"}'])
        ours, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", "show", "--raw", digest, *w.c), stdout=terminal
        )
        await process.wait()
        os.close(terminal)
        out = os.read(ours, 4096)
        os.close(ours)

    assert out.decode().strip() == '{"name": "\ufffd\\x1b[31m\\x9bж"}'


async def test_a_piece_that_has_nowhere_to_go_is_one_sentence(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        (digest,) = await park(sqlite_url, [b"no alert"])
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", 'exec "$@" >/dev/full', "bash", sys.executable, "-m", "kuma_sync"),
            *("show", "--raw", digest, *w.c),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()

    assert process.returncode == 1
    assert [line.startswith("kuma-sync: standard output ") for line in err.decode().splitlines()] == [True]


async def test_what_is_no_piece_has_nothing_to_print_as_it_came(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        alert_id = w.kuma.raise_alert()
        await ask("run", "--once", *w.c)
        answer, both = await shell("show", "--raw", alert_id, *w.c), await ask("show", "--raw", "--json", "x", *w.c)

    assert (answer.code, answer.out) == (1, "")
    assert answer.sentence.endswith("only those are kept as they came")
    assert both.code == 2


async def test_pieces_are_tried_again_one_after_the_other(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        digests = await park(either_url, [noise(0)])
        _answer, of_one = await measured(w, f"retry {digests[0]}")
        await park(either_url, [*(noise(number) for number in range(4)), ALERT])
        answer, of_all = await measured(w, "retry --all")
        shown = await ask("alerts", "--json", *w.c)

    assert answer.code == 1, "four of them are no alerts"
    assert len(answer.lines("sha256:")) == 1
    assert [row["name"] for row in shown.json if row["state"] == "pending"] == ["one"]
    assert of_all < of_one + LARGE
