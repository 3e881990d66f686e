"""Why an alert is where it is, in words, and what can be done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, a_link, an_alert, an_incident

from kuma_sync.core.alert import AlertSnapshot
from kuma_sync.core.condition import Trouble
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import DeliveredState, Offered
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.sentence import Cause
from kuma_sync.core.why import Circumstances, Press, Waits, Why, why

SOON, AGO = NOW + timedelta(minutes=2), NOW - timedelta(minutes=14)
SNAPSHOT = AlertSnapshot(alert=an_alert())


def a_job(state: str = "pending", **fields: Any) -> Waits:
    return replace(Waits(state=state, since=AGO, due=NOW), **fields)


def said(link: dict[str, Any] | None = None, **facts: Any) -> list[str]:
    found = judged(link, **facts)
    assert all(one.said.english(NOW) for one in found)
    return [str(one.said) for one in found]


def judged(link: dict[str, Any] | None = None, **facts: Any) -> list[Why]:
    return why(Circumstances(now=NOW, link=a_link(**(link or {})), snapshot=SNAPSHOT, **facts))


@pytest.mark.parametrize(
    ("link", "sentence", "press"),
    [
        ({"dropped": True}, "An operator dropped it: whatever changes, nothing is done", (Press.RESYNC,)),
        ({"ignored": True, "missed": True}, "It left the statuses that KUMA is asked for before", ()),
        ({"ignored": True, "target": "ignore"}, "A route says that it is ignored.", ()),
        ({"ignored": True}, "It is older than poll.ignore_before.", ()),
        ({"target": ""}, "No route takes it, and there is no [irp].", (Press.ROUTE,)),
        (
            {"held_create": True},
            "The brake holds its incident: more new at once than brake.max_new allows.",
            (Press.RELEASE,),
        ),
        ({"alert_closed": True, "held_close": True}, "The brake holds the closing of its", (Press.RELEASE,)),
        ({}, "It has no incident, and no job is queued for it", (Press.RESYNC,)),
        ({"incident": an_incident()}, "Its incident is out of date, and no job is queued", (Press.RESYNC,)),
    ],
)
def test_without_a_job_the_link_tells_why(link: dict[str, Any], sentence: str, press: tuple[Press, ...]) -> None:
    (found,) = judged(link)

    assert str(found.said).startswith(sentence)
    assert found.press == press


def test_an_alert_that_waits_to_be_fetched_says_so() -> None:
    assert said({"target": "robot"}, unfetched=True) == [
        "It was not fetched yet: it waits until robot asks us for its alerts."
    ]


def test_an_alert_that_was_delivered_says_so() -> None:
    sent = DeliveredState(fingerprint=SNAPSHOT.fingerprint)

    assert said({"incident": an_incident(), "sent": sent, "target": "north"}) == [
        "Its incident in north holds all that KUMA shows."
    ]


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        (
            {"close_origin": Origin.KUMA, "alert_closed": True, "incident_closed": True},
            "in KUMA; both sides are closed.",
        ),
        (
            {"close_origin": Origin.KUMA, "alert_closed": True},
            "It was closed in KUMA; its incident stays open: closings",
        ),
        (
            {"close_origin": Origin.IRP, "incident_closed": True},
            "closed in irp; the alert stays open: closings do not go",
        ),
        ({"close_origin": Origin.IRP, "alert_closed": True}, "closed in irp; it was opened again there, and the alert"),
        (
            {"close_origin": Origin.OPERATOR, "alert_closed": True, "incident_closed": True},
            "An operator closed it; both",
        ),
    ],
)
def test_of_a_closed_alert_it_is_told_who_closed_it_and_what_stays_open(link: dict[str, Any], sentence: str) -> None:
    (found,) = said({"incident": an_incident(), **link})

    assert sentence in found


def test_a_parked_delivery_has_its_tries_and_reason_and_may_be_retried_or_dropped() -> None:
    (once,) = judged(delivery=a_job("parked", attempts=1, reason="422: no such field"))
    (often,) = judged(delivery=a_job("parked", attempts=3, reason="422"))

    assert str(once.said).startswith(
        "Its delivery to irp failed and was set aside: 422: no such field. It is tried again"
    )
    assert str(often.said).startswith("Its delivery to irp failed 3 times and was set aside: 422.")
    assert once.press == often.press == (Press.RETRY, Press.DROP)


def test_a_job_on_its_way_says_what_it_waits_for() -> None:
    assert said(delivery=a_job()) == ["Its delivery to irp is on the queue since 2026-01-15 11:46:00Z."]
    assert said(delivery=a_job("running")) == ["Its delivery to irp is under way now."]
    assert said(delivery=a_job(attempts=2, due=SOON, reason="503")) == [
        "Its delivery to irp failed 2 times, the last time: 503. It is tried again at 2026-01-15 12:02:00Z."
    ]
    assert said(delivery=a_job(attempts=1)) == [
        "Its delivery to irp failed: no reason is known. It is tried again now."
    ]
    assert said(delivery=a_job(due=SOON, reason="settle")) == [
        "Its delivery to irp waits until 2026-01-15 12:02:00Z: settle."
    ]


def test_a_side_that_is_not_well_is_told_before_the_jobs_own_failure() -> None:
    trouble = Trouble(part="irp:north", state="paused", reason="out of service", since=AGO)

    of_north = said({"target": "north"}, delivery=a_job(attempts=2, reason="401"), troubles=[trouble])
    of_another = said(delivery=a_job(attempts=2, reason="401"), troubles=[trouble])

    assert of_north == [
        "Its delivery to north waits: IRP north is not well since 2026-01-15 11:46:00Z: out of service. It is tried "
        "again without anybody's doing."
    ]
    assert "IRP north" not in of_another[0]


def test_a_refused_token_is_said_to_need_a_person() -> None:
    trouble = Trouble(part="irp", state="paused", reason="token refused", since=AGO)

    assert said(delivery=a_job(), troubles=[trouble])[0].endswith(": token refused. Look at its token.")


def test_a_pause_of_an_operator_is_told_with_who_and_until_when() -> None:
    for_ever = Maintenance(part="north", since=AGO, until=None, by="anna")
    (found,) = judged({"target": "north"}, delivery=a_job(), paused=[for_ever])

    assert str(found.said) == "north is paused (by anna; begun 2026-01-15 11:46:00Z): it waits for `resume`."
    assert (found.press, found.part) == ((Press.RESUME,), "north")
    timed, over = replace(for_ever, until=SOON), replace(for_ever, until=AGO)
    assert said({"target": "north"}, delivery=a_job(), paused=[timed])[0].endswith("ends 2026-01-15 12:02:00Z).")
    assert "anna" not in said({"target": "north"}, delivery=a_job(), paused=[over])[0]
    assert "anna" not in said(delivery=a_job(), paused=[for_ever])[0]
    assert "anna" in said(closing=a_job(), paused=[replace(for_ever, part="close")])[0]


def test_what_fails_under_a_pause_is_told_behind_it() -> None:
    paused = Maintenance(part="north", since=AGO, until=None, by="anna")
    trouble = Trouble(part="irp:north", state="paused", reason="answered 503", since=AGO, maintained=True)

    told = said({"target": "north"}, delivery=a_job(), paused=[paused], troubles=[trouble])
    of_another = said(delivery=a_job(), paused=[replace(paused, part="irp")], troubles=[trouble])
    beneath = judged({"target": "north"}, delivery=a_job(), paused=[paused], troubles=[trouble])[1].said

    assert [one.split(" (")[0] for one in told] == [
        "north is paused",
        "IRP north also fails since 2026-01-15 11:46:00Z: answered 503.",
    ]
    assert len(of_another) == 1
    assert beneath.values["reason"] == Cause("answered 503"), "the console translates it"


def test_both_ways_are_told_and_a_daemon_that_does_not_run() -> None:
    found = judged(delivery=a_job("parked", reason="422"), closing=a_job(), running=False)

    assert [str(one.said).split(" ", 3)[:3] for one in found] == [
        ["Its", "delivery", "to"],
        ["Its", "closing", "in"],
        ["No", "daemon", "runs:"],
    ]
    assert found[-1].press == (Press.START,)


def test_a_held_closing_waits_for_a_release() -> None:
    (found,) = judged(closing=a_job("held"))

    assert "brake.max_closed_percent" in str(found.said)
    assert found.press == (Press.RELEASE,)


def test_what_is_no_alert_and_what_is_unknown_have_their_words() -> None:
    (piece,) = why(Circumstances(now=NOW, piece="not an object"))
    (unknown,) = why(Circumstances(now=NOW))
    (closing,) = why(Circumstances(now=NOW, closing=a_job("parked", reason="unknown alert")))

    assert "not an object" in str(piece.said)
    assert piece.press == (Press.RETRY, Press.DROP)
    assert str(unknown.said) == "Nothing is known of it here."
    assert "unknown alert" in str(closing.said)


def test_an_alert_that_is_gone_says_so_besides() -> None:
    assert said({"gone": True}, delivery=a_job())[-1].startswith("KUMA no longer has this alert.")
    assert said({"gone": True}) == ["KUMA no longer has this alert. Nothing is closed because of that."]


def test_what_is_put_out_for_an_irp_that_polls_us_says_so() -> None:
    link = replace(a_link(target="robot"), state=Offered())

    (found,) = why(Circumstances(now=NOW, link=link, snapshot=SNAPSHOT))

    assert str(found.said) == "It is put out for robot, which asks us for its alerts."


def test_a_reason_from_elsewhere_is_no_pattern_and_ends_in_no_key() -> None:
    reason = "%(to)s <script>100%</script>"
    (found,) = judged(delivery=a_job("parked", reason=reason))

    assert reason in str(found.said)
    assert reason not in found.said.text
