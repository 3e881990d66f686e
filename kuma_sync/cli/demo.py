"""`demo`: both simulators, a scripted day, and the real daemon between them; then both sides compared."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from kuma_sync.cli.options import Unfinished, examples, unread_config_option
from kuma_sync.cli.out import say
from kuma_sync.settings import host_and_port
from kuma_sync.sim.comparison import Comparison, compare
from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.sim.story import play
from kuma_sync.web.console.passwords import hashed

DOOR_TOKEN = "demo-door-token"  # noqa: S105  # of a demo on loopback, printed on the screen
USER = "demo"
"""Who signs in at the console, as an operator."""

LONGEST_STOP = 15.0
CONFIG = """\
[kuma]
url = "{kuma}"
token = "{kuma_token}"
[irp]
url = "{irp}"
token = "{irp_token}"
[poll]
interval = "1s"
sweep_interval = "2s"
[close]
watch_interval = "1s"
[close.reasons]
"False positive" = "incorrect data"
"Rule needs tuning" = "incorrect correlation rule"
"Resolved" = "responded"
[retry]
base = "500ms"
max = "5s"
[run]
grace = "5s"
[store]
url = "sqlite:///{folder}/demo.db"
[web]
listen = "{listen}"
[web.tokens]
irp-command = "{door_token}"
[web.console]
enabled = true
[web.console.users]
{user} = "{password_hash}"
[log]
format = "json"
"""

DAY = 30.0
LONGEST_DRAIN = 20.0
DOOR_AT = (0.30, 0.62)
"""At these shares of the day the IRP calls our close API."""

PATIENCE = 100
"""How often the demo looks, every tenth of a second, before it gives up waiting for the daemon."""

DEEDS = ("made in the IRP", "updated there", "closed in KUMA", "closed in the IRP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The daemon's folder, its HTTP address, and the two remotes as (address, token).

    `password` is of the console's only user, and new for each demo: it may listen to the whole network.
    """

    folder: Path
    listen: str
    kuma: tuple[str, str]
    irp: tuple[str, str]
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))

    @property
    def config(self) -> Path:
        """Return the configuration's file."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """Return the log's file."""
        return self.folder / "daemon.log"

    def write(self) -> None:
        """Write the configuration."""
        (kuma, kuma_token), (irp, irp_token) = self.kuma, self.irp
        text = CONFIG.format(
            kuma=kuma,
            kuma_token=kuma_token,
            irp=irp,
            irp_token=irp_token,
            folder=self.folder,
            listen=self.listen,
            door_token=DOOR_TOKEN,
            user=USER,
            password_hash=hashed(self.password),
        )
        self.config.touch(mode=0o600)
        self.config.write_text(text, encoding="utf-8")

    def close_alert(self, alert_id: str, reason: str) -> bool:
        """Call our close API as an IRP would. Blocks; return false when the call was refused."""
        request = urllib.request.Request(
            f"http://{self.listen}/api/v1/alerts/close",
            data=json.dumps({"id": alert_id, "reason": reason}).encode(),
            headers={"Authorization": f"Bearer {DOOR_TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
                return bool(answer.status == 204)
        except OSError:
            return False


class Daemon:
    """`kuma-sync run` in a process group of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; its log goes to a file."""
        self._place.write()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("KUMA_SYNC_")}
        with self._place.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "kuma_sync", "run", "-c", str(self._place.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ours,
                start_new_session=True,
            )

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        assert self._process is not None  # noqa: S101  # started before
        return await self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM, after 15 s SIGKILL, unless it has ended already; return its exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LONGEST_STOP):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()


def free_listen(listen: str) -> str:
    """Return the address, with a free port instead of port 0; raise Unfinished where there is none."""
    host, _, port = listen.rpartition(":")
    if int(port):
        return listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host.strip("[]"), 0))
        except OSError as error:
            raise Unfinished(f"cannot listen on {listen}: {error.strerror}") from None
        except UnicodeError:
            raise Unfinished(f"cannot listen on {listen}: that is no host's name") from None
        return f"{host}:{probe.getsockname()[1]}"


def _listen(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        host_and_port(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


def _length(_context: click.Context, _parameter: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not math.isfinite(seconds):
        # A range does not refuse NaN: it is neither too small nor too large.
        raise click.BadParameter("expected a number of seconds")
    return seconds


@click.command(
    epilog=examples(
        "kuma-sync demo --seconds 30",
        "kuma-sync demo --listen 127.0.0.1:8484",
        codes="0 both sides agree at the end, 1 they do not, or it did not end well, 2 wrong usage.",
    )
)
@unread_config_option
@click.option(
    "--seconds",
    type=click.FloatRange(min=5),
    callback=_length,
    help="Length of the day; without it the demo stays up until Ctrl-C.",
)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    callback=_listen,
    help="Where the daemon listens, HOST:PORT; port 0 lets the system choose.",
)
def demo(seconds: float | None, listen: str) -> None:
    """Play a scripted day on two simulators with the daemon between them, then compare both sides."""
    listen = free_listen(listen)
    folder = Path(tempfile.mkdtemp(prefix="kuma-sync-demo-"))
    good = asyncio.run(_Demo(folder, listen).run(seconds))
    if not good:
        raise Unfinished(f"the demo did not end well; configuration, store and log are in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(self, folder: Path, listen: str) -> None:
        self._folder = folder
        self._listen = listen
        self._kuma = KumaSim(seed=7)
        self._irp = IrpSim(seed=7)
        self._by_door = 0
        self._began = time.monotonic()
        self._counts = (0, 0, 0, 0)

    async def run(self, seconds: float | None) -> bool:
        """Run the demo; true when both sides agree and the daemon ended well."""
        async with AsyncExitStack() as stack:
            kuma = await stack.enter_async_context(SimServer(self._kuma.app))
            irp = await stack.enter_async_context(SimServer(self._irp.app))
            place = Place(
                folder=self._folder,
                listen=self._listen,
                kuma=(kuma.url, self._kuma.token),
                irp=(irp.url, self._irp.token),
            )
            daemon = Daemon(place)
            stack.push_async_callback(daemon.stop)
            self._explain(place)
            stop = _on_signals()
            await daemon.start()
            await self._until(stop, daemon, self._first_read())
            self._began = time.monotonic()
            await self._until(stop, daemon, self._day(place, seconds or DAY))
            if seconds is None and not stop.is_set():
                self._invite(place)
                await self._until(stop, daemon, asyncio.Event().wait())
            return await self._end(daemon)

    def _explain(self, place: Place) -> None:
        say("A day at a SOC, in half a minute. A simulated KUMA raises alerts, a simulated IRP takes incidents,")
        say("and the real daemon stands between them. Some things will go wrong; that is the point.\n")
        say(f"  KUMA        {place.kuma[0]}")
        say(f"  IRP         {place.irp[0]}")
        say(f"  the daemon  http://{place.listen}/readyz, its log in {place.log}")
        say(f"  its console http://{place.listen}/ : sign in as {USER} with the password {place.password}\n")

    async def _until(self, stop: asyncio.Event, daemon: Daemon, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine until it ends, Ctrl-C comes, or the daemon dies."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in (work, stop.wait(), daemon.ended())]
            watching = group.create_task(self._watch())
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, watching):
                task.cancel()

    async def _first_read(self) -> None:
        """Wait until the daemon is ready, so that a slow start does not shorten the day."""
        for _ in range(PATIENCE):
            if self._kuma.requests:
                return
            await asyncio.sleep(0.1)

    async def _day(self, place: Place, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(play(self._kuma, self._irp, seconds=seconds, seed=7, tell=self._tell))
            for share in DOOR_AT:
                group.create_task(self._command(place, share * seconds))

    async def _command(self, place: Place, after: float) -> None:
        """Close an incident as an IRP does that then calls our close API."""
        await asyncio.sleep(after)
        for _ in range(PATIENCE):
            if (incident := self._open_incident()) is not None:
                break
            await asyncio.sleep(0.1)
        else:
            return
        alert_id = incident.external_id.rpartition(":")[2]
        if await asyncio.to_thread(place.close_alert, alert_id, "responded"):
            self._by_door += 1
            self._irp.analyst_close(incident.id, "Resolved")
            self._tell(f"IRP:  {incident.number} is closed, its close command calls the daemon's door: 204")

    def _open_incident(self) -> Incident | None:
        """Pick the oldest open incident whose alert is still new."""
        alerts = self._kuma.alerts
        fitting = (
            one
            for one in self._irp.incidents.values()
            if one.status == "open" and alerts.get(one.external_id.rpartition(":")[2], {}).get("status") == "new"
        )
        return next(fitting, None)

    async def _watch(self) -> None:
        """Print each new thing that the daemon did."""
        while True:
            await asyncio.sleep(0.5)
            found = self._compared()
            counts = (found.incidents, found.updates, found.closed_by_irp, found.closed_by_kuma)
            news = [now - before for now, before in zip(counts, self._counts, strict=True)]
            if any(news):
                self._counts = counts
                self._tell(
                    f"SYNC: {', '.join(f'{count} {what}' for count, what in zip(news, DEEDS, strict=True) if count)}"
                )

    def _invite(self, place: Place) -> None:
        (kuma, kuma_token), (irp, irp_token) = place.kuma, place.irp
        listing = f"curl -s -H 'Authorization: Bearer {kuma_token}' '{kuma}/api/v1/alerts/?status=new'"
        closing = f"curl -i -H 'Authorization: Bearer {DOOR_TOKEN}' http://{place.listen}/api/v1/alerts/close"
        say("\nThe day is over; everything stays up until Ctrl-C. Things to try from another terminal:\n")
        say(f"  the console: http://{place.listen}/ ({USER}, {place.password})")
        say(f"  curl -s http://{place.listen}/readyz")
        say(f"  curl -s -H 'Authorization: Bearer {DOOR_TOKEN}' http://{place.listen}/metrics")
        say(f"  {Path(sys.executable).with_name('kuma-sync')} status -c {place.config}")
        say(f"  {listing}")
        say(f"  curl -s -H 'Authorization: Bearer {irp_token}' {irp}/api/v1/incidents")
        say(f"  curl -s -H 'Authorization: Bearer {kuma_token}' {kuma}/_sim/act -d '{{\"do\": \"raise_alert\"}}'")
        say(f'  {closing} -d \'{{"id": "ALERT", "reason": "responded"}}\'\n')

    async def _end(self, daemon: Daemon) -> bool:
        for side in (self._kuma, self._irp):
            side.faults.clear()
        found = await self._drained()
        code = await daemon.stop()
        say("\nBoth sides compared:\n")
        for line in found.lines():
            say(f"  {line}")
        by_watch = max(found.closed_by_irp - self._by_door, 0)
        say(
            f"\nClosed each way: {self._by_door} through the door, {by_watch} found by asking the IRP,"
            f" {found.closed_by_kuma} in KUMA."
        )
        say(f"The daemon exited {code} after SIGTERM.")
        return found.agrees and code == 0

    async def _drained(self) -> Comparison:
        """Wait until both sides agree, for a while."""
        until = time.monotonic() + LONGEST_DRAIN
        while True:
            found = self._compared()
            if found.agrees or time.monotonic() > until:
                return found
            await asyncio.sleep(0.25)

    def _compared(self) -> Comparison:
        return compare(self._kuma, self._irp)

    def _tell(self, line: str) -> None:
        say(f"{time.monotonic() - self._began:5.1f} s  {line}")


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
