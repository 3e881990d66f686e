"""Every procedure of the runbook, its command blocks run as they stand against a real daemon and simulators."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from machine import UNIT, Done, Machine, blocks, machine

from kuma_sync.sim.comparison import compare
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

KUMA_TOKEN, IRP_TOKEN = "kuma-token-of-the-test", "irp-token-of-the-test"
ALERT = "5f0c2a3e-0000-4000-8000-000000000000"
"""The alert that the page's examples name."""

pytestmark = pytest.mark.timeout(300)

CARRIED_OUT = {
    "Install": 1,
    "Change the configuration": 1,
    "How it goes": 1,
    "Parked": 1,
    "Do both sides agree?": 1,
    "Alerts of the past": 1,
    "A maintenance window": 1,
    "Backup and restore": 6,
    "Rotate a token": 1,
    "After a long outage": 1,
    "Upgrade": 1,
}
"""How many blocks the tests below run, by heading."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine between the simulators."""

    kuma: KumaSim
    irp: IrpSim
    machine: Machine

    def agrees(self) -> bool:
        return compare(self.kuma, self.irp).agrees

    async def do(self, heading: str, number: int = 0) -> Done:
        """Carry out a block of the page."""
        return await self.machine.run(blocks()[heading][number])

    async def until(self, true: Callable[[], object], *, seconds: float = 40) -> None:
        last = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < last, (self.machine.root / "daemon.log").read_text()[-3000:]
            await asyncio.sleep(0.05)


@asynccontextmanager
async def site(folder: Path, *, started: bool = True) -> AsyncIterator[Site]:
    """Set everything up; with a daemon that delivered three alerts, unless it is not to be `started`."""
    kuma, irp = KumaSim(token=KUMA_TOKEN), IrpSim(token=IRP_TOKEN)
    async with SimServer(kuma.app) as kuma_server, SimServer(irp.app) as irp_server:
        urls = {"kuma": kuma_server.url, "irp": irp_server.url}
        async with machine(folder, **urls, tokens=(KUMA_TOKEN, IRP_TOKEN)) as one:
            here = Site(kuma=kuma, irp=irp, machine=one)
            kuma.raise_alert(id=ALERT)
            for _ in range(2):
                kuma.raise_alert()
            if started:
                assert (await one.systemctl("start")).code == 0
                await here.until(here.agrees)
            yield here


def works(done: Done) -> bool:
    return done.code == 0 and done.out.splitlines()[-1] != "" and "daemon running since " in done.out


def test_every_block_of_the_page_is_carried_out_here() -> None:
    assert {heading: len(each) for heading, each in blocks().items()} == CARRIED_OUT
    assert list(blocks("")) == []
    assert list(blocks("docker")) == ["Install", "Backup and restore", "Upgrade"], "those need containers"
    assert list(blocks("postgres")) == ["Install"], "the administrator of a server runs it there"


async def test_commands_beside_the_service_find_its_store(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        done = await at.do("Install")

    assert works(done), done.out


async def test_a_changed_configuration_is_checked_and_taken_over(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        at.machine.edits((r'interval = "300ms"', 'interval = "250ms"'))
        done = await at.do("Change the configuration")
        await at.until(lambda: any(line["event"] == "configuration_reloaded" for line in at.machine.log))
        (taken,) = [line for line in at.machine.log if line["event"] == "configuration_reloaded"]

    assert works(done), done.out
    assert taken["keys"] == ["poll.interval", "close.watch_interval"]


async def test_a_broken_configuration_fails_the_reload_and_the_daemon_refuses_it(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        at.machine.edits((r"(?m)^interval", "intervall"))
        done = await at.do("Change the configuration")
        await at.until(lambda: any(line["event"] == "configuration_refused" for line in at.machine.log))
        events = {line["event"] for line in at.machine.log}

    assert done.code == 2, done.out
    assert "Job for kuma-sync.service failed." in done.out
    assert "configuration on disk refused: poll.intervall: is not a known key" in done.out
    assert "configuration_reloaded" not in events


async def test_the_commands_of_every_day_answer(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        done = await at.do("How it goes")

    assert "daemon running since " in done.out
    assert "No alerts are parked." in done.out
    assert f"{ALERT}  open" in done.out
    assert "web.listen" in done.out, "this one has no door to ask"


async def test_a_parked_alert_is_tried_again_dropped_and_taken_up_again(tmp_path: Path) -> None:
    async with site(tmp_path, started=False) as at:
        at.irp.knobs.reject_titles = at.kuma.alerts[ALERT]["name"]
        assert (await at.machine.systemctl("start")).code == 0
        await at.until(lambda: any(line["event"] == "job_parked" for line in at.machine.log))

        done = await at.do("Parked")
        at.irp.knobs.reject_titles = ""
        again = await at.machine.run("kuma-sync retry --all")
        await at.until(at.agrees)

    assert "422" in done.out
    assert f"{ALERT}: back on the queue" in done.out
    assert f"{ALERT}: dropped." in done.out
    assert f"{ALERT}: will be found and fully updated" in done.out
    assert again.code == 0


async def test_both_sides_are_compared(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        done = await at.do("Do both sides agree?")

    assert "both sides agree" in done.out
    assert "there is no target 'north': expected irp" in done.out, "this one has no other IRP"


async def test_alerts_of_the_past_become_incidents(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        old = at.kuma.raise_alert(seen=datetime.now(UTC) - timedelta(days=20))
        at.kuma.assign(old)

        done = await at.do("Alerts of the past")
        await at.until(lambda: at.irp.by_key(f"kuma:kuma:{old}"))

    assert done.code == 0, done.out
    assert len(at.irp.incidents) == 4


async def test_a_maintenance_window_is_begun_shown_and_ended(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        done = await at.do("A maintenance window")
        at.kuma.raise_alert()
        await at.until(lambda: len(at.irp.incidents) == 4 and at.agrees())

    assert done.code == 0, done.out
    assert "irp: paused until 2" in done.out
    assert "irp PAUSED by operator:" in done.out


async def test_a_backup_is_restored_and_nothing_is_doubled(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        backup = await at.do("Backup and restore", 0)
        for _ in range(3):
            at.kuma.raise_alert()
        await at.until(lambda: len(at.irp.incidents) == 6)

        restored = await at.do("Backup and restore", 2)
        at.kuma.grow(ALERT)
        await at.until(at.agrees)
        owners = {path.stat().st_uid for path in at.machine.store.parent.iterdir()}

    assert backup.code == 0
    assert backup.out.startswith("The store is in ")
    assert "daemon running since " in restored.out, restored.out
    assert "3 alerts will be found and fully updated." in restored.out
    assert len(at.irp.incidents) == 6
    assert at.irp.doubled() == []
    assert len(owners) == 1


async def test_a_lost_store_is_begun_anew_and_nothing_is_doubled_or_left(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        assigned = list(at.kuma.alerts)[1]
        at.kuma.assign(assigned)
        await at.until(lambda: any(one.fields.get("alertStatus") == "assigned" for one in at.irp.incidents.values()))

        done = await at.do("Backup and restore", 1)
        at.kuma.close(assigned)
        await at.until(at.agrees)
        incident = next(one for one in at.irp.incidents.values() if one.external_id.endswith(assigned))

    assert works(done), done.out
    assert "3 open; jobs: 0 waiting, 0 held, 0 parked" in done.out
    assert len(at.irp.incidents) == 3
    assert at.irp.doubled() == []
    assert incident.status == "closed"


def moves(at: Site, url: str) -> None:
    """Say what the next `$EDITOR` writes: the store's new address, and its password's file."""
    stored = f'url = "{url}"\npassword_file = "${{CREDENTIALS_DIRECTORY}}/store-password"'
    at.machine.edits((r'url = "sqlite:///.*"', stored))


async def given_the_password(at: Site) -> None:
    """Carry out what is done beside the running daemon before a move."""
    credential = at.machine.here("LoadCredential=store-password:/etc/kuma-sync/store-password")
    at.machine.edits((r"\Z", f"[Service]\n{credential}\n"))
    given = await at.machine.run(blocks()["Backup and restore"][3], pasted="of-no-use-where-all-are-trusted\n")
    assert (given.code, given.out) == (0, "")
    assert (at.machine.root / "etc/kuma-sync/store-password").stat().st_mode & 0o777 == 0o600


def moving_to(url: str) -> str:
    """Return the block that copies a store to PostgreSQL, with this address."""
    return blocks()["Backup and restore"][4].replace("postgresql://kuma_sync@HOST/kuma_sync", url)


async def test_a_store_moves_to_postgres_whole(tmp_path: Path, new_postgres_url: str) -> None:
    async with site(tmp_path) as at:
        await given_the_password(at)
        moves(at, new_postgres_url)

        done = await at.machine.run(moving_to(new_postgres_url))
        at.kuma.raise_alert()
        await at.until(lambda: len(at.irp.incidents) == 4 and at.agrees())
        credentials = sorted(path.name for path in (at.machine.root / "credentials").iterdir())
        left = [path.name for path in at.machine.store.parent.iterdir()]

    assert works(done), done.out
    assert "3 alerts among them, and counted on both sides" in done.out
    assert f"store     {new_postgres_url}" in done.out
    assert at.irp.doubled() == []
    assert "store-password" in credentials
    assert left == []


async def test_a_closing_while_a_store_is_moved_is_carried_by_the_copy(tmp_path: Path, new_postgres_url: str) -> None:
    async with site(tmp_path) as at:
        await given_the_password(at)
        moves(at, new_postgres_url)

        async with at.machine.while_editing(moving_to(new_postgres_url)) as moving:
            at.kuma.close(ALERT)
        done = await moving
        await at.until(at.agrees)
        incident = next(one for one in at.irp.incidents.values() if one.external_id.endswith(ALERT))

    assert works(done), done.out
    assert incident.status == "closed"
    assert len(at.irp.incidents) == 3


async def test_an_irp_at_a_new_address_is_rebound(tmp_path: Path) -> None:
    async with site(tmp_path) as at, SimServer(at.irp.app) as moved:
        at.machine.edits((r'(?s)(\[irp\]\nurl = )"[^"]*"', rf'\1"{moved.url}"'))

        done = await at.do("Backup and restore", 5)
        at.kuma.raise_alert()
        await at.until(lambda: len(at.irp.incidents) == 4 and at.agrees())

    assert works(done), done.out
    assert f"now  KUMA 'kuma', IRP {moved.url}" in done.out
    (failed,) = [line for line in done.out.splitlines() if line.startswith("failed")]
    assert "store identity" in failed
    assert at.irp.doubled() == []


async def test_a_rotated_token_is_handed_to_the_service(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        at.kuma.token = "a-new-token"
        (at.machine.store.parent / "new-kuma-token").write_text("a-new-token")

        done = await at.do("Rotate a token")
        at.kuma.raise_alert()
        await at.until(lambda: len(at.irp.incidents) == 4 and at.agrees())

    assert "failed" not in done.out, done.out
    assert (at.machine.root / "etc/kuma-sync/kuma-token").stat().st_mode & 0o777 == 0o600


async def test_what_the_brake_held_after_an_outage_is_looked_at_and_released(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        for _ in range(25):
            at.kuma.raise_alert()
        await at.until(at.agrees)
        assert (await at.machine.systemctl("stop")).code == 0
        for alert_id in list(at.kuma.alerts)[5:20]:
            at.kuma.close(alert_id)
        assert (await at.machine.systemctl("start")).code == 0
        await at.until(lambda: any(line["event"] == "brake_holds_closings" for line in at.machine.log))

        done = await at.do("After a long outage")
        await at.until(at.agrees)

    assert "15 held by the brake (15 to close in the IRP)" in done.out
    assert "They would be released." in done.out
    assert "15 alerts released." in done.out


async def test_an_upgrade_backs_up_installs_for_all_users_checks_and_starts(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        (at.machine.root / "usr/local/src/kuma-sync/deploy").mkdir()
        (at.machine.root / "usr/local/src/kuma-sync/deploy/kuma-sync.service").write_text(UNIT)
        done = await at.do("Upgrade")
        (copy,) = (at.machine.root / "var/backups").glob("kuma-sync-*.db")
        with closing(sqlite3.connect(copy)) as backup:
            (alerts,) = backup.execute("SELECT count(*) FROM alerts").fetchone()
        installed = (at.machine.root / "pip.log").read_text()
        unit = (at.machine.root / "etc/systemd/system/kuma-sync.service").read_text()

    assert "daemon running since " in done.out, done.out
    assert alerts == 3
    assert installed == "0022: install --require-hashes -r requirements.lock\n0022: install --no-deps .\n"
    assert unit == UNIT
