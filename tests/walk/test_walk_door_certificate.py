"""TLS at the door: nothing older than 1.2, and a certificate that is renewed while connections go on."""

from __future__ import annotations

import signal
import socket
import ssl
from functools import partial
from pathlib import Path

import httpx
import pytest
import trustme
from addresses import somewhere
from stage import eventually, staged

from kuma_sync.web.certificate import door_tls


def written(authority: trustme.CA, file: Path, host: str) -> Path:
    """Write a certificate and its key for a host into a file."""
    file.touch(mode=0o600)
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(file)
    return file


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_the_door_speaks_nothing_older_than_tls_1_2(tmp_path: Path) -> None:
    authority = trustme.CA()
    door = door_tls(written(authority, tmp_path / "door.pem", "127.0.0.1"), None)
    assert door is not None

    versions = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
    spoken = [version.name for version in versions if _spoken(door, trusting(authority), version)]

    assert spoken == ["TLSv1_2", "TLSv1_3"]


def _spoken(door: ssl.SSLContext, caller: ssl.SSLContext, version: ssl.TLSVersion) -> bool:
    """Tell whether a caller who speaks one version alone gets through the handshake; both sides are in memory."""
    caller.set_ciphers("ALL:@SECLEVEL=0")
    door.set_ciphers("ALL:@SECLEVEL=0")
    caller.minimum_version = caller.maximum_version = version
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        caller.wrap_bio(back, there, server_hostname="127.0.0.1"),
        door.wrap_bio(there, back, server_side=True),
    ]
    try:
        while ends:
            for end in list(ends):
                try:
                    end.do_handshake()
                    ends.remove(end)
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError:
        return False
    return True


async def test_a_reload_shows_the_renewed_certificate_and_breaks_no_connection(tmp_path: Path, sqlite_url: str) -> None:
    old, new, listen = trustme.CA(), trustme.CA(), somewhere()
    host, port = listen.split(":")
    file = written(old, tmp_path / "door.pem", host)
    client = partial(httpx.AsyncClient, base_url=f"https://{listen}", trust_env=False)
    web = {"listen": listen, "cert_file": str(file)}
    async with staged(tmp_path, sqlite_url, web=web) as stage, stage.daemon() as child:
        async with client(verify=trusting(old)) as before:
            await eventually(lambda: _connects(host, int(port)))
            first = await before.get("/livez")
            written(new, file, host)
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: child.says("configuration_reloaded"))
            kept = await before.get("/livez")
        async with client(verify=trusting(new)) as after:
            renewed = await after.get("/livez")
        file.write_text("no certificate")
        child.process.send_signal(signal.SIGHUP)
        (refused,) = await eventually(lambda: child.says("configuration_refused"))
        async with client(verify=trusting(new)) as after:
            stays = await after.get("/livez")

    assert [answer.status_code for answer in (first, kept, renewed, stays)] == [200] * 4
    assert refused["key"] == "web.cert_file"


async def test_a_certificate_that_broke_while_the_old_work_ended_stays_refused(tmp_path: Path, sqlite_url: str) -> None:
    authority, listen = trustme.CA(), somewhere()
    file = written(authority, tmp_path / "door.pem", listen.split(":")[0])
    web = {"listen": listen, "cert_file": str(file)}
    async with staged(tmp_path, sqlite_url, web=web) as stage:
        hanging = stage.irp.faults.add("hang", method="POST")
        stage.kuma.raise_alert()
        async with (
            stage.daemon() as child,
            httpx.AsyncClient(base_url=f"https://{listen}", verify=trusting(authority), trust_env=False) as client,
        ):
            await eventually(lambda: hanging.fired)  # the old runtime does not end before this is answered
            stage.configure(store={"password": "waits for a restart"})
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: child.says("configuration_waits_for_restart"))  # the files were looked at
            file.write_text("no certificate")
            stage.irp.faults.clear()
            await eventually(lambda: child.says("configuration_reloaded"))
            broken = (await client.get("/readyz")).json()

            written(authority, file, listen.split(":")[0])
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(child.says("configuration_reloaded")) == 2)
            mended = (await client.get("/readyz")).json()

    assert broken["configuration_refused"].startswith("web.cert_file: the certificate or its key cannot be used")
    assert "configuration_refused" not in mended


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True
