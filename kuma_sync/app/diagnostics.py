"""`check`: try every part as the daemon would use it, one after the other, also after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from kuma_sync.app.build import utc_now
from kuma_sync.app.identity import meant
from kuma_sync.app.local_diagnostics import (
    Finding,
    check_door,
    check_store,
    days_left,
    failed,
    ok,
    stored_pullers,
    warning,
)
from kuma_sync.app.pullers import Puller
from kuma_sync.app.remotes import (
    Remotes,
    Target,
    open_remotes,
)
from kuma_sync.core.closing import lies_ahead
from kuma_sync.core.errors import AccessDenied, RemoteError
from kuma_sync.core.routing import IRP
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.irp.auth import proofs
from kuma_sync.irp.client import ClosedPage, IrpClient
from kuma_sync.irp.profile import ListClosedOperation
from kuma_sync.kuma.client import KumaClient, PageEnd, Whoami
from kuma_sync.settings import Settings
from kuma_sync.settings.targets import key_of
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.noticing import EXPIRES_SOON
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import part_of
from kuma_sync.web.asking import door_address, speaks_tls

MOST_NAMES = 5
A_LITTLE = timedelta(minutes=1)
LATELY = timedelta(days=30)
_OF_CERTIFICATES = {
    "another host name": "{section}.url must have the name that is in it",
    "expired": "it must be renewed on that side",
}


def _silent(_what: str) -> None:
    pass


async def findings(settings: Settings, source: str, *, told: Callable[[str], None] = _silent) -> AsyncIterator[Finding]:
    """Yield one finding after the other; `told` hears what is tried next. Raise ConfigError where nothing can be."""
    async with AsyncExitStack() as stack:
        certificates = Certificates()
        remotes = await open_remotes(settings, utc_now, Limits(), stack, certificates)
        yield ok("configuration", source)
        for problem in map(str, settings.warnings):
            yield warning("configuration", problem)
        told("looking at the store and the HTTP door")
        for finding in _here(settings, remotes):
            yield finding
        told("asking KUMA")
        async for finding in _kuma(settings, remotes.kuma, certificates):
            yield finding
        for name, problem in remotes.broken.items():
            yield failed(_named("IRP", name), problem, misconfigured=True)
        for target in remotes.targets.values():
            told(f"asking {_named('the IRP', target.name)}")
            async for finding in _target(settings, target, certificates):
                yield finding


async def _target(settings: Settings, target: Target, certificates: Certificates) -> AsyncIterator[Finding]:
    if target.irp is None:
        for finding in _polls(settings, target):
            yield finding
        return
    async for finding in _irp(settings, target, target.irp, certificates):
        yield finding
    told = f"{len(target.profile.operations)} operations rendered on a sample alert"
    yield ok(_named("templates", target.name), told)


def _here(settings: Settings, remotes: Remotes) -> Iterator[Finding]:
    for target in remotes.targets.values():
        for problem in target.warnings:
            yield warning(_named("profile", target.name), problem)
    yield from check_door(settings)
    yield from check_store(settings, meant(settings))


def _named(what: str, target: str) -> str:
    return what if target == IRP else f"{what} ({target})"


async def _kuma(settings: Settings, client: KumaClient, certificates: Certificates) -> AsyncIterator[Finding]:
    section, ends = settings.kuma, partial(certificates.ends.get, "kuma")
    remote = Remote(name="KUMA", section="kuma", url=section.url, verified=section.verify_tls, ends=ends)
    try:
        found = await client.whoami()
    except AccessDenied as error:
        # A token may lack the right to call whoami, but have the right to read alerts.
        if await _may_read(client) is not None:
            for finding in remote.refused(error, "token"):
                yield finding
            return
        for finding in remote.reached():
            yield finding
        yield warning("KUMA token", "may read alerts, but not GET /users/whoami: a later refusal cannot be judged")
        return
    except RemoteError as error:
        for finding in await _refused(remote, error, "token", direct=not section.proxy):
            yield finding
        return
    for finding in [*remote.reached(), *_rights(found), *_strange(section.tenants, found)]:
        yield finding
    refusal = await _may_read(client)
    yield failed("KUMA alerts", f"cannot be read: {refusal}") if refusal else ok("KUMA alerts", "may be read")


async def _refused(remote: Remote, error: RemoteError, what: str, *, direct: bool) -> list[Finding]:
    """Say why a request failed; after a failure of plain HTTP try whether TLS is spoken there."""
    parts = urlsplit(remote.url)
    puzzling = direct and parts.scheme == "http" and error.status in {None, HTTPStatus.BAD_REQUEST}
    if puzzling and await asyncio.to_thread(speaks_tls, parts.hostname or "", parts.port or 80):
        return remote.needs_tls()
    return remote.refused(error, what)


def _rights(found: Whoami) -> list[Finding]:
    roles, tenants = ", ".join(found.roles), found.tenants
    names = ", ".join(tenants[:MOST_NAMES]) + (f" and {len(tenants) - MOST_NAMES} more" * (len(tenants) > MOST_NAMES))
    return [
        ok("KUMA token", f"accepted, login {found.login!r}"),
        ok("KUMA role", roles) if roles else warning("KUMA role", "none: can this user read and close alerts?"),
        ok("KUMA tenants", f"{len(tenants)}: {names}")
        if tenants
        else warning("KUMA tenants", "none: this token sees no alerts, which looks like a KUMA without any"),
    ]


def _strange(wanted: Sequence[str], found: Whoami) -> Iterator[Finding]:
    strange = [tenant for tenant in wanted if found.tenant_ids and tenant not in found.tenant_ids]
    if strange:
        yield warning(
            "kuma.tenants", f"the token sees no tenant with the id {', '.join(strange)}: no alert comes there"
        )


async def _may_read(client: KumaClient) -> str | None:
    """Read the first page of the last minute's alerts; return why that cannot be done."""
    query = Query(kind=ReadKind.LATE, since=utc_now() - A_LITTLE)
    try:
        async with aclosing(client.read(query)) as items:
            async for item in items:
                if isinstance(item, PageEnd):
                    break
    except RemoteError as error:
        return error.summary
    return None


async def _irp(settings: Settings, target: Target, client: IrpClient, shown: Certificates) -> AsyncIterator[Finding]:
    section, profile, name = target.section, target.profile, _named("IRP", target.name)
    remote = Remote(
        name=name,
        section=key_of(target.name),
        url=section.url,
        verified=section.verify_tls,
        proofs=tuple(proofs(profile)),
        ends=partial(shown.ends.get, part_of("irp", target.name)),
    )
    if profile.probe is None:
        yield warning(f"{name} probe", f"not tried: the profile {profile.name} has no [probe]")
        if finding := await _closed(settings, profile.list_closed, client, name):
            yield finding
        return
    try:
        await client.probe()
    except RemoteError as error:
        what = "login" if isinstance(error, AccessDenied) or error.operation == "login" else "probe"
        for finding in await _refused(remote, error, what, direct=not section.proxy):
            yield finding
        return
    for finding in remote.reached():
        yield finding
    yield ok(f"{name} login", "no login (auth kind none)" if profile.auth.kind == "none" else "accepted")
    yield ok(f"{name} probe", f"{profile.probe.method} {profile.probe.path}")
    if finding := await _closed(settings, profile.list_closed, client, name):
        yield finding


def _polls(settings: Settings, target: Target) -> Iterator[Finding]:
    """Say what to enter in an IRP that polls us, and when it last asked."""
    name, web = _named("IRP", target.name), settings.web
    if not web.listen:
        yield failed(f"{name} door", "it polls us, but web.listen is empty: there is no HTTP door", misconfigured=True)
        return
    address = door_address(web.listen, tls=web.cert_file is not None)
    yield ok(f"{name} address", f"{address}, under the name by which the IRP reaches this machine")
    yield ok(f"{name} command", "GET api/v1/alerts/?withEvents&status=new; to close: POST api/v1/alerts/close")
    yield ok(f"{name} header", f"Authorization: Bearer <the token in {key_of(target.name)}>")
    yield from _last_asked(settings, target)


def _last_asked(settings: Settings, target: Target) -> Iterator[Finding]:
    what = f"{_named('IRP', target.name)} asks"
    known = stored_pullers(settings)
    if known is None:
        yield warning(what, "not known: the store cannot be read")
        return
    one = known.get(target.name, Puller(target=target.name))
    if one.asked_at is None:
        yield warning(what, f"it never did; {one.waits} for it")
        return
    silent, told = utc_now() - one.asked_at, f"last at {one.asked_at:%Y-%m-%d %H:%M:%S} UTC; {one.waits} for it"
    within = target.section.expect_every
    if within is not None and silent > within:
        yield warning(what, f"not for {silent.total_seconds():.0f} s, longer than expect_every; {told}")
    else:
        yield ok(what, told)


async def _closed(
    settings: Settings, operation: ListClosedOperation | None, client: IrpClient, name: str
) -> Finding | None:
    """Read the first page of lately closed incidents: can it be read, its times, too, and does it name incidents?"""
    what, now = f"{name} closed incidents", utc_now()
    if operation is None or not settings.close.watch:
        return None
    try:
        async with aclosing(client.list_closed(now - LATELY)) as pages:
            page = await anext(pages)
    except RemoteError as error:
        return failed(what, f"cannot be listed: {_told(error)}; is [list_closed] in the profile right?")
    if problem := _nameless(page, operation):
        return warning(what, problem)
    shown = f"{len(page.items)} of the last {LATELY.days} days"
    if page.undated:
        extract = f"list_closed.extract.updated finds {page.undated!r} (9 a digit, A a letter)"
        return warning(what, f"{extract}, which is no time that can be read: every round reads a day of closings again")
    if any(lies_ahead(row.updated, page.server_date or now) for row in page.items):
        return warning(what, "dated ahead of the IRP's clock: is that a local time that does not name its zone?")
    return ok(
        what,
        f"may be listed: {shown}" if page.items else f"may be listed; there is none of the last {LATELY.days} days",
    )


def _nameless(page: ClosedPage, operation: ListClosedOperation) -> str:
    """Say what the profile does not find in the rows of a page, although there are some; "" where all is well."""
    if page.shown and not page.closed:
        return f"none of the {page.shown} rows shown fits list_closed.closed_when: is it right, and the filter obeyed?"
    if page.closed and not page.items:
        return f"list_closed.extract finds neither id nor key in any of the {page.closed} closed rows shown"
    for part, place, found in (
        ("id", operation.extract.id, any(row.incident_id for row in page.items)),
        ("key", operation.extract.key, any(row.key for row in page.items)),
    ):
        if place and page.items and not found:
            return f"list_closed.extract.{part} finds nothing in any of the {page.closed} closed rows shown"
    return ""


def _told(error: RemoteError) -> str:
    return f"{error.summary}: {error.detail}" if error.detail else error.summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote, as findings name it: `name` for people, `section` of the configuration, address, certificate check.

    `proofs` are the keys of the section that prove who asks; `ends` says when the certificate expires that it showed.
    """

    name: str
    section: str
    url: str
    verified: bool
    proofs: tuple[str, ...] = ("token",)
    ends: Callable[[], datetime | None] = lambda: None

    def reached(self) -> list[Finding]:
        """Say that it answered: address and certificate are good."""
        return [ok(f"{self.name} address", self.url), self._certificate()]

    def refused(self, error: RemoteError, what: str) -> list[Finding]:
        """Say how far a request came before it failed; `what` names the thing it was to prove."""
        if error.status is not None:
            return [*self.reached(), failed(f"{self.name} {what}", self._advice(error))]
        if error.summary.startswith("certificate"):
            hint = next((f"; {hint}" for words, hint in _OF_CERTIFICATES.items() if words in error.summary), "")
            told = f"{error.summary}{hint.format(section=self.section)}"
            return [ok(f"{self.name} address", self.url), failed(f"{self.name} certificate", told)]
        if error.summary.startswith("TLS"):
            hint = f"{error.summary}; does it ask for a certificate of ours ({self.section}.client_cert)?"
            return [ok(f"{self.name} address", self.url), failed(f"{self.name} certificate", hint)]
        return [failed(f"{self.name} address", f"{self.url}: {error.summary}; {self._way()}")]

    def needs_tls(self) -> list[Finding]:
        """Say that TLS is spoken where http:// was tried."""
        there = f"TLS is spoken there; write https:// in {self.section}.url"
        return [failed(f"{self.name} address", f"{self.url}: {there}")]

    def _certificate(self) -> Finding:
        what = f"{self.name} certificate"
        if not self.url.startswith("https://"):
            return ok(what, "none, the address is http://")
        end, now = self.ends(), utc_now()
        days = f", {days_left(end, now)}" if end is not None else ""
        if not self.verified:
            return warning(what, f"not checked ({self.section}.verify_tls = false){days}")
        if end is not None and end - now < EXPIRES_SOON:
            return warning(what, f"trusted{days}: it must be renewed on that side")
        return ok(what, f"trusted{days}")

    def _way(self) -> str:
        return f"is {self.section}.url right, is it running, does a firewall or {self.section}.proxy stand between?"

    def _advice(self, error: RemoteError) -> str:
        match error:
            case AccessDenied() if not error.summary.endswith("?"):
                return f"{error.summary}; {self._doubted()}"
            case RemoteError(status=404) if "api_version" not in error.summary:
                path = "kuma.api_version" if self.section == "kuma" else "the path in the profile"
                return f"{error.summary}; is {self.section}.url right, and {path}?"
            case _:
                # What KUMA means by its refusals is in the summary already.
                return error.summary if self.section == "kuma" else _told(error)

    def _doubted(self) -> str:
        if not self.proofs:
            return "is [auth] in the profile right? It sends nothing that proves who asks"
        named = " and ".join(f"{self.section}.{key}" for key in self.proofs)
        are, their = ("are", "their") if len(self.proofs) > 1 else ("is", "its")
        return f"{are} {named} right, not expired, and {their} user enabled and allowed?"
