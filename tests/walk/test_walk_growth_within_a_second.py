"""A growth within the window's second: a later read of the same round must not move the watermark past it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from stage import staged, until_rest


async def test_growth_after_the_window_was_read_is_seen_by_the_next_poll(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        now = datetime.now(UTC).replace(microsecond=0)
        stage.kuma.clock = lambda: now
        first, second = (stage.kuma.raise_alert(events=1) for _ in range(2))
        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            await until_rest(runtime)
            reads = 0

            def after_page(_page: int) -> None:
                nonlocal reads, now
                reads += 1
                if reads == 1:  # the window is cut: `first` grows in the same second, `second` in the next one
                    stage.kuma.grow(first)
                    now += timedelta(seconds=1)
                    stage.kuma.grow(second)

            stage.kuma.knobs.after_page = after_page
            for _ in range(3):
                await runtime.poller.poll_once()
            await until_rest(runtime)

    assert len(stage.incident(second).events) == 2
    assert len(stage.incident(first).events) == 2
