"""Passwords of local users: hashed by Argon2, never known here."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 10
"""Characters of a password."""

# OWASP's second choice: 19 MB each. The libraries' own, 64 MB, would be half as much as the daemon itself has.
_HASHER = PasswordHasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)


def why_weak(password: str) -> str:
    """Return why a password is refused; "" for a good one."""
    if not password.strip():
        return "the password is empty"
    if len(password) < SHORTEST:
        return f"the password is too short: expected at least {SHORTEST} characters"
    if len(set(password)) < 3:  # aaaa, abab
        return "the password is one or two characters over and over"
    return ""


def hashed(password: str) -> str:
    """Return the hash of a password, for the configuration. Takes some 30 ms and 19 MB."""
    return _HASHER.hash(password)


def verified(known: str | None, password: str, *, like: str = "") -> bool:
    """Tell whether a password is the one of a hash; where none is known, take as long as if there were (`like` it)."""
    try:
        return PasswordHasher().verify(known or _nobodys(like), password) and known is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys(like: str) -> str:
    """Return a hash of no password that costs as much as another one."""
    if not like:
        return _HASHER.hash("")
    found = extract_parameters(like)
    made = PasswordHasher(
        time_cost=found.time_cost, memory_cost=found.memory_cost, parallelism=found.parallelism, type=found.type
    )
    return made.hash("")
