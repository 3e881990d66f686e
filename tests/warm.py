"""One pass of the program in the server that forks processes, so that none of them compiles our statements anew.

Nothing of it is left but what SQLAlchemy and Jinja compiled: to do so again takes half of a short life's time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import shared_statements
import shared_templates
import tomli_w
from structlog.testing import capture_logs

from kuma_sync.app.build import build, open_store
from kuma_sync.app.lifecycle import make_ready
from kuma_sync.app.one_pass import at_once
from kuma_sync.app.shared_state import SharedState
from kuma_sync.settings import load
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.store import Store, store_url
from kuma_sync.store.migrate import upgrade
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry import redact


def _make(url: str) -> None:
    """Make the tables, in a process of its own: it loads what others are not to have."""
    pid = os.fork()
    if pid == 0:
        store = Store(store_url(url), clock=lambda: datetime.now(UTC))
        upgrade(store)
        store.close()
        os._exit(0)
    os.waitpid(pid, 0)


async def _passes(folder: Path) -> None:
    """Let an alert be created, grow, and be closed; another one is closed in the IRP."""
    kuma, irp, config = KumaSim(token="kuma-token"), IrpSim(token="irp-token"), folder / "config.toml"
    async with SimServer(kuma.app) as kuma_server, SimServer(irp.app) as irp_server, AsyncExitStack() as stack:
        tables = {
            "kuma": {"url": kuma_server.url, "token": kuma.token},
            "irp": {"url": irp_server.url, "token": irp.token},
            "store": {"url": f"sqlite:///{folder}/store.db"},
            "web": {"listen": ""},
        }
        config.write_text(tomli_w.dumps(tables))
        config.chmod(0o600)
        _make(tables["store"]["url"])
        settings = at_once(load(config, {}))
        store = open_store(settings)
        stack.push_async_callback(store.aclose)
        shared = SharedState(store=store)
        runtime = await build(settings, shared, stack)
        await make_ready(store, runtime, shared.owner)
        one, other = kuma.raise_alert(), kuma.raise_alert()
        await once(runtime)
        kuma.grow(one)
        kuma.edit(one, priority="critical")
        irp.analyst_close(irp.by_key(f"kuma:kuma:{other}")[0].id, "Resolved")
        await once(runtime)
        kuma.close(one)
        await once(runtime)


def _warm() -> None:
    shared_statements.share()
    shared_templates.share()
    with tempfile.TemporaryDirectory() as folder, capture_logs():
        asyncio.run(_passes(Path(folder)))
    redact._hidden.clear()
    assert threading.active_count() == 1, "a thread would not live on in what is forked"
    gc.collect()
    gc.freeze()  # else each child's garbage collector would look through all of this


_warm()
