"""`health`: asks a running daemon over HTTP, for a container's HEALTHCHECK.

Must not load the configuration as the daemon does: secrets may be unreadable here, and a file that was broken after the
start must not lead to the restart of a daemon that works.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click

from kuma_sync.cli.config_file import table, tables
from kuma_sync.cli.options import Unfinished, config_option, examples
from kuma_sync.cli.out import say
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.text import printable
from kuma_sync.web.asking import EVERYWHERE, hear

DEFAULT_LISTEN = "127.0.0.1:8484"
SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")


@click.command(
    epilog=examples(
        "kuma-sync health",
        "kuma-sync health --live",
        "kuma-sync health --url https://10.0.0.5:8484",
        codes="0 ready (alive), 1 not, or no answer, 2 wrong usage.",
    )
)
@config_option
@click.option("--live", is_flag=True, help="Ask whether it is alive (/livez), whatever its remotes do.")
@click.option("--url", metavar="URL", help="Where it listens; else web.listen says it.")
def health(config: Path | None, live: bool, url: str | None) -> None:
    """Ask a running daemon whether it is ready, or alive."""
    door = _given(url) if url else _configured(config)
    path = door.path if door.path.strip("/") else "/livez" if live else "/readyz"
    address = door._replace(path=path).geturl()
    heard = hear(address)
    if not heard.ours:
        who = "something else answers at" if heard.status else "no answer from"
        raise Unfinished(f"{who} {address}: {heard.other}")
    words = "alive" if live else "ready"
    if heard.status != 200:
        raise Unfinished(f"not {words}{_why(heard.answer)}")
    say(words + _counted(heard.answer))


def _given(url: str) -> SplitResult:
    parts = _address(url if "://" in url else f"http://{url}")
    if parts is None:
        raise click.BadParameter("expected an address such as http://127.0.0.1:8484", param_hint="--url")
    return parts


def _configured(config: Path | None) -> SplitResult:
    web = table(tables(config), "web")
    listen = os.environ.get("KUMA_SYNC_WEB__LISTEN", web.get("listen", DEFAULT_LISTEN))
    certificate = os.environ.get("KUMA_SYNC_WEB__CERT_FILE", web.get("cert_file", ""))
    if listen == "":
        raise ConfigError("web.listen", "is empty, so there is no HTTP door to ask")
    host, _, port = listen.strip().rpartition(":") if isinstance(listen, str) else ("", "", "")
    netloc = f"{EVERYWHERE.get(host, host)}:{port}"
    parts = _address(f"{'https' if certificate else 'http'}://{netloc}")
    if parts is None or parts.netloc != netloc or parts.port is None:
        raise ConfigError("web.listen", f'expected "host:port" such as "{DEFAULT_LISTEN}", with a port to ask')
    return parts


def _address(url: str) -> SplitResult | None:
    """Split an address; None where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    sound = parts.scheme in ("http", "https") and parts.hostname and port != 0 and not SPACE_OR_CONTROL.search(url)
    return parts if sound else None


def _why(answer: Mapping[str, Any]) -> str:
    parts = answer.get("parts")
    found = parts.items() if isinstance(parts, dict) else ()
    bad = [
        f"{name} {part.get('state')}" + (f" ({part['reason']})" if part.get("reason") else "")
        for name, part in found
        if isinstance(part, dict) and part.get("state") not in ("ok", "off", "standby")
    ]
    bad += [f"{loop} is stuck" for loop in answer.get("stuck") or ()]
    return f": {', '.join(bad)}" if bad else ""


def _counted(answer: Mapping[str, Any]) -> str:
    counts = [printable(f"{answer[name]} {name}") for name in ("parked", "held") if answer.get(name)]
    if refused := answer.get("configuration_refused"):
        counts.append(printable(f"configuration on disk refused: {refused}"))
    return f", {', '.join(counts)}" if counts else ""
