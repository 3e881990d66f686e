"""A command's own output: closed, on a full disk, half read, or holding what a terminal would obey."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from addresses import somewhere
from preloaded import for_shell
from prompt import World, ask, until, world
from stores import opened

import kuma_sync
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.core.text import printable, printable_json
from kuma_sync.sync.closing.intake import accept

PACKAGE = Path(kuma_sync.__file__).parent
HOSTILE = "5f0c2a3e\x1b]0;owned\x07\x9b31m\u202egp\u2066.\u200bx\x7f"
CLOSED = "kuma-sync: standard output is closed, so nobody can be told the result"
FULL = "kuma-sync: standard output cannot be written: no space left on device"


async def in_shell(line: str, *words: str) -> tuple[int, str, str]:
    """Run a shell's line, in which KUMA_SYNC stands for the command; an interpreter where a stream is closed."""
    command = shlex.join([sys.executable, "-m", "kuma_sync"] if ">&-" in line else for_shell())
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", line.replace("KUMA_SYNC", command), "bash", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize("words", ["status", "alerts --json", "profile list", "--help"])
async def test_results_that_do_not_fit_on_a_disk_are_one_sentence(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        await ask("run", "--once", *w.c)
        config = "" if words == "--help" else f"-c {w.config}"
        code, out, err = await in_shell(f"KUMA_SYNC {words} {config} >/dev/full")

    assert (code, out, err.splitlines()) == (1, "", [FULL])


@pytest.mark.parametrize("words", ["status", "run --once"])
async def test_results_that_have_nowhere_to_go_are_one_sentence(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        code, out, err = await in_shell(f"KUMA_SYNC {words} -c {w.config} >&-")

    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == CLOSED
    assert "Traceback" not in err


@pytest.mark.parametrize(("words", "code"), [("status --exit-code", 3), ("status", 0), ("config check", 0)])
async def test_a_verdicts_exit_code_is_the_same_where_nobody_reads_on(tmp_path: Path, words: str, code: int) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        told = await in_shell(f"KUMA_SYNC {words} -c {w.config} | true")

    assert told == (code, "", "")


async def test_what_was_ordered_is_done_although_its_result_cannot_be_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert_id = w.kuma.raise_alert()
        await ask("run", "--once", *w.c)
        code, _out, err = await in_shell(f"KUMA_SYNC drop --yes {alert_id} -c {w.config} >/dev/full")
        view = (await ask("show", "--json", alert_id, *w.c)).json

    assert (code, err.splitlines()) == (1, [FULL])
    assert view["link"]["dropped"] is True


async def test_whoever_has_read_enough_is_told_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for _ in range(200):
            w.kuma.raise_alert(name="x" * 500)
        await ask("run", "--once", *w.c)
        code, out, err = await in_shell(f"KUMA_SYNC alerts --limit 400 -c {w.config} | head -1")

    assert out.startswith("alert ")
    assert (code, err) == (1, "")


@pytest.mark.parametrize(
    ("words", "code", "stderr"),
    [
        ("status -c nowhere.toml", 2, "2>&-"),
        ("show 5f0c2a3e", 1, "2>/dev/full"),
        ("show 5f0c2a3e", 1, "2> >(true)"),
        ("nonsense", 2, "2>&-"),
    ],
)
async def test_an_exit_code_is_the_same_where_its_sentence_cannot_be_said(
    tmp_path: Path, words: str, code: int, stderr: str
) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        words += f" -c {w.config}" if "5f0c" in words else ""
        found = await in_shell(f"KUMA_SYNC {words} {stderr}")

    assert found[:2] == (code, "")


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>/dev/full"])
async def test_the_daemon_lives_and_works_whatever_its_streams_are(tmp_path: Path, streams: str) -> None:
    async with world(tmp_path) as w:
        daemon = await asyncio.create_subprocess_exec(
            *("bash", "-c", f'exec "$@" {streams}', "bash", sys.executable, "-m", "kuma_sync", "run", *w.c)
        )
        try:
            alert_id = w.kuma.raise_alert()
            await until(lambda: w.irp.by_key(f"kuma:kuma:{alert_id}") or daemon.returncode is not None)
            alive = daemon.returncode is None
            taken = {str(Path(f"/proc/{daemon.pid}/fd/{number}").readlink()) for number in range(3)} if alive else set()
        finally:
            if daemon.returncode is None:
                daemon.terminate()
            code = await daemon.wait()

    assert (alive, code) == (True, 0)
    assert not [name for name in taken if "socket" in name or "store" in name], "a standard stream is no file of ours"


async def test_a_log_that_nobody_reads_does_not_hold_the_daemon_up(tmp_path: Path) -> None:
    listen = somewhere()
    async with world(tmp_path, web={"listen": listen}, log={"level": "debug"}, poll={"interval": "50ms"}) as w:
        reading, writing = os.pipe()
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", "run", *w.c), stderr=writing, stdout=asyncio.subprocess.DEVNULL
        )
        os.close(writing)
        try:
            for _ in range(300):
                w.kuma.raise_alert(events=1)
            await until(lambda: len(w.irp.incidents) == 300 or daemon.returncode is not None, seconds=60)
            health = await ask("health", "--live", "--url", listen)
        finally:
            daemon.terminate()
            code = await daemon.wait()
            os.close(reading)

    assert len(w.irp.incidents) == 300
    assert (health.code, code) == (0, 0)


async def parked_closing(w: World, alert_id: str) -> None:
    """Park the closing of an id that only the door has ever seen: KUMA does not know it."""
    request = CloseRequest(alert_id=AlertId(alert_id), reason=Reason.RESPONDED, origin=Origin.IRP, by="sv")
    async with opened(w.tables["store"]["url"]) as store:
        with store.writing() as tx:
            accept(tx, request, to_kuma=True)
    assert (await ask("run", "--once", *w.c)).code == 1


@pytest.mark.parametrize("words", ["status", "alerts", "show", "drop", "retry"])
async def test_no_command_prints_what_a_terminal_would_obey(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert(name=HOSTILE)
        await ask("run", "--once", *w.c)
        await parked_closing(w, HOSTILE)
        named = [HOSTILE] if words in ("show", "drop", "retry") else []
        text = await ask(words, *named, *(["--yes"] if words == "drop" else []), *w.c)

    assert text.code == 0, text.err
    assert all(line.isprintable() for line in (text.out + text.err).splitlines())
    assert printable(HOSTILE) in text.out


@pytest.mark.parametrize("words", ["status", "alerts", "show", "drop --yes", "drop --dry-run", "retry"])
async def test_a_name_with_line_breaks_writes_no_line_of_its_own(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        await parked_closing(w, "5f0c2a3e\nkuma-sync: all is well")
        command, *options = words.split()
        named = [] if command in ("status", "alerts") else ["5f0c2a3e\nkuma-sync: all is well"]
        text = await ask(command, *named, *options, *w.c)

    assert "all is well" in text.out
    assert not [line for line in (text.out + text.err).splitlines() if line.startswith("kuma-sync: all is well")]


@pytest.mark.parametrize("words", ["status", "alerts", "show"])
async def test_json_says_the_same_in_escapes(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        await parked_closing(w, HOSTILE)
        text = await ask(words, "--json", *([HOSTILE] if words == "show" else []), *w.c)

    assert all(line.isprintable() for line in text.out.splitlines())
    assert printable_json(json.dumps(HOSTILE)[1:-1]) in text.out
    assert HOSTILE in _texts(json.loads(text.out))


def _texts(value: object) -> set[str]:
    match value:
        case dict():
            return set().union(*map(_texts, value.values()))
        case list():
            return set().union(*map(_texts, value))
        case str():
            return {value}
    return set()


async def test_a_sentence_about_a_hostile_name_is_harmless_and_one_line() -> None:
    code, out, err = await in_shell('KUMA_SYNC status -c "$1"', f"/nowhere/{HOSTILE}\nkuma-sync: all is well")

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.rstrip("\n").isprintable()


async def test_what_would_be_sent_is_shown_harmlessly(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert_id = w.kuma.raise_alert(name=HOSTILE)
        await ask("run", "--once", *w.c)
        shown = await ask("render", alert_id, *w.c)

    assert shown.code == 0
    assert all(line.isprintable() for line in shown.out.splitlines())
    assert printable_json(json.dumps(HOSTILE)[1:-1]) in shown.out


def test_one_module_alone_writes_to_the_standard_streams() -> None:
    """A question, which click asks on stderr, is no result, and neither is the progress that a terminal is shown."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
                    found.add(path.relative_to(PACKAGE).as_posix())
                case ast.Attribute(value=ast.Name(id="click"), attr="echo" | "secho"):
                    found.add(path.relative_to(PACKAGE).as_posix())
                case ast.Name(id="print"):
                    found.add(path.relative_to(PACKAGE).as_posix())

    assert found == {"cli/out.py", "cli/progress.py", "telemetry/logs.py"}


@pytest.mark.parametrize("text", ["plain", "Вход 😀", "a\tb", HOSTILE, "\ud800", "\U000e0041", "\x00"])
def test_escapes_are_reversible(text: str) -> None:
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
