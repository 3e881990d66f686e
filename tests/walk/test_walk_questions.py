"""docs/questions.md, in both languages: a running daemon's pages and commands answer as the page says they do."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from console_stage import PASSWORD, Visitor, hash_of, text_of
from forked import ended
from stage import Stage, eventually, staged

from kuma_sync.sync.limits import Limits
from kuma_sync.web.console.app import PAGES
from kuma_sync.web.console.words import translations_of

DOCS = Path(__file__).parents[2] / "docs"
PAGES_OF = {"en": DOCS / "questions.md", "ru": DOCS / "questions.ru.md"}

CLOSED, PARKED, LARGE, IGNORED = (f"5f0c2a3e-0000-4000-8000-00000000000{number}" for number in range(4))
"""The alerts that the page's examples name."""

NUMBERS = ["1", "2", "3", "4", "5", "6", "9", "10", "7", "8"]
"""The questions in the order in which they are asked here: the last two need a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of the page: the menu's word, what the page shows, the command and the lines of its output."""

    number: str
    menu: str
    says: str
    command: tuple[str, ...]
    output: Sequence[str]

    @property
    def path(self) -> str:
        """Return the address of the page."""
        if self.command[0] == "show":
            return f"/alerts/{self.command[1]}"
        if self.command[0] == "pause":
            return f"/orders/pause?part={self.command[1]}"
        return ""


def questions(language: str) -> dict[str, Question]:
    """Read the page."""
    found = {}
    for part in re.split(r"^## ", PAGES_OF[language].read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        number = part.partition(".")[0]
        found[number] = Question(
            number=number,
            menu=_the(r"^\*\w+:\* \*\*(.+?)\*\*", part),
            says=_the(r"^> (.+)$", part),
            command=tuple(_the(r"^```bash\nkuma-sync (.+)\n```$", part).split()),
            output=[line for line in _the(r"^```output\n((?s:.*?))```$", part).splitlines() if line != "…"],
        )
    return found


def _the(pattern: str, part: str) -> str:
    (found,) = re.findall(pattern, part, re.MULTILINE)
    return str(found)


def shape(text: str) -> str:
    """Take out of a text what differs from one installation, and one moment, to the next."""
    text = re.sub(r"\S*/config\.toml", "FILE", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\b\d+(?:[.,]\d+)*[ \u00a0](?:s|min|h|seconds?|minutes?|с|секунд\w*|минут\w*)(?!\w)", "LONG", text)
    text = text.replace("Unprocessable Entity", "Unprocessable Content")  # it depends on the simulator's Python
    return " ".join(re.sub(r"(?<![\w-])\d+(?:[.,]\d+)*(?![\w-])", "N", text).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A running daemon, with somebody signed in who reads English, and somebody who reads Russian."""

    stage: Stage
    readers: dict[str, Visitor]

    async def answers(self, number: str) -> None:
        """Wait until the pages and the command say what is written down; fail with what they say instead."""
        for language, reader in self.readers.items():
            asked = questions(language)[number]
            menu = {translations_of(language).ugettext(page.menu): page.path for page in PAGES if page.menu}
            await self.page_says(reader, asked.path or menu[asked.menu], asked.says)
        asked = questions("en")[number]
        said = ""

        async def told() -> bool:
            nonlocal said
            _code, out, err = await ended(*asked.command, "-c", str(self.stage.config))
            said = out + err
            lines = [shape(line) for line in said.splitlines()]
            return all(shape(line) in lines for line in asked.output)

        try:
            await eventually(told)
        except AssertionError:
            pytest.fail(f"{asked.command} does not say what is written down but {said}")

    async def page_says(self, reader: Visitor, path: str, says: str) -> None:
        """Wait until a page shows some words."""
        seen = ""

        async def there() -> bool:
            nonlocal seen
            seen = text_of(await reader.sees(path))
            return shape(says) in shape(seen)

        try:
            await eventually(there)
        except AssertionError:
            pytest.fail(f"{path} does not say {says!r} but {seen!r}")

    async def happened(self) -> None:
        """Let an alert be closed, one be parked, one be too large, one be ignored; wait until that is noted."""
        kuma, irp = self.stage.kuma, self.stage.irp
        irp.knobs.reject_titles = "R077"
        for alert_id, name, events in (
            (CLOSED, "R014. Encoded PowerShell command", 3),
            (PARKED, "R077. Malware found and not removed", 3),
            (LARGE, "R058. Many failed logons", 60),
            (IGNORED, "Test of the correlator", 1),
        ):
            kuma.raise_alert(id=alert_id, name=name, events=events, priority="high", tenant="Main")
        await eventually(lambda: self.stage.incidents(CLOSED) and self.stage.incidents(LARGE))
        irp.analyst_close(self.stage.incident(CLOSED).id, "False positive")
        await eventually(lambda: kuma.alerts[CLOSED]["status"] == "closed")


@asynccontextmanager
async def night(folder: Path, database: str) -> AsyncIterator[Night]:
    """Run the daemon between both sides, with its console."""
    token, web = folder / "kuma-token", {"console": {"enabled": True, "users": {"anna": hash_of(PASSWORD)}}}
    async with staged(folder, database, web=web, poll={"max_alert_size": "64KB"}) as stage:
        token.write_text(f"{stage.tables['kuma'].pop('token')}\n")
        token.chmod(0o600)
        stage.tables["route"] = [{"names": ["^Test"], "target": "ignore"}]
        stage.configure(kuma={"token_file": str(token)})
        limits = Limits(activity_noted=timedelta(milliseconds=200))
        async with stage.door(limits=limits) as door, _browser(door, "en") as english, _browser(door, "ru") as russian:
            for reader in (english, russian):
                assert (await reader.signs_in()).status_code == 303
            yield Night(stage=stage, readers={"en": english, "ru": russian})


@asynccontextmanager
async def _browser(door: httpx.AsyncClient, language: str) -> AsyncIterator[Visitor]:
    headers = {"Accept": "text/html", "Accept-Language": language}
    async with httpx.AsyncClient(base_url=door.base_url, headers=headers, trust_env=False, timeout=20) as client:
        yield Visitor(client)


async def test_the_console_and_a_command_answer_ten_questions(tmp_path: Path, sqlite_url: str) -> None:
    async with night(tmp_path, sqlite_url) as here:
        await here.happened()
        for number in NUMBERS[:-2]:
            await here.answers(number)
        await here.answers("7")
        code, out, _err = await ended("resume", "irp", "-c", str(here.stage.config))
        assert (code, out.partition(".")[0]) == (0, "irp: goes on")
        here.stage.kuma.token = "a-renewed-token"
        await here.answers("8")
        for language, reader in here.readers.items():
            await here.page_says(reader, "/", {"en": "KUMA stopped", "ru": "KUMA стоит"}[language])
        (tmp_path / "kuma-token").write_text("a-renewed-token\n")
        for language, reader in here.readers.items():
            await here.page_says(reader, "/", {"en": "KUMA well", "ru": "KUMA в порядке"}[language])
        code, out, _err = await ended("check", "-c", str(here.stage.config))
        assert "ok KUMA token" in shape(out)


def test_both_pages_ask_the_same_and_show_the_same_commands() -> None:
    english, russian = questions("en"), questions("ru")

    assert sorted(english) == sorted(russian) == sorted(NUMBERS)
    for number, asked in english.items():
        there = russian[number]
        assert (there.command, there.output) == (asked.command, asked.output)
        assert translations_of("ru").ugettext(asked.menu) == there.menu


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("delivered within 3 s; 1 waits", "delivered within 0 s; 4 waits"),
        ("stands 2 minutes", "stands 1.57 s"),
        ("/etc/kuma-sync/config.toml: no problem", "/tmp/x/config.toml: no problem"),
    ],
)
def test_what_differs_by_numbers_alone_has_the_same_shape(written: str, shown: str) -> None:
    assert shape(html.unescape(written)) == shape(shown)
    assert shape(written) != shape(f"{shown} not")
