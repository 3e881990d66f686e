"""Calls of KUMA that we answer: close an alert, list alerts, pass another call on."""
