"""The walls of the house: who may import whom, how large a piece may grow, and which words and habits stay out."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kuma_sync"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_MODULE = 400
LONGEST_FUNCTION = 45
LONGEST_TEST_NAME = 80

BROAD_EXCEPTS = {
    "sync/queue/worker.py": "one job that raised must not stop the line: it is parked or tried again",
    "sync/delivery/group_commit.py": "the same, where many jobs share a transaction: one must not spoil the others'",
    "sync/runtime/supervisor.py": "a bug in one loop must not stop the others: the loop is started anew",
    "app/lifecycle.py": "a bug in reading the configuration again must not end a daemon that works",
}
"""The only places where everything may be caught, with the reason."""

EMPTY_WORDS = re.compile(r"manager|helper|service|processor|utils?$|common", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# Tests


def test_no_two_modules_of_tests_share_a_name() -> None:
    names = [path.stem for path in TESTS if path.stem not in {"conftest", "__init__"}]
    twice = {one for one in names if names.count(one) > 1}
    assert not twice, f"pytest imports modules of tests by name alone, so one hides the other: {twice}"


# Layers


def test_every_room_keeps_to_its_layer_and_every_library_to_its_home() -> None:
    result = lint_imports(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "planted",
    [
        [
            ("core/planted.py", "import time", "The core decides"),
            ("sync/upwards.py", "from kuma_sync import web", "A room imports only rooms below it"),
            ("sim/planted.py", "from kuma_sync.core.alert import Alert", "The other side"),
            ("sync/planted.py", "import apscheduler.events", "APScheduler lives in"),
            ("web/planted.py", "from sqlalchemy.ext import asyncio", "SQLAlchemy, Alembic"),
            ("kuma/planted.py", "from starlette.routing import Route", "Starlette and uvicorn"),
            ("irp/planted.py", "from jinja2 import sandbox", "Jinja2 lives in"),
            ("cli/planted.py", "import httpx", "httpx lives in"),
            ("sync/metrics.py", "from prometheus_client import Counter", "prometheus_client lives in"),
        ],
        [("core/planted.py", "from pydantic import BaseModel", "The core decides")],
        [("attic.py", "", "A room imports only rooms below it")],
    ],
    ids=["through every wall", "a library in the core", "a room without a place"],
)
def test_a_planted_import_through_a_wall_is_noticed(tmp_path: Path, planted: list[tuple[str, str, str]]) -> None:
    shutil.copytree(PACKAGE, tmp_path / "kuma_sync", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for module, line, _contract in planted:
        (tmp_path / "kuma_sync" / module).write_text(line + "\n", encoding="utf-8")

    result = lint_imports(tmp_path)

    broken = [text for text in result.stdout.splitlines() if "BROKEN" in text]
    assert result.returncode == 1
    for _module, _line, contract in planted:
        assert any(text.startswith(contract) for text in broken), result.stdout + result.stderr


def test_the_core_is_made_of_the_standard_library() -> None:
    imported = {
        target.split(".")[0]
        for path in (PACKAGE / "core").glob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }

    assert imported - sys.stdlib_module_names == {"kuma_sync"}


# Sizes


def test_no_module_is_longer_than_one_can_keep_in_mind() -> None:
    sizes = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}

    assert {module: lines for module, lines in sizes.items() if lines > LONGEST_MODULE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    sizes = {
        f"{name(path)}:{function.lineno} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in MODULES
        for function in functions(path)
    }

    assert {function: lines for function, lines in sizes.items() if lines > LONGEST_FUNCTION} == {}


# Habits


def test_every_module_says_what_lives_in_it() -> None:
    assert [name(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def test_only_the_command_prints() -> None:
    printing = {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }

    assert {module for module in printing if not module.startswith("cli/")} == set()


def test_nothing_is_left_for_later_in_a_comment() -> None:
    marked = [name(path) for path in MODULES if re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8"))]

    assert marked == []


def test_everything_is_caught_only_where_that_is_the_point() -> None:
    """Cleaning up and raising again catches nothing; `suppress(Exception)` does."""
    catching = {name(path) for path in MODULES for node in ast.walk(tree(path)) if _swallows_everything(node)}

    assert catching - BROAD_EXCEPTS.keys() == set()


def test_names_say_what_a_thing_is() -> None:
    classes = [(path, node.name) for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    rooms = [(path, part) for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts]

    assert [f"{name(path)}: {word}" for path, word in rooms + classes if EMPTY_WORDS.search(word)] == []


def test_names_of_tests_can_be_read_at_one_glance() -> None:
    tests = {function.name for path in TESTS for function in functions(path) if function.name.startswith("test_")}

    assert len(tests) > 1000
    assert {test for test in tests if len(test) > LONGEST_TEST_NAME} == set()


def test_files_of_tests_are_named_after_their_subject() -> None:
    assert [path.name for path in TESTS if re.search("pain|review|found", path.name)] == []


def _swallows_everything(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=kind, body=body):
            return _is_broad(kind) and not (isinstance(body[-1], ast.Raise) and body[-1].exc is None)
        case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=kinds):
            return any(_is_broad(kind) for kind in kinds)
    return False


def _is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"} for one in kinds)


# Words

RETIRED = re.compile(
    r"\b(?:(?<!Beacon )Desk|Letterhead|DoorRules|Sides?|Turnstile|RequestedWait|ReadersTurn|NotOurTurn|SideStopped"
    r"|Duty|OwnedJob|Workbench|Together|Habits|Rhythm|Pace|Rules|Picture|Crew|Fitter|Ground|hand_in)\b"
    r"|kuma_sync[./](?:wiring|daemon)\b|\b(?:daemon|wiring)/(?:desk|turn|side|steps|crew|findings)\b"
    r"|\b(?:kuma/(?:wire|loading|stream|known)|irp/(?:checking|mapping|values|pruning)"
    r"|store/(?:pictures|hold|inline|records)|settings/(?:cautions|places|show))\b"
)
"""Names that were given up for the words of docs/architecture.md; who meets one in a branch learns it here.

Beacon Desk is a product.
"""


@pytest.mark.parametrize("folder", ["kuma_sync", "tests", "docs", "benchmarks"])
def test_names_that_were_given_up_stay_out(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md") and "adr" not in path.parts]
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        if path != Path(__file__).resolve()
        for name in RETIRED.findall(path.read_text(encoding="utf-8"))
    }

    assert found == set()
