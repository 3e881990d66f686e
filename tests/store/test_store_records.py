"""The cursor, whose store it is, passes, the audit trail, and pieces that are no alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from builders import NOW
from stores import Clock, opened

from kuma_sync.core.comparison import Rejected
from kuma_sync.core.window import Cursor
from kuma_sync.store import AuditEntry, Identity, Joined, ParkedAlert, PassRecord
from kuma_sync.store.targets import KnownProfile

IRP = Joined(irp_url="https://sv.example.com", profile="security-vision")
NORTH = Joined(irp_url="", profile="security-vision-pull")
OURS = Identity(kuma_instance="кума", targets={"irp": IRP, "north": NORTH})
POLL = PassRecord(
    kind="window",
    started_at=NOW,
    seconds=1.25,
    complete=True,
    pages=3,
    bytes=2**40,
    seen=5,
    appeared=4,
    changed=3,
    left=2,
    rejected=1,
    error="kuma: 503",
)


async def test_a_new_store_is_born_by_the_first_write_and_once(database_url: str) -> None:
    clock = Clock()
    birth = clock.now
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            unborn = tx.cursor.read()
            tx.cursor.move(watermark=NOW, sweep=2**40)
        clock.advance(days=1)
        with store.writing() as tx:
            tx.cursor.move(swept_at=NOW)
            moved = tx.cursor.read()

    assert unborn == Cursor(born_at=birth)
    assert moved == Cursor(
        watermark=NOW,
        sweep=2**40,
        swept_at=NOW,
        born_at=birth,
    )


async def test_a_store_remembers_whose_it_is_beside_its_cursor(database_url: str) -> None:
    other = replace(IRP, irp_url="https://other.example.com")
    async with opened(database_url) as store:
        with store.writing() as tx:
            nobody = tx.targets.identity()
            tx.cursor.move(watermark=NOW)
            still_nobody = tx.targets.identity()
            tx.cursor.bind(OURS.kuma_instance)
            tx.targets.bind(OURS.targets)
            ours = tx.targets.identity()
            tx.targets.bind({"irp": other})
            tx.targets.forget("north")

            assert (nobody, still_nobody, ours) == (None, None, OURS)
            assert tx.targets.identity() == replace(OURS, targets={"irp": other})
            assert tx.cursor.read().watermark == NOW


async def test_each_target_has_its_own_profile_and_its_own_watched_until(database_url: str) -> None:
    until = NOW + timedelta(microseconds=7)
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.targets.note_watched("north", until)
            tx.targets.note_profile("irp", "digest", shown=True)

            assert (tx.targets.watched_until("north"), tx.targets.watched_until("irp")) == (until, None)
            assert tx.targets.profile("irp") == KnownProfile(digest="digest", shown=True)
            assert tx.targets.profile("north") == tx.targets.profile("nobody") == KnownProfile()


async def test_the_latest_pass_of_every_kind_is_found(database_url: str) -> None:
    sweep = PassRecord(kind="sweep", started_at=NOW, seconds=0.5, complete=False)
    newer = replace(POLL, error="", started_at=NOW + timedelta(seconds=30))
    async with opened(database_url) as store:
        with store.writing() as tx:
            for record in (POLL, sweep, newer):
                tx.audit.note_pass(record)

            assert tx.audit.last_passes(2) == [newer, sweep]
            assert tx.audit.last_passes(9) == [newer, sweep, POLL]
            assert tx.audit.last_pass_by_kind() == [sweep, newer]


async def test_an_alerts_history_is_told_in_order(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        for alert_id, action in (("a", "created"), ("b", "created"), ("a", "closed")):
            with store.writing() as tx:
                tx.audit.note("Иванов", action, alert_id, "причина")
            clock.advance(seconds=1)

        with store.reading() as tx:
            history = tx.audit.history("a")

    assert history == [
        AuditEntry(
            at=clock.now - timedelta(seconds=3), actor="Иванов", action="created", alert_id="a", detail="причина"
        ),
        AuditEntry(
            at=clock.now - timedelta(seconds=1), actor="Иванов", action="closed", alert_id="a", detail="причина"
        ),
    ]


async def test_a_piece_that_is_no_alert_is_one_row_however_often_it_is_seen(database_url: str) -> None:
    clock = Clock()
    birth = clock.now
    piece = Rejected(digest="d1", reason="no id", raw=b'{"name": "\xff\x00"}')
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            new = tx.rejects.park([piece, piece])
        clock.advance(hours=1)
        with store.writing() as tx:
            again = tx.rejects.park([piece, Rejected(digest="d2", reason="no object", raw=b"7")])
            nothing = tx.rejects.park([])
            parked = tx.rejects.waiting()
            bodies = [tx.rejects.body(digest) for digest in ("d1", "d2", "d3")]

        assert (new, again, nothing) == (1, 1, 0)
        assert bodies == [piece.raw, b"7", None]
        assert parked == [
            ParkedAlert(digest="d1", reason="no id", size=len(piece.raw), first_seen=birth),
            ParkedAlert(digest="d2", reason="no object", size=1, first_seen=clock.now),
        ]


async def test_a_dropped_piece_stays_dropped_when_it_is_seen_again(database_url: str) -> None:
    piece = Rejected(digest="d1", reason="no id", raw=b"{}")
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.rejects.park([piece])
            dropped = tx.rejects.drop("d1"), tx.rejects.drop("d1")
            new = tx.rejects.park([piece])

            assert dropped == (True, False)
            assert (new, tx.rejects.waiting(), tx.rejects.count()) == (0, [], 0)


async def test_a_piece_that_turned_out_to_be_an_alert_is_forgotten(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.rejects.park([Rejected(digest=each, reason="no id", raw=b"{}") for each in ("d1", "d2")])
            tx.rejects.forget("d1")

            assert [piece.digest for piece in tx.rejects.waiting()] == ["d2"]
