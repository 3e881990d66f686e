"""The one error of the simulators, for every module of the room to raise; nothing else belongs here."""

from __future__ import annotations


class SimError(Exception):
    """Say in one sentence what the caller of a simulator did wrong, or what is missing."""
