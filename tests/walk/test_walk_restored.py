"""A store's older copy put back while its incidents exist, where the profile has no `find`.

With `find` see `test_an_older_copy_of_the_store_doubles_nothing`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stage import change_profile, parked, staged, without

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
        for left_over in ("store.db-wal", "store.db-shm"):
            (tmp_path / left_over).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", tmp_path / "store.db")

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
