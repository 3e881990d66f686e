"""How long the store waits for a database, as arguments of `Store`: an operator or a test may want other values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Every wait for the database. The standard values are those of the program as it is delivered."""

    lock: timedelta = timedelta(seconds=30)
    """How long another's lock is waited for (on SQLite another writer), a free connection too, and how long a
    transaction of ours on PostgreSQL may stand still before the server ends it. Longer than any of ours stands
    still; shorter than `transaction`, so that the database itself says what it waits for."""

    transaction: timedelta = timedelta(minutes=4)
    """How long a transaction may take, with all it waits for: a database that neither answers nor fails is away, too.
    Less than a loop may stand still before `/livez` fails."""

    unreachable: timedelta = timedelta(seconds=10)
    """After how long a PostgreSQL that neither connects nor acknowledges what was sent is out of reach. Whole seconds:
    libpq takes no parts of them."""

    asleep: timedelta = timedelta(seconds=5)
    """After how long an unused connection to PostgreSQL is asked whether it still answers, before it is used again: a
    firewall may have forgotten it. To ask costs one round trip."""
