"""A long first read is kept page by page, and only a read that ended moves the watermark."""

from __future__ import annotations

from pathlib import Path

import build
from lives import lives

from kuma_sync.app.build import open_store


async def test_a_first_read_that_dies_on_page_two_keeps_page_one_and_the_watermark(
    tmp_path: Path, database_url: str
) -> None:
    async with lives(tmp_path, database_url, concurrency=1) as life:
        ids = {life.stage.kuma.raise_alert(events=0) for _ in range(300)}
        code = await life.process("page_committed", 1)
        store = open_store(life.settings)
        with store.reading() as tx:
            known, cursor = set(tx.links.all_ids()), tx.cursor.read()
        await store.aclose()

    assert code == build.DIED
    assert len(known) == 250
    assert known <= ids
    assert (cursor.watermark, cursor.swept_at) == (None, None)
