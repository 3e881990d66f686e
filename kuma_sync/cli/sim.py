"""`sim`: one simulator alone, on a real socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from kuma_sync.cli.options import Unfinished, examples, group_config_option, unread_config_option
from kuma_sync.cli.out import say
from kuma_sync.sim.content import read_alerts
from kuma_sync.sim.faults import ARGUMENTS, Faults
from kuma_sync.sim.irp import DEFAULT_TOKEN as IRP_TOKEN
from kuma_sync.sim.irp import DIALECTS, IrpSim
from kuma_sync.sim.kuma import DEFAULT_TOKEN as KUMA_TOKEN
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.robot import DEFAULT_TOKEN as ROBOT_TOKEN
from kuma_sync.sim.robot import RECEIVE, RobotOptions, RobotSim
from kuma_sync.sim.server import SimServer, SimTls
from kuma_sync.sim.values import SimError

F = TypeVar("F", bound=Callable[..., Any])

FAULTS = f"KIND[:key=value,…], repeatable. Kinds: {', '.join(ARGUMENTS)}; e.g. status:code=503,every=5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaflet:
    """The text about a running simulator: how a configuration names it, and how to control it."""

    what: str
    section: str
    path: str
    acts: list[str]
    token_header: str = ""
    profile: str = ""

    def hand_out(self, url: str, token: str, tls: SimTls | None) -> None:
        """Print the lines for a configuration, then those for a shell."""
        bearer, trust = f"Authorization: Bearer {token}", f" --cacert {tls.ca_file}" if tls else ""
        curl = f"curl -s -H '{bearer}'{trust}"
        say(f"{self.what} at {url}, token {token}; Ctrl-C stops it.")
        ca_file = f'\nca_file = "{tls.ca_file.absolute()}"' if tls else ""
        profile = f'profile = "{self.profile}"\n' if self.profile else ""
        say(f'\n[{self.section}]\n{profile}url = "{url}"\ntoken = "{token}"{ca_file}\n')
        header = f"{self.token_header}: {token}" if self.token_header else bearer
        say(f"curl -s -H '{header}'{trust} '{url}{self.path}'")
        say(f"{curl} {url}/_sim/state")
        say(f'{curl} {url}/_sim/faults -d \'{{"kind": "status", "code": 503, "times": 3}}\'')
        say(f"{curl} {url}/_sim/faults -X DELETE")
        for act in self.acts:
            say(f"{curl} {url}/_sim/act -d '{act}'")


def shared_options(listen: str, token: str) -> Callable[[F], F]:
    """Give a simulator's command the options that both have."""

    def decorate(command: F) -> F:
        for option in (
            click.option("--fault", "faults", multiple=True, metavar="FAULT", help=FAULTS),
            click.option(
                "--tls",
                is_flag=False,
                flag_value="",
                metavar="[DIR]",
                help="Serve https with a CA of its own, its files in DIR (else in a new directory).",
            ),
            click.option(
                "--seed", metavar="N", default=0, show_default=True, help="The same seed gives the same content."
            ),
            click.option("--token", default=token, show_default=True, help="The token it accepts."),
            click.option(
                "--listen",
                metavar="HOST:PORT",
                default=listen,
                show_default=True,
                help="Where it listens; port 0 lets the system choose.",
            ),
            unread_config_option,
        ):
            command = option(command)
        return command

    return decorate


@click.group()
@group_config_option
def sim() -> None:
    """Run a simulated KUMA or IRP, or an IRP that asks by itself, to try things out."""


@sim.command(epilog=examples("kuma-sync sim kuma --alerts 20", "kuma-sync sim kuma --fault status:code=503,every=5"))
@shared_options("127.0.0.1:7223", KUMA_TOKEN)
@click.option(
    "--alerts", metavar="N", default=0, show_default=True, type=click.IntRange(min=0), help="New alerts to begin with."
)
@click.option(
    "--events", metavar="N", default=3, show_default=True, type=click.IntRange(min=0), help="Events in each of them."
)
@click.option(
    "--load", type=click.Path(path_type=Path), help="Alerts from FILE.json or FILE.json.gz, as KUMA sends them."
)
def kuma(  # noqa: PLR0913, PLR0917  # one parameter an option, as click hands them in
    listen: str,
    token: str,
    seed: int,
    tls: str | None,
    faults: tuple[str, ...],
    alerts: int,
    events: int,
    load: Path | None,
) -> None:
    """Run KUMA's public REST API with simulated alerts."""
    side = KumaSim(token=token, seed=seed)
    with meant_by("--load"):
        side.load(read_alerts(load) if load else [])
    for _ in range(alerts):
        side.raise_alert(events=events)
    acts = ['{"do": "raise_alert", "events": 2}', '{"do": "grow", "id": "…"}', '{"do": "close", "id": "…"}']
    what = f"KUMA with {len(side.alerts)} alerts"
    _serve(
        side,
        listen,
        tls,
        faults,
        Leaflet(what=what, section="kuma", path="/api/v1/alerts/?withEvents&status=new", acts=acts),
    )


@sim.command(epilog=examples("kuma-sync sim irp", "kuma-sync sim irp --dialect thehive --tls"))
@shared_options("127.0.0.1:8443", IRP_TOKEN)
@click.option(
    "--dialect",
    default="security-vision",
    show_default=True,
    type=click.Choice(list(DIALECTS)),
    help="The product whose API it speaks; each has a built-in profile.",
)
def irp(listen: str, token: str, seed: int, tls: str | None, faults: tuple[str, ...], dialect: str) -> None:
    """Run an IRP, which begins without incidents."""
    side = IrpSim(token=token, seed=seed, dialect=dialect)
    spoken = side.dialect
    leaflet = Leaflet(
        what=f"An IRP ({dialect}) without incidents",
        section="irp",
        path=spoken.path,
        acts=['{"do": "analyst_close", "id": "…", "resolution": "False positive"}', '{"do": "reopen", "id": "…"}'],
        token_header=spoken.token_header,
        profile="" if spoken.profile == "security-vision" else spoken.profile,
    )
    _serve(side, listen, tls, faults, leaflet)


def add_fault(faults: Faults, text: str) -> None:
    """Switch on a fault written as `kind:key=value,key=value`; values are JSON, or else text."""
    kind, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    if not all(name and equals for name, equals, _ in pairs):
        raise SimError(f"a fault is written KIND:key=value,key=value, not {text!r}")
    faults.add(kind.strip(), **{name.strip(): _value(value) for name, _, value in pairs})


@contextmanager
def meant_by(option: str) -> Iterator[None]:
    """Turn a simulator's error into one about an option: wrong usage, exit 2."""
    try:
        yield
    except SimError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def make_tls(directory: str | None) -> SimTls | None:
    """Make the certificate files where they are wanted."""
    if directory is None:
        return None
    return SimTls.make(directory or tempfile.mkdtemp(prefix="kuma-sync-sim-"))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _serve(side: KumaSim | IrpSim, listen: str, tls: str | None, faults: tuple[str, ...], leaflet: Leaflet) -> None:
    with meant_by("--fault"):
        for fault in faults:
            add_fault(side.faults, fault)
    try:
        certificate = make_tls(tls)
        with meant_by("--listen"):
            server = SimServer(side.app, listen=listen, tls=certificate)
        asyncio.run(_served(server, lambda: leaflet.hand_out(server.url, side.token, certificate)))
    except SimError as error:
        raise Unfinished(str(error)) from None
    say("Stopped.")


async def _served(server: SimServer, explain: Callable[[], None]) -> None:
    async with server:
        explain()
        await stopped()


async def stopped() -> None:
    """Wait for SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


@sim.command()
@shared_options("127.0.0.1:8444", ROBOT_TOKEN)
@click.argument("address")
@click.option("--kuma-token", default=KUMA_TOKEN, show_default=True, help="The token that it shows at ADDRESS.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The CA of ADDRESS.")
@click.option(
    "--every", default=60.0, show_default=True, type=click.FloatRange(min=0.01), help="Seconds between two questions."
)
@click.option("--query", default=RECEIVE, show_default=True, help="What follows the ? of its command.")
@click.option("--pages", is_flag=True, help="Ask for page 1, 2, … until one is empty; the stock connector does not.")
@click.option("--tries", default=1, show_default=True, type=click.IntRange(min=1), help="How often it tries a closing.")
@click.option(
    "--close-after", default=0.0, type=click.FloatRange(min=0), help="Close each card after so many seconds; 0: never."
)
def robot(  # noqa: PLR0913, PLR0917  # one parameter an option, as click hands them in
    listen: str,
    token: str,
    seed: int,
    tls: str | None,
    faults: tuple[str, ...],
    address: str,
    kuma_token: str,
    ca_file: Path | None,
    every: float,
    query: str,
    pages: bool,
    tries: int,
    close_after: float,
) -> None:
    """Run a Security Vision that asks ADDRESS.

    It asks as the stock KUMA connector does. ADDRESS is a KUMA, `sim kuma`, or what answers as KUMA does; https unless
    it begins with http://.
    """
    options = RobotOptions(every=every, query=query.lstrip("?"), pages=pages, tries=tries, closes_after=close_after)
    try:
        side = RobotSim(
            address, kuma_token=kuma_token, options=options, ca_file=ca_file, token=token, seed=seed, tell=say
        )
        with meant_by("--fault"):
            for fault in faults:
                add_fault(side.faults, fault)
        certificate = make_tls(tls)
        with meant_by("--listen"):
            server = SimServer(side.app, listen=listen, tls=certificate)
        trust = f" --cacert {certificate.ca_file}" if certificate else ""
        asyncio.run(_asked_and_served(side, server, f"asks {address} every {every:g} s", trust))
    except SimError as error:
        raise Unfinished(str(error)) from None
    say("Stopped.")


async def _asked_and_served(side: RobotSim, server: SimServer, what: str, trust: str) -> None:
    async with server:
        curl = f"curl -s -H 'Authorization: Bearer {side.token}'{trust} {server.url}"
        say(f"A robot at {server.url}, token {side.token}, {what}; Ctrl-C stops it.\n")
        say(f"{curl}/cards")
        say(f"{curl}/_sim/state")
        say(f'{curl}/_sim/act -d \'{{"do": "analyst_close", "id": "…", "resolution": "False positive"}}\'\n')
        working = asyncio.create_task(side.run())
        try:
            await stopped()
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
