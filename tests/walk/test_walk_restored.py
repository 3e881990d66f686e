"""A store's older copy put back while its incidents exist.

See also `test_an_older_copy_of_the_store_doubles_nothing`.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stage import ago, change_profile, link_of, parked, staged, without

from kuma_sync.sync.runtime.single_pass import once

KNOWN, UNKNOWN = 4, 3


async def test_an_older_copy_of_the_store_doubles_nothing_although_the_profile_cannot_find(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("find"))
        stage.irp.knobs.unique_key = True
        known = [stage.kuma.raise_alert() for _ in range(KNOWN)]
        await stage.passes()
        shutil.copy(tmp_path / "store.db", tmp_path / "backup.db")
        unknown = [stage.kuma.raise_alert() for _ in range(UNKNOWN)]
        stage.kuma.grow(known[0])
        await stage.passes()
        restore(tmp_path)

        fresh = stage.kuma.raise_alert()
        stage.kuma.grow(known[1])
        await stage.passes(2)
        async with stage.runtime() as runtime:
            aside = {job.subject: job.reason for job in await parked(runtime)}

    assert stage.irp.doubled() == []
    assert len(stage.irp.incidents) == len(stage.wrote("create")) == KNOWN + UNKNOWN + 1
    assert aside.keys() == set(unknown), "a human has to say which incident is theirs"
    assert set(aside.values()) == {"the IRP says it exists already, and the profile cannot find it"}
    assert len(stage.incidents(fresh)) == 1
    assert stage.agrees(), stage.verdict()


async def test_an_alert_that_the_first_sweep_skipped_is_looked_for_before_a_create(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert(seen=ago(minutes=2))
        await stage.passes()
        shutil.copy(tmp_path / "store.db", tmp_path / "backup.db")
        skipped = stage.kuma.raise_alert(seen=ago(minutes=1))
        await stage.passes()
        restore(tmp_path)

        async with stage.runtime() as runtime:
            stage.kuma.knobs.hidden = {skipped}
            await once(runtime)  # sweeps; rows moved, so that this one is on no page
            stage.kuma.knobs.hidden = set()
            fresh = stage.kuma.raise_alert()
            await once(runtime)

    assert stage.irp.doubled() == []
    looked = [request.query for request in stage.irp.requests if "externalId=" in request.query]
    assert any(skipped in query for query in looked)
    assert not any(fresh in query for query in looked), "it appeared after this process first read KUMA"
    assert stage.agrees(), stage.verdict()


def restore(folder: Path) -> None:
    """Put the older copy in the store's place, as the runbook says: without the logs of the one that goes."""
    for left_over in ("store.db-wal", "store.db-shm"):
        (folder / left_over).unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "store.db")


async def test_a_restored_store_doubles_no_alert_that_it_knows_as_ignored(tmp_path: Path, sqlite_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    async with staged(tmp_path, sqlite_url, poll={"ignore_before": limit.isoformat()}) as stage:
        async with stage.runtime() as runtime:
            await once(runtime)
            old = stage.kuma.raise_alert(seen=limit - timedelta(hours=1))
            await once(runtime)
            born = await link_of(runtime, old)
        shutil.copy(tmp_path / "store.db", tmp_path / "backup.db")
        ignored = list(stage.incidents(old))
        stage.kuma.grow(old)
        await stage.passes()

        for left_over in ("store.db-wal", "store.db-shm"):
            (tmp_path / left_over).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", tmp_path / "store.db")
        await stage.passes(2)

    assert (born.ignored, ignored) == (True, [])
    assert len(stage.incidents(old)) == len(stage.wrote("create")) == 1
    assert stage.agrees(), stage.verdict()
