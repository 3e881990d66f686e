"""Every time-out, cap and pace of the daemon, given as arguments: the composition root makes them, tests make others.

What the configuration decides is not here, nor what is a fact of a protocol, of the store's rows or of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from kuma_sync.core.notices import Patience
from kuma_sync.store import StoreLimits

MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """How a loop that raised is started again."""

    first_wait: timedelta = timedelta(seconds=1)
    """Half the wait before the first new start; it doubles with every failure."""

    longest_wait: timedelta = timedelta(seconds=30)
    """The longest wait before a new start."""

    too_often: int = 5
    """So many failures within `within` end the process; systemd or Docker starts it anew."""

    within: timedelta = timedelta(minutes=10)
    """A loop that ran for longer than this before it failed begins again with the shortest wait."""

    well_after: timedelta = timedelta(minutes=1)
    """How long a loop that was started again must run before its part counts as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeLimits:
    """How `[notify]` tells."""

    patience: Patience = field(default_factory=Patience)
    """How long a trouble must last, and be gone."""

    looked_every: timedelta = timedelta(seconds=5)
    """The pace of looks at what is wrong."""

    beats_apart: timedelta = timedelta(minutes=1)
    """How far apart a dead man's switch is asked at least."""

    beat_waits: timedelta = timedelta(seconds=10)
    """A round that succeeded so much too early waits for its minute; one that is earlier is left out."""

    deadline: timedelta = timedelta(seconds=10)
    """How long a receiver may take. Less than half of `lease`: whoever tells is the one that may."""

    lease: timedelta = timedelta(seconds=30)
    """How long another copy waits for one that tells no more."""

    first_wait: timedelta = timedelta(seconds=5)
    """The wait after a message that was not taken; it doubles."""

    longest_wait: timedelta = timedelta(minutes=5)
    """The longest wait between two trials of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits of one process. The standard values are those of the program as it is delivered.

    Each holds only together with others: what must be longer than another limit says so.
    """

    store: StoreLimits = field(default_factory=StoreLimits)
    """How long the database is waited for."""

    restarts: Restarts = field(default_factory=Restarts)
    """How a loop that raised is started again."""

    notices: NoticeLimits = field(default_factory=NoticeLimits)
    """How `[notify]` tells."""

    # What a dead copy leaves to the others

    job_lease: timedelta = timedelta(minutes=1)
    """How long a claimed job is ours without being renewed: after that another copy takes it. Renewed four times in
    that time, so that a slow store costs no claim."""

    leader_lease: timedelta = timedelta(seconds=30)
    """How long the leader's lease is ours without being renewed, which happens three times in that time."""

    leader_asked_every: timedelta = timedelta(seconds=5)
    """How often a copy that stands by asks for that lease, however seldom KUMA is polled."""

    # When something counts as unwell, or as dead

    longest_read: timedelta = timedelta(minutes=15)
    """How long the loops that read may not turn before `/livez` fails; more than any wait for a remote or the store."""

    longest_job: timedelta = timedelta(minutes=5)
    """The same for the loops that deliver and close; more than `store.transaction`."""

    given_up: float = 3.0
    """A loop that is overdue for so many times the limit of `/livez` is dead, and the process ends itself."""

    blocked: timedelta = timedelta(minutes=5)
    """How long the event loop may not turn before the process ends itself. Nothing we do on purpose takes long."""

    last_line: timedelta = timedelta(seconds=5)
    """How long such a process may take to write its last line: the log itself may block it."""

    brief: timedelta = timedelta(seconds=10)
    """How long reading may bring nothing before it is not ready, however short its interval is."""

    silence: timedelta = timedelta(seconds=15)
    """How long the store may not answer, or a worker not look at its queue, before that part is not ready."""

    drought: timedelta = timedelta(minutes=15)
    """How long work may wait and none of it be done before that part is not ready."""

    slow_write: timedelta = timedelta(seconds=5)
    """How long a job's result may wait for the store before the store counts as not writable."""

    late: timedelta = timedelta(seconds=1)
    """How much too late the process may wake up on a busy machine; later, it was frozen or its loop blocked."""

    quiet: timedelta = timedelta(minutes=1)
    """How long no delivery, or no closing, may have failed before that counts as over in the log."""

    # How often it is looked

    observed_every: timedelta = timedelta(seconds=5)
    """The pace of the gauges, of the store's trial write and of systemd's watchdog. Less than `silence`."""

    scraped_within: timedelta = timedelta(seconds=2)
    """How long a scrape waits for the store, before it shows what was seen last."""

    idle: timedelta = timedelta(seconds=1)
    """The pace of a worker's looks at its queue when no bell rings: other processes put jobs, too."""

    trials_looked_for: timedelta = timedelta(seconds=1)
    """The pace of looks at whether a KUMA that is not asked may be tried again."""

    maintenance_looked_for: timedelta = timedelta(seconds=1)
    """The pace of looks at the store for what an operator paused or resumed."""

    comments_looked_for: timedelta = timedelta(seconds=2)
    """The pace of looks for comments that alerts are to be given (`kuma.write_back`)."""

    comment_lease: timedelta = timedelta(minutes=15)
    """How long a few comments belong to one copy: more than KUMA may take for them."""

    maintenance_wait: timedelta = timedelta(seconds=10)
    """When a job that met an operator's pause is tried again: the pause may be ended early."""

    proof_looked_for: timedelta = timedelta(seconds=1)
    """How often we look whether another job or another copy has learnt if `find` shows created incidents."""

    answers_looked_for: timedelta = timedelta(milliseconds=500)
    """The pace of looks at the store while callers wait for closings: another copy of the daemon may do the job."""

    store_tried_again: timedelta = timedelta(seconds=1)
    """The pace of trials at the start while the store is away."""

    result_tried_again: timedelta = timedelta(milliseconds=500)
    """How often a job's result is offered to a store that is away. Much less than `job_lease`."""

    house_kept_every: timedelta = timedelta(hours=1)
    """The pace of pruning."""

    activity_noted: timedelta = timedelta(seconds=10)
    """The pace at which it is noted how much happened: where something did, one transaction of a few rows."""

    begun_within: timedelta = timedelta(seconds=15)
    """When the service manager is told that we are up, at the latest: making the store ready may take longer."""

    heartbeat: timedelta = timedelta(seconds=20)
    """How often a process is heard in the store at least; one row is written. A third of what makes it count as dead
    (DEAD_AFTER, which other processes go by)."""

    heartbeat_looked_for: timedelta = timedelta(seconds=1)
    """The pace of looks at whether there is news for the heartbeat to tell at once."""

    told_every: timedelta = timedelta(seconds=2)
    """How often a single pass says that it is still at the same step."""

    # How long an end may take

    last_moments: timedelta = timedelta(seconds=2)
    """How long a read may still take when the daemon stops; cut off later, it is simply read again."""

    last_result: timedelta = timedelta(seconds=5)
    """How long a job that is cut off may still take to record the remote's answer."""

    last_word: timedelta = timedelta(seconds=2)
    """How long a process that ends waits for the store to take its leave."""

    longest_look: timedelta = timedelta(seconds=30)
    """How long a single pass waits to see whether `find` shows the created incident."""

    proof_late: timedelta = timedelta(seconds=30)
    """How late the second look for an incident may be before the incident counts as not shown."""

    # Towards the remotes

    outage_wait: timedelta = timedelta(seconds=30)
    """The longest wait between two trials in an outage: unlike a refused token, it ends without anybody's doing."""

    trips_after: int = 5
    """As many requests that failed transiently, one after the other, show that a remote is out."""

    single_failures: int = 3
    """As many questions about single alerts may fail slowly one after the other: more would take too long. And after
    as many quick failures KUMA has to show again that it is well."""

    slow_question: timedelta = timedelta(seconds=10)
    """An answer that takes longer counts as slow."""

    listed_again: int = 5
    """How often one round asks for the late listing again at most."""

    contents_tries: int = 5
    """How often the closing of an incident waits for contents that KUMA fails to show."""

    page_deadline: timedelta = timedelta(minutes=10)
    """How long one page of KUMA's may take in all. Less than `longest_read`."""

    kuma_pages: int = 4000
    """As many pages of one read of KUMA show that it does not end."""

    closed_pages: int = 1000
    """As many pages of one list of closed incidents show that it does not end."""

    kuma_connections: int = 8
    """Connections to KUMA at once."""

    passed_at_once: int = 4
    """Calls of others that are passed on to KUMA at once, over connections of their own: our reads must not wait."""

    closes_in_flight: int = 4
    """Closings that KUMA is asked for at once."""

    waiting_callers: int = 200
    """Callers that may wait for KUMA's answer at once, each with a connection; never more than half of the door's."""

    look_within: timedelta = timedelta(seconds=10)
    """How long a person's look at one alert waits for KUMA or an IRP in all: its turn, and the answer."""

    contents_in_work: int = 6 * MB
    """Bytes of contents that are unpacked for deliveries at once, a single larger alert aside."""
