"""Logging as it was before: a test or a command configures it for its whole process, and here that process goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import structlog

from kuma_sync.telemetry import logs


@contextlib.contextmanager
def logging_put_back() -> Iterator[None]:
    """Put handlers and levels back after the block."""
    loggers = [logging.getLogger(name) for name in (None, "kuma_sync", *logs.SILENT)]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers = handlers
            logger.setLevel(level)
        structlog.reset_defaults()
