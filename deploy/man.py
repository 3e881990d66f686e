"""Write the manual pages, one for kuma-sync and one for each command, from the text of `--help`.

    python deploy/man.py build/man

The same program gives the same bytes. SOURCE_DATE_EPOCH, if it is set, dates the pages; else they bear no date.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from kuma_sync import __version__
from kuma_sync.cli import kuma_sync

NAME = "kuma-sync"
FILES = (
    ("./config.toml", "The configuration, if neither --config nor KUMA_SYNC_CONFIG names another file."),
    ("/etc/kuma-sync/config.toml", "The configuration, if there is none of these."),
)
VARIABLES = (
    ("KUMA_SYNC_CONFIG", "The configuration file, if --config does not name one."),
    ("KUMA_SYNC_<SECTION>__<KEY>", "A key of the configuration; it counts before that of the file."),
    (
        "NO_COLOR",
        "If it is set and not empty, nothing is coloured. TERM=dumb forbids colour and moving the cursor, too.",
    ),
)


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    root = click.Context(kuma_sync, info_name=NAME, help_option_names=["-h", "--help"])
    for context, short in _commands(root, ""):
        page = context.command_path.replace(" ", "-")
        (folder / f"{page}.1").write_text("\n".join(_page(context, short)) + "\n", encoding="utf-8")


def _commands(context: click.Context, short: str) -> Iterator[tuple[click.Context, str]]:
    yield context, short
    for inner, text in _inner(context):
        yield from _commands(inner, text)


def _inner(context: click.Context) -> Iterator[tuple[click.Context, str]]:
    """Yield the commands of a group, with what the group's help says of each."""
    command = context.command
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield click.Context(found, info_name=name, parent=context), found.get_short_help_str(limit=200)


def _page(context: click.Context, short: str) -> Iterator[str]:
    command, path = context.command, context.command_path
    page = path.replace(" ", "-")
    first, *others = _paragraphs(command.help or "")
    yield f'.TH "{_quoted(page.upper())}" 1 "{_date()}" "{NAME} {_quoted(__version__)}" "{NAME}"'
    yield from (".nh", ".ad l")  # names of pages stay whole
    yield from (".SH NAME", f"{_quoted(page)} \\- {_quoted((short or ' '.join(first)).rstrip('.'))}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_quoted(path)}", _line(usage))
    yield ".SH DESCRIPTION"
    for at, paragraph in enumerate([first, *others]):
        yield from ([".PP"] if at else []) + [_line(" ".join(paragraph))]
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield from _item(*record)
    inner = list(_inner(context))
    if inner:
        yield ".SH COMMANDS"
        for one, text in inner:
            yield from _item(one.info_name or "", f"{text} See {one.command_path.replace(' ', '-')}(1).")
    for paragraph in _paragraphs(command.epilog or ""):
        yield from _end(paragraph)
    if context.parent is None:
        yield from _titled("FILES", FILES)
        yield from _titled("ENVIRONMENT", VARIABLES)
    yield from _see_also(context)


def _end(paragraph: list[str]) -> Iterator[str]:
    """Write a paragraph of the epilog: examples as they are typed, or exit codes."""
    head, *rest = paragraph
    title, _, text = head.partition(":")
    yield f".SH {'EXIT STATUS' if title == 'Exit codes' else _quoted(title.upper())}"
    if rest and not text.strip():
        yield from (".nf", *(_line(line) for line in rest), ".fi")
    else:
        yield _line(" ".join([text.strip(), *rest]))


def _titled(title: str, items: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for term, text in items:
        yield from _item(term, text)


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_quoted(term)}\\fR", _line(" ".join(text.split())))


def _see_also(context: click.Context) -> Iterator[str]:
    if context.parent is None:
        return
    yield ".SH SEE ALSO"
    parent = context.parent.command_path.replace(" ", "-")
    yield ", ".join(f"\\fB{_quoted(page)}\\fR(1)" for page in dict.fromkeys((NAME, parent)))


def _paragraphs(text: str) -> list[list[str]]:
    """Return the paragraphs of a help text as lists of lines, without click's mark against wrapping."""
    lines = [line.strip() for line in text.strip().split("\n")]
    found: list[list[str]] = [[]]
    for line in lines:
        if line == "\b":
            continue
        if line:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [one for one in found if one]


def _line(text: str) -> str:
    """Return a line of text; one that begins as a request of roff does is kept from being one."""
    quoted = _quoted(text.replace("`", "'"))
    return f"\\&{quoted}" if quoted.startswith((".", "'")) else quoted


def _quoted(text: str) -> str:
    special = {"\\": "\\e", "-": "\\-", "'": "\\(aq", '"': "\\(dq", "…": "...", "^": "\\(ha", "~": "\\(ti"}
    return "".join(special.get(sign, sign) for sign in text)


def _date() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%d") if epoch else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
