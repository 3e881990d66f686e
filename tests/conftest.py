"""What every test shares: a loop of its own, an environment without our variables, a database.

Databases are migrated once a process: a test takes a copy of the file, or the one on PostgreSQL, which is swept.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
import shared_statements
import shared_templates
from hypothesis import HealthCheck, settings
from log_setup import logging_put_back
from psycopg import sql
from stores import migrated, opened

from kuma_sync.store.schema import metadata
from kuma_sync.telemetry import logs, redact

shared_statements.share()
shared_templates.share()

# How fast the machine is decides nothing.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

for _name in [name for name in os.environ if name.startswith("KUMA_SYNC_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _hidden_by_one_test_is_not_by_the_next() -> Iterator[None]:
    before = set(redact._hidden)
    yield
    redact._hidden.clear()
    redact._hidden.update(before)


@pytest.fixture(autouse=True)
def _logging_of_one_test_is_not_that_of_the_next() -> Iterator[None]:
    """What a test configures ends with it: its stream may be closed by then, and its repeated lines are nobody's."""
    with logging_put_back():
        yield
    logs.tell_repeats(everything=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests with `asyncio.run`: one loop a test, closed at its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a run may be asked for besides its verdict."""
    parser.addoption("--screenshots", action="store_true", help="let the browser write docs/img/*.png anew")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the storm, which takes longest and mostly waits: at the end all others would wait for it.

    What asks Request Tracker follows it, in the same process, so that one of them is started and not one a process.
    """

    def place(item: pytest.Item) -> tuple[bool, bool, bool]:
        in_storm, in_rt = item.path.name == "test_storm.py", item.path.parent.name == "rt"
        return not (in_storm and item.name.startswith("test_a_storm")), not in_storm, not in_rt

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from what stays for the whole run: it would look through all of it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """One PostgreSQL server a test process."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing else."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    path.write_bytes(migrated())
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """A SQLite file of the test's own, already migrated."""
    shutil.copy(migrated_file, tmp_path / "store.db")
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database with the schema and nothing else."""
    with postgres.database(postgres_server, "migrated") as url:
        _migrate(url)
        yield url


@pytest.fixture
def postgres_url(migrated_postgres: str) -> Iterator[str]:
    """A migrated PostgreSQL database, emptied after the test."""
    yield migrated_postgres
    with psycopg.connect(migrated_postgres) as connection:
        for table in metadata.tables:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database that holds nothing: the test runs once on each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def either_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of one kind or the other, by the test's name: for what both do alike."""
    kind = ("sqlite", "postgres")[zlib.crc32(request.node.name.encode()) % 2]
    return str(request.getfixturevalue(f"{kind}_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without a schema: the test runs once on each kind."""
    return str(request.getfixturevalue("new_file_url" if request.param == "sqlite" else "new_postgres_url"))


@pytest.fixture
def new_file_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/new.db"


@pytest.fixture
def new_postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    with postgres.database(postgres_server, "brand_new") as url:
        yield url


def _migrate(url: str) -> None:
    """Make the tables; in a thread, for a test may ask for its database while its loop runs."""

    async def make() -> None:
        async with opened(url):
            pass

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, make()).result()
