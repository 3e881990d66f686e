"""The console at a real socket, with a store of its own, and a browser's part played by a plain HTTP client."""

from __future__ import annotations

import asyncio
import html
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from stores import Clock, opened

from kuma_sync.app.console_actions import Actions
from kuma_sync.app.console_source import Source
from kuma_sync.settings import Settings, load
from kuma_sync.store import Store
from kuma_sync.sync.runtime.activity import ActivityLog
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.web.certificate import door_tls
from kuma_sync.web.console.access import ConsoleLimits
from kuma_sync.web.console.app import PAGES, Page, console_app
from kuma_sync.web.console.console import Behind
from kuma_sync.web.console.passwords import hashed
from kuma_sync.web.responses import AccessRules
from kuma_sync.web.routes import build_app
from kuma_sync.web.server import bind, serve

PASSWORD = "long enough for everybody"
PAGE = {"Accept": "text/html"}
"""What a browser says it wants."""

BASIS: dict[str, Any] = {
    "kuma": {"url": "kuma.example.com", "token": "canary-kuma-token"},
    "irp": {"url": "sv.example.com", "token": "canary-irp-token"},
    "web": {"tokens": {"security-vision": "canary-door-token"}},
}


@cache
def hash_of(password: str) -> str:
    """Return a password's hash; each is made once a process."""
    return hashed(password)


@dataclass(kw_only=True)
class OpenConsole:
    """An open console: what it goes by can be changed while it is open."""

    folder: Path
    store: Store
    clock: Clock
    url: str = ""
    console: dict[str, Any] = field(default_factory=dict)
    health: Health = field(init=False)
    ready: bool = True
    runtime: Runtime | None = None
    """What a daemon would be at work with."""
    metrics: Metrics = field(default_factory=Metrics)
    activity: ActivityLog = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(monotonic=lambda: self.clock().timestamp())
        self.activity = ActivityLog(self.store, self.metrics, owner="vm:1:a", clock=self.clock)
        self.configure()

    async def note(self) -> None:
        """Store what the process did, as a daemon does before it answers."""
        await self.activity.note()

    def configure(self, **keys: Any) -> None:
        """Change keys of [web.console], as a reload does."""
        self.console |= keys
        tables = {**BASIS, "web": {**BASIS["web"], "console": self.console}}
        file = self.folder / "console.toml"
        file.write_text(tomli_w.dumps(tables))
        file.chmod(0o600)
        self.settings = load(file, {})

    @asynccontextmanager
    async def visitor(self, **headers: str) -> AsyncIterator[Visitor]:
        """Let somebody come with an empty browser."""
        async with httpx.AsyncClient(
            base_url=self.url, headers={**PAGE, **headers}, trust_env=False, timeout=20, verify=_believe_all()
        ) as client:
            yield Visitor(client)

    @asynccontextmanager
    async def signed_in(self, name: str = "anna", **headers: str) -> AsyncIterator[Visitor]:
        """Let somebody come and sign in."""
        async with self.visitor(**headers) as visitor:
            answer = await visitor.signs_in(name)
            assert answer.status_code == 303, text_of(answer)
            yield visitor


@dataclass(kw_only=False)
class Visitor:
    """Somebody with a browser that keeps cookies and follows no redirect."""

    client: httpx.AsyncClient

    async def sees(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        return await self.client.get(path, headers=headers)

    async def token(self, path: str, action: str) -> str:
        """Return the token of the form on a page that is sent to `action`."""
        page = (await self.sees(path)).text
        found = re.search(
            rf'action="{re.escape(action)}"[^>]*>\s*<input type="hidden" name="token" value="([^"]+)"', page
        )
        assert found, f"there is no form for {action} on {path}"
        return html.unescape(found[1])

    async def sends(self, action: str, fields: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Send a form."""
        return await self.client.post(action, data=dict(fields), headers=headers)

    async def signs_in(self, name: str = "anna", password: str = PASSWORD, wanted: str = "/") -> httpx.Response:
        """Fill in the sign-in page."""
        token = await self.token("/sign-in", "/sign-in")
        return await self.sends("/sign-in", {"name": name, "password": password, "next": wanted, "token": token})


@asynccontextmanager
async def console_at(
    folder: Path,
    database: str,
    *,
    pages: Sequence[Page] = PAGES,
    limits: ConsoleLimits | None = None,
    tls: tuple[Path, Path] | None = None,
    **console: Any,
) -> AsyncIterator[OpenConsole]:
    """Open the console at a socket of its own. Unless told otherwise anna is an operator and victor a viewer."""
    users = {"users": {"anna": hash_of(PASSWORD), "victor": hash_of(PASSWORD)}, "roles": {"victor": "viewer"}}
    clock = Clock()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(database, clock=clock))
        found = OpenConsole(folder=folder, store=store, clock=clock, console={"enabled": True, **users, **console})
        app = console_app(
            Behind(
                settings=lambda: found.settings,
                ready=lambda: found.ready,
                store=store,
                health=found.health,
                source=Source(store, settings=lambda: found.settings, runtime=lambda: found.runtime, note=found.note),
                actions=Actions(store, settings=lambda: found.settings, ring=lambda: None),
                clock=clock,
                limits=limits or ConsoleLimits(),
            ),
            pages,
        )
        doors = build_app(
            rules=lambda: AccessRules(to_kuma=True),
            intake=None,  # type: ignore[arg-type]  # nobody closes anything here
            health=found.health,
            render_metrics=partial(asyncio.to_thread, Metrics().render),
            console=lambda: app if found.settings.web.console.enabled else None,
        )
        stop, listener = asyncio.Event(), bind("127.0.0.1:0")
        found.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        cert_file, key_file = tls or (None, None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(doors, listener, stop=stop, tls=door_tls(cert_file, key_file)))
            try:
                yield found
            finally:
                stop.set()


def text_of(answer: httpx.Response) -> str:
    """Return what a person reads on a page."""
    main = re.search(r"<main.*?</main>", answer.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main[0] if main else answer.text)).split())


def _believe_all() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
