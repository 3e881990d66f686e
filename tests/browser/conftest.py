"""One browser and one loop a test process; the stage of the whole days serves these tests, too.

The tests of this folder run on the session's loop, for the browser belongs to it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_WALK = str(Path(__file__).parents[1] / "walk")
if _WALK not in sys.path:
    sys.path.append(_WALK)

import chromium  # noqa: E402  # this folder's own, beside the stage
from loop_thread import LoopThread  # noqa: E402
from playwright.async_api import Browser, Playwright, async_playwright  # noqa: E402
from scene import OPERATOR, VIEWER, Scene, day  # noqa: E402
from visitor import Manner, visiting  # noqa: E402

_loops: list[LoopThread] = []


def _loop() -> LoopThread:
    if not _loops:
        _loops.append(LoopThread())
    return _loops[0]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run this folder's `async def` tests on the session's loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs}
    _loop().run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    """The loop of this session."""
    yield _loop()
    _loops.pop().close()


@pytest.fixture(scope="session")
def browser(loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's Chromium. Skips where there can be none."""
    try:
        program = chromium.executable(tmp_path_factory.getbasetemp().parent / "chromium.lock")
    except chromium.Absent as absent:
        if os.environ.get("BROWSER") == "required":
            pytest.fail(str(absent))
        pytest.skip(str(absent))
    driver, opened = loop.run(_opened(program))
    yield opened
    loop.run(_closed(driver, opened))


async def _opened(program: Path) -> tuple[Playwright, Browser]:
    driver = await async_playwright().start()
    return driver, await driver.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)


async def _closed(driver: Playwright, opened: Browser) -> None:
    await opened.close()
    await driver.stop()


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """The folder that pictures of the pages are written to; None where nobody wants any."""
    return Path(__file__).parents[2] / "docs" / "img" if request.config.getoption("--screenshots") else None


@pytest.fixture(scope="session")
def here(
    loop: LoopThread, browser: Browser, tmp_path_factory: pytest.TempPathFactory, pictures: Path | None
) -> Iterator[Scene]:
    """A day with some of everything, and the daemon that lives through it. Pictures need charts that show something."""
    opened = day(tmp_path_factory.mktemp("day"))
    scene = loop.run(opened.__aenter__())
    if pictures:
        loop.run(scene.noted())
    yield scene
    loop.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def ordered(loop: LoopThread, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Another such day, for tests that change what is there."""
    opened = day(tmp_path_factory.mktemp("ordered"))
    yield loop.run(opened.__aenter__())
    loop.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def sessions(loop: LoopThread, browser: Browser, here: Scene) -> dict[str, Any]:
    """The cookies of an operator and of a viewer who signed in, in English."""
    return signed_in(loop, browser, here)


@pytest.fixture(scope="module")
def signed(loop: LoopThread, browser: Browser, ordered: Scene) -> dict[str, Any]:
    """The same for the other day."""
    return signed_in(loop, browser, ordered)


def signed_in(loop: LoopThread, browser: Browser, here: Scene) -> dict[str, Any]:
    """Sign an operator and a viewer in; return their cookies by name."""
    return {name: loop.run(_signed_in(browser, here, name, word)) for name, word in (OPERATOR, VIEWER)}


async def _signed_in(browser: Browser, here: Scene, name: str, password: str) -> Any:
    async with visiting(browser, here.base, Manner()) as visitor:
        await visitor.signs_in(name, password)
        return await visitor.page.context.storage_state()
