"""Decisions: pure functions and plain values. Standard library only; no await, no clock, no log, no I/O."""
