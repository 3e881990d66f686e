"""kuma-sync: one incident per Kaspersky KUMA alert, kept true to it."""

__version__ = "0.1.0"
