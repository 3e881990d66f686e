"""The documents against the code: commands, targets, keys, metrics, alarms, values and links are those that exist."""

from __future__ import annotations

import ast
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kuma_sync.cli import COMMANDS, kuma_sync
from kuma_sync.irp.context import LOGIN, NAMES, SHAPES
from kuma_sync.irp.load import built_in, parse_profile, profile_text
from kuma_sync.irp.profile import (
    OPERATIONS,
    AddEventsOperation,
    Auth,
    CreateOperation,
    Extract,
    FindOperation,
    Heading,
    ListClosedOperation,
    Operation,
    UpdateOperation,
)
from kuma_sync.irp.templates import Templates
from kuma_sync.irp.validate import check_profile
from kuma_sync.settings import SECTIONS, example_text, secret_keys
from kuma_sync.settings.load import _NEEDS_A_RESTART
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kuma_sync"
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUNBOOK = ROOT / "docs" / "operations.md"
PROFILES = ROOT / "docs" / "profiles.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
GUARANTEES = ROOT / "docs" / "guarantees.md"
SECURITY = ROOT / "docs" / "security.md"

CONTRACT_KEYS = {
    "kuma": "url token api_version instance web_url statuses tenants with_affected ca_file verify_tls client_cert "
    "client_key proxy connect_timeout read_timeout write_back",
    "poll": "interval strategy overlap sweep_interval unseen ignore_before max_events max_alert_size",
    "irp": "profile url token username password ca_file verify_tls client_cert client_key proxy connect_timeout "
    "read_timeout concurrency rate_limit find_first repeat_for expect_every options secrets",
    "close": "to_kuma to_irp watch watch_interval default_reason reasons",
    "retry": "base max",
    "brake": "max_closed_percent min_alerts max_new",
    "store": "url password retention",
    "run": "grace",
    "web": "listen metrics_token metrics_public cert_file key_file tokens passthrough console",
    "notify": "heartbeat_url webhook_url",
    "log": "level format",
    "privacy": "drop_fields mask_fields",
}
CONTRACT_SECRETS = {"kuma.token", "kuma.proxy", "irp.token", "irp.password", "irp.proxy", "store.password"} | {
    "web.metrics_token",
    "notify.heartbeat_url",
    "notify.webhook_url",
}

TRUNK = {
    ".git",
    ".venv",
    ".venv-bench",
    ".venv-release",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".import_linter_cache",
    "__pycache__",
    "dist",
    "build",
}
"""Folders, and the file of a further worktree, that hold nothing we wrote."""


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def files() -> tuple[Path, ...]:
    found: list[Path] = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [one for one in inner if one not in TRUNK]
        found += [Path(folder) / one for one in names if one not in TRUNK]
    return tuple(path for path in found if b"\0" not in path.read_bytes()[:4096])


def fences(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def inline(text: str) -> list[str]:
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside)


def section(text: str, title: str) -> str:
    """Return what stands under a heading, up to the next of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,2}} |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {title!r}"
    return found.group(2)


def first_column(text: str) -> list[str]:
    """Return the code in the first cell of each row of the tables in a text."""
    cells = re.findall(r"^\| (.+?) \|", text, flags=re.MULTILINE)
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


# Commands


def command_lines(*, in_blocks: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Return the arguments of every `kuma-sync …`: those in code blocks and scripts, or those in a sentence."""
    scripts = [
        ROOT / "Makefile",
        ROOT / "Dockerfile",
        *(path for path in (ROOT / "deploy").rglob("*") if path.is_file() and "__pycache__" not in path.parts),
    ]
    messages = [ROOT / "config.example.toml", *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.toml")]
    if in_blocks:
        texts = [(path, block) for path in DOCS for _kind, block in fences(read(path))]
        texts += [(path, read(path)) for path in scripts if path.exists()]
        texts += [(PACKAGE / "cli", command.epilog or "") for command in every_command(click.Context(kuma_sync))]
    else:
        texts = [(path, "\n".join(inline(read(path)))) for path in DOCS]
        texts += [(path, "\n".join(re.findall(r"`(kuma-sync [^`{}\n]+)`", read(path)))) for path in messages]
    called = {(name(path), words) for path, text in texts for line in text.splitlines() for words in arguments(line)}
    return sorted(called)


def every_command(context: click.Context) -> Iterator[click.Command]:
    yield context.command
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            found = context.command.get_command(context, name)
            assert found is not None
            yield from every_command(click.Context(found, parent=context))


def arguments(line: str) -> Iterator[tuple[str, ...]]:
    for part in re.split(
        r"&&|[|;>…]", re.sub(r"(^|\s)#.*", "", re.sub(r"^Exec\w+=(.* exec )?", "", line.strip().rstrip("'")))
    ):
        words = part.split()
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if "exec" in words:
            words = words[words.index("exec") + 2 :]
        if words[1:] and words[0].split("/")[-1] == "kuma-sync" and not words[1].startswith('"$'):
            yield tuple(shlex.split(" ".join(words[1:])))


def usage_problem(words: tuple[str, ...], *, whole: bool) -> str:
    """Let click parse a command line; say what is wrong with it. Not `whole`: what it needs may be left unsaid."""
    command: click.Command = kuma_sync
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    if not rest and isinstance(command, click.Group):
        return "names no command" if whole else ""
    try:
        with CliRunner().isolation():
            command.make_context(command.name, rest)
    except click.exceptions.Exit:
        return ""
    except click.MissingParameter as error:
        return error.format_message() if whole else ""
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("in_blocks", [True, False])
def test_every_command_that_is_written_down_can_be_typed(in_blocks: bool) -> None:
    lines = command_lines(in_blocks=in_blocks)

    problems = {f"{place}: {' '.join(words)}": usage_problem(words, whole=in_blocks) for place, words in lines}

    assert len(lines) > 10
    assert {line: problem for line, problem in problems.items() if problem} == {}


@pytest.mark.parametrize("line", ["kuma-sync runs", "kuma-sync run --twice", "kuma-sync show", "kuma-sync status now"])
def test_a_command_that_cannot_be_typed_is_noticed(line: str) -> None:
    (words,) = arguments(line)

    assert usage_problem(words, whole=True)


def test_every_command_is_written_down_somewhere() -> None:
    named = {
        words[0] for in_blocks in (True, False) for place, words in command_lines(in_blocks=in_blocks) if ".md" in place
    }

    assert COMMANDS.keys() - named == set()


def test_every_make_target_that_is_written_down_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    texts = [text for path in DOCS for text in [*inline(read(path)), *(block for _kind, block in fences(read(path)))]]
    texts.append(read(ROOT / ".ci" / "run"))
    named = {target for text in texts for target in re.findall(r"^make ([a-z-]+)", text, flags=re.MULTILINE)}

    assert {"demo", "test", "check"} <= named
    assert named - targets == set()


def test_both_readmes_give_the_same_commands() -> None:
    english, russian = (
        {
            line.split("#")[0].strip()
            for kind, block in fences(read(ROOT / file))
            if kind != "text"  # a picture
            for line in block.splitlines()
        }
        for file in ("README.md", "README.ru.md")
    )

    assert {"make demo", "make test", "kuma-sync run"} <= russian
    assert russian - english == set()


# Configuration


def test_the_keys_are_those_of_the_contract() -> None:
    models = {section_name: set(model.key_names()) for section_name, model in SECTIONS.items()}
    secrets = {f"{section_name}.{key}" for section_name in SECTIONS for key in secret_keys(section_name)}

    assert models == {section_name: set(keys.split()) for section_name, keys in CONTRACT_KEYS.items()}
    assert secrets == CONTRACT_SECRETS


def test_the_example_and_the_page_name_every_key() -> None:
    example = {one: set(keys) for one, keys in tomllib.loads(example_text()).items()}
    page = {one: set(first_column(section(read(ROOT / "docs" / "configuration.md"), f"[{one}]"))) for one in SECTIONS}
    contract = {one: set(keys.split()) for one, keys in CONTRACT_KEYS.items()}

    assert example == contract
    assert page == contract


def test_the_runbook_names_every_key_that_a_reload_refuses() -> None:
    signals = inline(section(read(RUNBOOK), "Signals and exit codes"))

    assert set(_NEEDS_A_RESTART) - set(signals) == set()


# Metrics and alarms


def test_the_runbook_lists_the_metrics_with_their_labels() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", section(read(RUNBOOK), "Metrics"), flags=re.MULTILINE)
    listed = {metric: set(re.findall(r"`(\w+)`", labels)) for metric, labels in rows}

    assert listed == metrics_of_the_program()


def metrics_of_the_program() -> dict[str, set[str]]:
    registry = Metrics().registry
    collectors = registry._collector_to_names  # the library shows a metric without samples no other way
    return {
        f"{collector._name}{'_total' if collector._type == 'counter' else ''}".removeprefix("kuma_sync_"): set(
            collector._labelnames
        )
        for collector in collectors
    }


def test_the_runbook_has_a_row_for_every_alarm_and_no_other() -> None:
    rows = first_rows(section(read(RUNBOOK), "Alarms"), before="### Parked")

    assert rows == logged("warning", "error", "exception", "critical")


def test_every_row_of_an_alarm_says_what_it_means_and_what_to_do() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", section(read(RUNBOOK), "Alarms"), flags=re.MULTILINE)

    assert {event for event, _meaning, _to_do in rows} >= logged("warning", "error", "exception", "critical")
    assert [event for event, meaning, to_do in rows if len(meaning) < 10 or len(to_do) < 3] == []


def test_every_end_of_a_trouble_is_named_in_the_runbook() -> None:
    ends = {event for event in logged("info") if event.endswith("_recovered") or event == "side_resumed"}

    assert len(ends) > 5
    assert ends - set(inline(read(RUNBOOK))) == set()


def test_every_alarm_of_prometheus_leads_to_its_paragraph() -> None:
    alarms = re.findall(r"alert: (\w+)$.*?runbook_url: docs/(\S+)$", read(RULES), flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.findall(r"^### (KumaSync\w+)\n\n(.*?)\n\n?(?=#|\Z)", read(RUNBOOK), flags=re.MULTILINE | re.DOTALL)
    said = [name for name, text in paragraphs if all(f"*{part}:*" in text for part in ("You see", "It means", "Do"))]

    assert [name for name, _link in alarms] == re.findall(r"alert: (\w+)", read(RULES)) == said
    assert [link for name, link in alarms if link != f"operations.md#{name.lower()}"] == []
    assert [link for _name, link in alarms if not leads_somewhere(RUNBOOK, link)] == []


@pytest.mark.parametrize("file", ["prometheus/rules.yml", "prometheus/rules_test.yml", "grafana/kuma-sync.json"])
def test_every_metric_that_prometheus_is_asked_for_exists(file: str) -> None:
    asked = set(re.findall(r"kuma_sync_(\w+?)(?:_bucket|_sum|_count)?\b", read(ROOT / "deploy" / file)))

    assert len(asked) > 8
    assert asked - metrics_of_the_program().keys() == set()


def test_every_metric_is_on_the_dashboard() -> None:
    board = read(ROOT / "deploy" / "grafana" / "kuma-sync.json")

    assert [metric for metric in metrics_of_the_program() if f"kuma_sync_{metric}" not in board] == []


def test_the_runbook_names_no_event_that_is_never_logged() -> None:
    known = logged("debug", "info", "warning", "error", "exception", "critical")
    named = {code for code in inline(read(RUNBOOK)) if code in known or re.fullmatch(r"[a-z]+(_[a-z]+)+", code)}
    keys = {key for keys in CONTRACT_KEYS.values() for key in keys.split()} | {"token_file"}
    others = keys | set(metrics_of_the_program()) | {f"kuma_sync_{metric}" for metric in metrics_of_the_program()}

    assert (
        named - known - others - {"already_closed", "alert_ids", "duplicate_when", "pg_dump", "random_page_cost"}
        == set()
    )


def test_the_reasons_for_parking_are_those_the_code_gives() -> None:
    code = "\n".join(read(path) for path in PACKAGE.rglob("*.py"))
    reasons = first_column(section(read(RUNBOOK), "Parked").split("\n### ", maxsplit=1)[0])
    patterns = {reason: r"\{[^}]*\}".join(map(re.escape, reason.split("…"))) for reason in reasons}

    assert len(reasons) > 5
    assert [reason for reason, pattern in patterns.items() if not re.search(pattern, code)] == []


def test_the_sentences_of_the_runbook_are_those_the_code_says() -> None:
    code = "\n".join(re.sub(r'"\s*\n\s*f?"', "", read(path)) for path in PACKAGE.rglob("*.py"))
    sentences = first_rows_of_code(section(read(RUNBOOK), "Sentences").split("\n### ", maxsplit=1)[0])
    patterns = {one: r"\{[^}]*\}.*?".join(map(re.escape, one.rstrip("…").split("…"))) for one in sentences}

    assert len(sentences) > 20
    assert [one for one, pattern in patterns.items() if not re.search(pattern, code)] == []


def test_every_sentence_about_a_connection_is_in_the_runbook() -> None:
    sentences = first_rows_of_code(section(read(RUNBOOK), "Sentences"))
    said = [said_by(node) for node in ast.walk(ast.parse(read(PACKAGE / "transport" / "errors.py")))]
    told = {one for one in said if one and len(one.split()) > 1}

    assert len(told) > 12
    assert [one for one in told if not any(one.startswith(known.split("…")[0]) for known in sentences)] == []


def first_rows_of_code(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def said_by(node: ast.AST) -> str:
    """Return the beginning of the sentence that a statement returns or hands on; "" for any other."""
    match node:
        case ast.Return(value=ast.Constant(value=str(text))) | ast.Assign(value=ast.Constant(value=str(text))):
            return text
        case ast.Return(value=ast.JoinedStr(values=[ast.Constant(value=str(text)), *_])):
            return text
        case ast.Call(func=ast.Attribute(attr="failed"), args=[ast.Constant(value=str(text)), *_]):
            return text
        case ast.Call(
            func=ast.Attribute(attr="failed"), args=[ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]), *_]
        ):
            return text
    return ""


def first_rows(text: str, *, before: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", text.split(before, maxsplit=1)[0], flags=re.MULTILINE))


@cache
def logged(*levels: str) -> set[str]:
    """Return the names of the events that the program logs at these levels."""
    calls = [
        node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Call)
    ]
    return {event for call in calls for event in [event_of(call, levels)] if event is not None}


def event_of(call: ast.Call, levels: tuple[str, ...]) -> str | None:
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
        ) if level in levels:
            return event
    return None


# Profiles


def test_the_profile_page_names_every_value_of_every_operation() -> None:
    rows = re.findall(r"^\| (`[\w.]+`(?:, `\w+`)*) \| (.*) \|$", section(read(PROFILES), "Values"), flags=re.MULTILINE)
    listed = {}
    for operations, cell in rows:
        names = set(re.findall(r"`(\w+)`", cell))
        for other in re.findall(r"as in `(\w+)`", cell):
            names = (names - {other}) | NAMES[other]
        listed |= {operation: names for operation in re.findall(r"`([\w.]+)`", operations)}

    assert {operation: listed.get(operation) for operation in (*OPERATIONS, LOGIN)} == dict(NAMES)


def test_the_profile_page_explains_every_value() -> None:
    explained = set(first_column(section(read(PROFILES), "Values")))
    values = set().union(*NAMES.values())
    wanted = {value for value in values if value not in SHAPES}
    wanted |= {f"{value}.{key}" for value, keys in SHAPES.items() for key in keys}

    assert wanted - explained == set()


def test_the_profile_page_names_every_key_and_every_operation() -> None:
    codes = " ".join(inline(read(PROFILES)))
    models = (Heading, Auth, Extract, Operation, CreateOperation, UpdateOperation, AddEventsOperation)
    keys = {key for model in (*models, FindOperation, ListClosedOperation) for key in model.model_fields}

    assert {key for key in keys | set(OPERATIONS) if not re.search(rf"\b{key}\b", codes)} == set()


def test_the_profile_page_names_our_filters() -> None:
    filters = section(read(PROFILES), "Filters")
    ours = {"map", "date", "unique", "json"}
    environment = Templates(maps={}, names=frozenset(), shapes={})._values

    assert {one for one in ours if not re.search(rf"`{one}\b", filters)} == set()
    assert {one for one in re.findall(r"`(\w+)", filters) if one not in environment.filters} == set()


def test_the_worked_example_is_a_profile_that_works() -> None:
    blocks = [block for kind, block in fences(read(PROFILES)) if kind == "toml"]
    (example,) = [block for block in blocks if block.startswith("[profile]")]
    (configuration,) = [block for block in blocks if block.startswith("[irp]")]
    options = tomllib.loads(configuration)["irp"]["options"]

    profile = parse_profile(example, source="docs/profiles.md")
    warnings = check_profile(profile, options=options)

    assert warnings == ["profile our-security-vision was never proven against the real product"]


def test_no_built_in_profile_claims_what_was_never_proven() -> None:
    assert [one for one in built_in() if parse_profile(profile_text(one), source=one).verified] == ["request-tracker"]


# Guarantees


@pytest.mark.parametrize("page", [GUARANTEES, SECURITY], ids=["guarantees", "security"])
def test_every_test_that_a_guarantee_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", read(page)))

    missing = {f"{path}::{test}" for path, test in named if test not in named_in(ROOT / "tests" / path)}

    assert len(named) > 60
    assert missing == set()


def test_every_attack_names_its_tests() -> None:
    rows = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", read(SECURITY), flags=re.MULTILINE)
    attacks = [row for row in rows if not row[0].startswith("what somebody may")]

    assert len(attacks) > 30
    assert [attack for attack, _what, tests in attacks if not re.fullmatch(r"(`[\w/]+\.py::\w+`(, )?)+", tests)] == []


def test_every_fault_names_its_tests() -> None:
    rows = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", section(read(GUARANTEES), "Fault by fault"), flags=re.MULTILINE)
    faults = [row for row in rows if row[0] != "fault"]

    assert len(faults) > 40
    assert [fault for fault, _what, tests in faults if not re.fullmatch(r"(`[\w/]+\.py::\w+`(, )?)+", tests)] == []


@cache
def named_in(path: Path) -> frozenset[str]:
    """Return the names that a test file gives to pytest: its functions, and the state machines it calls `Test…`."""
    names = set[str]()
    for node in ast.parse(read(path)).body if path.is_file() else []:
        match node:
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                names.add(found)
            case ast.Assign(targets=[ast.Name(id=found)]):
                names.add(found)
    return frozenset(one for one in names if one.lower().startswith("test"))


# The rest


def test_the_pages_tell_the_leases_that_are_given() -> None:
    limits = Limits()
    leases = limits.job_lease, limits.leader_lease, limits.store.lock, limits.leader_asked_every
    job, reader, frozen, asked = (lease.total_seconds() for lease in leases)

    assert (job, reader, frozen, asked) == (60, 30, 30, 5)
    assert f"when its lease ({job:g} s) ends" in read(GUARANTEES)
    assert f"within the lease ({reader:g} s)" in read(GUARANTEES)
    assert f"a lease of {job:g} s" in read(ARCHITECTURE)
    copies = " ".join(section(read(RUNBOOK), "Several copies").split())
    assert f"one that died is replaced within {reader + 2 * asked:g} seconds" in copies
    assert "taken over within a minute" in copies
    assert "froze in the middle of a transaction, within half a minute more" in copies


def test_the_architecture_page_shows_the_layers_that_are_checked() -> None:
    config = ConfigParser()
    config.read(ROOT / ".importlinter")
    checked = config["importlinter:contract:layers"]["layers"].replace("(", "").replace(")", "").split("\n")
    (shown,) = [block for kind, block in fences(read(ARCHITECTURE)) if kind == "layers"]

    assert shown.splitlines() == [layer.strip() for layer in checked if layer.strip()]


def test_the_architecture_page_names_modules_that_exist() -> None:
    text = read(ARCHITECTURE)
    rooms = "|".join(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
    named = set(re.findall(rf"\b((?:{rooms})(?:/\w+)+)", text))

    missing = {one for one in named if not (PACKAGE / f"{one}.py").exists() and not (PACKAGE / one).is_dir()}

    assert len(named) > 30
    assert missing == set()


def test_the_architecture_page_names_what_its_modules_define() -> None:
    named = set(re.findall(r"\b(\w+(?:/\w+)+)\.(?!(?:py|md|toml)\b)(\w+)", read(ARCHITECTURE)))

    missing = {f"{module}.{word}" for module, word in named if word not in defined(PACKAGE / f"{module}.py")}

    assert len(named) > 20
    assert missing == set()


def test_the_architecture_page_debugs_by_events_that_are_written() -> None:
    cells = re.findall(r"^\| (.+?) \|", section(read(ARCHITECTURE), "Debug one alert"), flags=re.MULTILINE)
    lines = {event for cell in cells for event in re.findall(r"`(\w+_\w+)`", cell.partition("history:")[0])}
    actions = {action for cell in cells for action in re.findall(r"`(\w+)`", cell.partition("history:")[2])}
    code = "\n".join(read(path) for path in PACKAGE.rglob("*.py"))

    assert len(lines) > 10
    assert len(actions) > 2
    assert lines - logged("debug", "info", "warning", "error", "exception") == set()
    assert {action for action in actions if f'"{action}"' not in code} == set()


@cache
def defined(path: Path) -> frozenset[str]:
    """Return the names that a module defines, those inside its classes, too."""
    names = set[str]()
    for node in ast.walk(ast.parse(read(path))):
        match node:
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                names.add(found)
            case ast.Name(id=found, ctx=ast.Store()):
                names.add(found)
    return frozenset(names)


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    broken = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(path)) if not leads_somewhere(path, link)]

    assert broken == []


def leads_somewhere(path: Path, link: str) -> bool:
    if link.startswith("https://"):
        return True
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.exists() or not anchor:
        return target.exists()
    return anchor in anchors(read(target))


def anchors(text: str) -> list[str]:
    """Return the anchors of a page's headings: the one that a line before it gives, else the one GitHub makes."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r'^(?:<a id="([\w-]+)"></a>\n\n)?#+ (.+)$', outside, flags=re.MULTILINE)
    return [given or re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for given, title in found]


# Two languages


BOTH = {one: ROOT / "docs" / f"{one}.ru.md" for one in ("console", "operations")}


@pytest.mark.parametrize("page", sorted(BOTH))
def test_both_languages_have_the_same_sections_under_the_same_anchors(page: str) -> None:
    english, russian = anchors(read(ROOT / "docs" / f"{page}.md")), anchors(read(BOTH[page]))

    assert len(english) > 8
    assert russian[1:] == english[1:]


@pytest.mark.parametrize("page", sorted(BOTH))
def test_both_languages_have_the_same_commands(page: str) -> None:
    english, russian = (
        [(kind, without_comments(block)) for kind, block in fences(read(path))]
        for path in (ROOT / "docs" / f"{page}.md", BOTH[page])
    )

    assert english
    assert russian == english


def without_comments(block: str) -> list[str]:
    return [re.sub(r"(^|\s)# .*", "", line).rstrip() for line in block.splitlines()]


@pytest.mark.parametrize("page", sorted(BOTH))
def test_both_languages_have_the_same_rows_in_their_tables(page: str) -> None:
    english, russian = (
        re.findall(r"^\|[^-].*\|$", read(path), flags=re.MULTILINE)
        for path in (ROOT / "docs" / f"{page}.md", BOTH[page])
    )

    assert len(russian) == len(english) > 10


def test_both_runbooks_name_the_same_events_sentences_and_metrics_in_the_same_order() -> None:
    english, russian = (first_column(read(path)) for path in (RUNBOOK, BOTH["operations"]))

    assert len(english) > 100
    assert russian == english


def test_the_russian_runbook_leaves_out_no_command_key_or_word_of_the_program() -> None:
    english, russian = (set(inline(read(path))) for path in (RUNBOOK, BOTH["operations"]))

    assert len(english) > 300
    assert english - russian == set()


def test_both_readmes_have_as_many_sections_and_rows() -> None:
    english, russian = (read(ROOT / file) for file in ("README.md", "README.ru.md"))

    for pattern in (r"^#+ ", r"^\|"):
        assert len(re.findall(pattern, russian, re.MULTILINE)) == len(re.findall(pattern, english, re.MULTILINE))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        ahead += [page] if page.is_file() else []
        links = re.findall(r"\]\(([^)#\s]+)", read(page))
        targets = [(page.parent / link).resolve() for link in links if not link.startswith("https://")]
        ahead += [
            one
            for target in targets
            for one in (target.glob("*.md") if target.is_dir() else [target])
            if one.suffix == ".md"
        ]

    assert set(DOCS) - reached == set()


def test_the_changelog_knows_this_version() -> None:
    from kuma_sync import __version__

    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", read(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)

    assert versions[0] == __version__


def test_nothing_written_here_knows_the_machine_it_was_written_on() -> None:
    """The words are put together here, so that this file does not hold them."""
    pieces = ("/wo rk/", "/ro ot/", "/opt/py pi", "/opt/whe els", "pypi .org", "python hosted", "ghcr .io", "quay .io")
    words = [piece.replace(" ", "") for piece in pieces]

    found = {name(path): word for path in files() for word in words if word.encode() in path.read_bytes()}

    assert found == {}
