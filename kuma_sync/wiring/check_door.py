"""The HTTP door, looked at without opening it: who has its address, and is its certificate one that callers accept?

Must not: listen, or ask for more than /readyz.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.sections import WebSection
from kuma_sync.store import Identity
from kuma_sync.web.asking import Heard, door_address, hear
from kuma_sync.web.server import assure_certificate, why_not_free
from kuma_sync.wiring.crew import utc_now
from kuma_sync.wiring.door import served
from kuma_sync.wiring.findings import Finding, failed, ok, warning

ENDS_SOON = timedelta(days=14)


async def check_door(section: WebSection, ours: Identity) -> AsyncIterator[Finding]:
    """Yield what is found of the door that this configuration asks for."""
    if not section.listen:
        yield ok("door", "none, web.listen is empty")
        return
    yield await _address(section, ours)
    if section.cert_file is None:
        return
    try:
        assure_certificate(section.cert_file, section.key_file)
    except ConfigError as error:
        yield failed("door certificate", str(error), misconfigured=True)
    else:
        yield _certificate(section.cert_file, end_of(section.cert_file, section.key_file), utc_now())


async def _address(section: WebSection, ours: Identity) -> Finding:
    problem = await asyncio.to_thread(why_not_free, section.listen)
    if problem is None:
        return ok("door", f"{section.listen} is free")
    if problem.errno != errno.EADDRINUSE:
        return failed("door", f"cannot listen on {section.listen}: {problem.strerror}; is web.listen right?")
    heard = await asyncio.to_thread(hear, f"{door_address(section.listen, tls=section.cert_file is not None)}/readyz")
    return _taken(section.listen, heard, ours)


def _taken(listen: str, heard: Heard, ours: Identity) -> Finding:
    if heard.answer.get("serves") == served(ours):
        return ok("door", f"a running kuma-sync answers at {listen}: {heard.answer.get('state')}")
    if heard.ours:
        return failed("door", f"{listen} is taken by a kuma-sync of another KUMA or IRP; set web.listen")
    return failed("door", f"{listen} is taken by another program ({heard.other}); set web.listen")


def _certificate(file: Path, end: datetime | None, now: datetime) -> Finding:
    if end is None or end <= now:
        when = f"on {end:%Y-%m-%d}" if end else "already, or is not valid yet"
        return failed("door certificate", f"{file} has expired {when}: no caller accepts it")
    days = f"{file}, {(end - now).days} days left"
    soon = f"{days}; after a renewal restart kuma-sync, it is read at start only"
    return warning("door certificate", soon) if end - now < ENDS_SOON else ok("door certificate", days)


def end_of(cert_file: Path, key_file: Path | None) -> datetime | None:
    """Return when a certificate ends; None for one that is not valid now.

    The library tells that only of a certificate that it has verified: so a handshake is held in memory, in which the
    certificate is trusted.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert_file, key_file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for side in (*sides, *sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return None
    shown = sides[0].getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
