"""The console of a running daemon: switched on and off by a SIGHUP, with whoever may sign in."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
from addresses import somewhere
from console_stage import PASSWORD, Visitor, hash_of, text_of
from stage import Child, eventually, staged


async def test_a_sighup_switches_the_console_and_changes_its_users_at_once(tmp_path: Path, sqlite_url: str) -> None:
    listen = somewhere()
    async with staged(tmp_path, sqlite_url, web={"listen": listen}) as stage, _browser(listen) as client:
        visitor = Visitor(client)
        async with stage.daemon() as daemon:
            off = await eventually(lambda: _answered(visitor, "/"))
            stage.configure(web={"console": {"enabled": True, "users": {"anna": hash_of(PASSWORD)}}})
            await _hung_up(daemon, 1)
            signed_in = await visitor.signs_in(wanted="/configuration")
            page = await visitor.sees("/configuration")
            stage.configure(web={"console": {"enabled": True, "users": {"boris": hash_of(PASSWORD)}}})
            await _hung_up(daemon, 2)
            removed = await visitor.sees("/configuration")
            stage.configure(web={"console": {"enabled": False}})
            await _hung_up(daemon, 3)
            off_again = await visitor.sees("/")

    assert (off.status_code, off.json()["message"]) == (404, "not found")
    assert (signed_in.status_code, page.status_code) == (303, 200)
    assert str(stage.config) in text_of(page)
    assert removed.status_code == 303
    assert (off_again.status_code, off_again.json()["message"]) == (404, "not found")


async def test_the_console_shows_a_configuration_that_was_refused(tmp_path: Path, sqlite_url: str) -> None:
    listen = somewhere()
    console = {"enabled": True, "users": {"anna": hash_of(PASSWORD)}}
    async with (
        staged(tmp_path, sqlite_url, web={"listen": listen, "console": console}) as stage,
        stage.daemon() as daemon,
        _browser(listen) as client,
    ):
        visitor = Visitor(client)
        await eventually(lambda: _answered(visitor, "/sign-in"))
        await visitor.signs_in()
        stage.configure(web={"listen": somewhere()})
        daemon.process.send_signal(signal.SIGHUP)
        await eventually(lambda: daemon.says("configuration_refused"))
        page = await visitor.sees("/configuration")

    assert "The configuration on disk was refused." in text_of(page)
    assert "web.listen: cannot change while the daemon runs" in text_of(page)


def _browser(listen: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{listen}", headers={"Accept": "text/html"}, trust_env=False, timeout=20)


async def _answered(visitor: Visitor, path: str) -> httpx.Response | None:
    """Return an answer; None where nobody listens, or the daemon is not ready yet."""
    try:
        answer = await visitor.sees(path)
    except httpx.TransportError:
        return None
    return None if answer.status_code == 503 else answer


async def _hung_up(daemon: Child, number: int) -> None:
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: len(daemon.says("configuration_reloaded")) == number)
