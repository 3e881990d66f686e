"""The limits hold only together: what must be longer than another one is, in the program and in the quick copies."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from child_program import QUICK, SHORT_LEASES

import kuma_sync
from kuma_sync.store import StoreLimits
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.sync.limits import Limits, Restarts


@pytest.mark.parametrize("limits", [Limits(), SHORT_LEASES, QUICK], ids=["real", "short leases", "quick"])
def test_a_limit_that_must_be_longer_than_another_one_is(limits: Limits) -> None:
    assert limits.store.lock < limits.store.transaction, "the database itself says what it waits for"
    assert limits.store.transaction < limits.longest_job, "a store that is away makes no loop count as dead"
    assert limits.page_deadline < limits.longest_read, "nor does a remote that is slow"
    assert limits.observed_every * 3 <= limits.silence, "the store is looked at in time to be well"
    assert limits.idle * 2 <= limits.silence, "so is the queue"
    assert limits.result_tried_again * 4 <= limits.job_lease, "what came of a job is offered again while it is ours"
    assert limits.given_up > 1, "first the supervisor is told, then the process ends itself"
    assert limits.heartbeat * 3 <= DEAD_AFTER, "two heartbeats may be missed"


@pytest.mark.parametrize("kind", [Limits, Restarts, StoreLimits])
def test_every_limit_is_used_and_says_what_it_bounds(kind: type) -> None:
    room = Path(kuma_sync.__file__).parent
    sources = {path: path.read_text() for path in room.rglob("*.py")}
    home = next(text for path, text in sources.items() if f"class {kind.__name__}:" in text)
    used = "\n".join(text for path, text in sources.items() if path.name != "limits.py")
    names = [field.name for field in fields(kind)]

    assert [name for name in names if not re.search(rf"(imits|restarts)\.{name}\b", used)] == []
    assert [name for name in names if not re.search(rf'    {name}: .*\n    """', home)] == []
