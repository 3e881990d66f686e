"""`check` and `run --once` against remotes as they should be, and as they are at night."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from addresses import somewhere
from prompt import NOWHERE, Answered, afresh, ask, daemon, merged, python, shell, typed, usual, world, write_config

from kuma_sync.irp.load import profile_text
from kuma_sync.sim.server import SimTls
from kuma_sync.store.revisions import head

LOGIN = """
[auth]
kind = "login"
[auth.login]
method = "POST"
path = "/login"
body = { username = "{{ username }}", password = "{{ password }}" }
[auth.login.extract]
token = "token"
"""


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def line(answer: Answered, what: str) -> str:
    """The verdict and the hint of one part."""
    found = [one for one in answer.out.splitlines() if one[9:].startswith(f"{what}  ")]
    assert len(found) == 1, answer.out
    verdict, _, rest = found[0].partition(" ")
    return f"{verdict}: {rest.strip().removeprefix(what).strip()}"


async def test_all_is_well_and_nothing_was_made_or_changed(tmp_path: Path) -> None:
    async with world(tmp_path, made=False) as w:
        w.kuma.raise_alert()

        answer = await shell("check", *w.c)

        assert answer.code == 0
        assert answer.err == ""
        assert {text.split()[0] for text in answer.out.splitlines()} == {"ok", "warning"}
        assert answer.lines("warning") == [one for one in answer.out.splitlines() if "never proven" in one]
        assert line(answer, "store").endswith("will be created by run")
        assert line(answer, "store folder").startswith(f"ok: {tmp_path}, owner ")
        assert line(answer, "door") == "ok: none, web.listen is empty"
        assert line(answer, "KUMA tenants").startswith("ok: ")
        assert "Main" in line(answer, "KUMA tenants")
        assert line(answer, "IRP probe") == "ok: GET /api/v1/incidents"
        assert line(answer, "templates").startswith("ok: 7 operations")
        assert files(tmp_path) == ["config.toml"]
        assert {request.method for request in w.kuma.requests + w.irp.requests} == {"GET"}


async def test_dead_remotes_are_both_named_with_a_hint(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.toml", usual(tmp_path))

    checked, ran = await ask("check", "-c", str(path)), await ask("run", "--once", "-c", str(path))

    assert checked.code == ran.code == 1
    assert line(checked, "KUMA address").startswith(f"failed: {NOWHERE}: connection refused; is kuma.url right")
    assert line(checked, "IRP address").startswith(f"failed: {NOWHERE}: connection refused; is irp.url right")
    assert line(checked, "templates").startswith("ok")
    assert "kuma-sync: kuma read: connection refused" in ran.err
    assert "kuma-sync: irp list_closed: connection refused" in ran.err
    assert "Traceback" not in ran.err


async def test_one_dead_remote_does_not_hide_the_other(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        answer = await ask("check", *w.configured(kuma={"url": NOWHERE}))

        assert answer.code == 1
        assert line(answer, "KUMA address").startswith("failed")
        assert line(answer, "IRP login") == "ok: accepted"


async def test_a_wrong_token_is_told_from_a_dead_server(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        wrong = w.configured(kuma={"token": "canary-wrong-a"}, irp={"token": "canary-wrong-b"})

        checked, ran = await ask("check", *wrong), await ask("run", "--once", *wrong)

        assert checked.code == ran.code == 1
        assert line(checked, "KUMA address").startswith("ok")
        assert "is kuma.token right" in line(checked, "KUMA token")
        assert "is irp.token right" in line(checked, "IRP login")
        assert "token refused" in ran.err
        assert "canary" not in checked.out + checked.err + ran.out + ran.err


async def test_a_token_without_tenants_is_warned_about(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.tenants = []

        answer = await ask("check", *w.c)

        assert answer.code == 0
        assert line(answer, "KUMA tenants").startswith("warning: none")


async def test_a_tenant_that_the_token_does_not_see_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        seen = next(iter(w.kuma.tenants()))
        monkeypatch.setenv("KUMA_SYNC_KUMA__TENANTS", seen)
        good = await ask("check", *w.c)
        monkeypatch.setenv("KUMA_SYNC_KUMA__TENANTS", f"{seen},no-such")
        strange = await ask("check", *w.c)

        assert "kuma.tenants" not in good.out
        assert line(strange, "kuma.tenants").startswith("warning: the token sees no tenant with the id no-such")


async def test_a_token_that_may_read_but_not_say_who_it_is_is_good_enough(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.denied_operations = {"GET /users/whoami"}

        answer = await ask("check", *w.c)

        assert answer.code == 0
        assert line(answer, "KUMA token").startswith("warning: may read alerts")


async def test_a_token_that_may_not_read_alerts_fails(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.denied_operations = {"GET /alerts"}

        answer = await ask("check", *w.c)

        assert answer.code == 1
        assert line(answer, "KUMA token").startswith("ok")
        assert line(answer, "KUMA alerts").startswith("failed: cannot be read: answered 403")


async def test_a_kuma_that_serves_only_v3_says_which_key_to_change(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.only_v3 = True

        old, new = await ask("check", *w.c), await ask("check", *w.configured(kuma={"api_version": "v3"}))

        assert (old.code, new.code) == (1, 0)
        assert line(old, "KUMA token") == (
            'failed: answered 404: it serves only v3, as KUMA 4.x does: set kuma.api_version = "v3"'
        )


async def test_kaspersky_xdr_is_recognised_and_refused_with_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.xdr = True
        url = w.tables["kuma"]["url"]

        root = await ask("check", *w.c)
        below = await ask("check", *w.configured(kuma={"url": f"{url}/xdr"}))

    for answer in (root, below):
        assert answer.code == 1
        assert "this is Kaspersky XDR (OSMP), whose alerts are another API" in line(answer, "KUMA token")


@pytest.mark.parametrize(
    ("made", "trusted", "said"),
    [
        ({}, True, "ok: trusted, 29 days left"),
        ({}, False, "failed: certificate not trusted (set kuma.ca_file)"),
        ({"expired": True}, True, "failed: certificate has expired; it must be renewed on that side"),
        (
            {"wrong_name": True},
            True,
            "failed: certificate is for another host name; kuma.url must have the name that is in it",
        ),
    ],
)
async def test_a_certificate_is_judged_apart_from_the_address(
    tmp_path: Path, made: dict[str, Any], trusted: bool, said: str
) -> None:
    tls = SimTls.make(tmp_path / "tls", **made)
    ca = {"ca_file": str(tls.ca_file)} if trusted else {}

    async with world(tmp_path, tls=tls, kuma=ca, irp=ca) as w:
        answer = await ask("check", *w.c)

    assert line(answer, "KUMA address").startswith("ok: https://")
    assert line(answer, "KUMA certificate") == said


async def test_https_to_a_plain_port_and_http_to_a_tls_port_are_told_and_no_ca_is_blamed(tmp_path: Path) -> None:
    tls = SimTls.make(tmp_path / "tls")
    async with world(tmp_path) as plain:
        url = plain.tables["kuma"]["url"].replace("http://", "https://")
        within = await ask("check", *plain.configured(kuma={"url": url}, irp={"url": url}))
        ran = await ask("run", "--once", *plain.configured(kuma={"url": url}))
    async with world(tmp_path / "tls", tls=tls) as safe:
        bare = safe.tables["kuma"]["url"].replace("https://", "http://")
        without = await ask("check", *safe.configured(kuma={"url": bare}, irp={"url": bare}))

    assert within.code == without.code == 1
    for side in ("kuma", "irp"):
        told = f"failed: {url}: no TLS is spoken there (http://, or another port?); is {side}.url right"
        assert line(within, f"{side.upper()} address").startswith(told)
        told = f"failed: {bare}: TLS is spoken there; write https:// in {side}.url"
        assert line(without, f"{side.upper()} address") == told
    assert "kuma-sync: kuma read: no TLS is spoken there" in ran.err
    assert "ca_file" not in within.out + without.out


async def test_a_plain_answer_of_a_tls_server_is_no_answer_of_kuma(tmp_path: Path) -> None:
    """Servers written in Go answer plain HTTP with 400 and go on speaking TLS."""
    tls = SimTls.make(tmp_path / "tls")
    async with world(tmp_path, tls=tls) as w, both_ways(w.tables["kuma"]["url"]) as port:
        answer = await ask("check", *w.configured(kuma={"url": f"http://127.0.0.1:{port}"}))

    assert line(answer, "KUMA address").endswith(": TLS is spoken there; write https:// in kuma.url")


@contextlib.asynccontextmanager
async def both_ways(url: str) -> AsyncIterator[int]:
    """Pass TLS on to `url`, answer anything else with 400; yield the port."""
    _, _, port = url.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first != b"\x16":
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
            writer.close()
            return
        behind, onward = await asyncio.open_connection("127.0.0.1", int(port))
        onward.write(first)
        await asyncio.wait(
            [asyncio.create_task(copy(reader, onward)), asyncio.create_task(copy(behind, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        onward.close()
        writer.close()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_unchecked_certificate_is_warned_about(tmp_path: Path) -> None:
    tls = SimTls.make(tmp_path / "tls", expired=True)
    careless = {"verify_tls": False}

    async with world(tmp_path, tls=tls, kuma=careless, irp=careless) as w:
        answer = await ask("check", *w.c)

    assert answer.code == 0
    (end,) = re.findall(
        r"warning: not checked \(irp.verify_tls = false\), expired on (\S+)", line(answer, "IRP certificate")
    )
    assert datetime.fromisoformat(end).date() < datetime.now(UTC).date()
    assert "CERTIFICATES ARE NOT CHECKED" in answer.out


async def test_a_door_whose_certificate_run_would_refuse_is_refused_here_too(tmp_path: Path) -> None:
    good, other = SimTls.make(tmp_path / "tls"), SimTls.make(tmp_path / "other")
    (tmp_path / "none.pem").write_text("canary")
    wrong = ({"cert_file": str(tmp_path / "none.pem")}, {"key_file": str(other.cert_file)})

    async with world(tmp_path, web={"listen": "127.0.0.1:0", "cert_file": str(good.cert_file)}) as w:
        fine = await ask("check", *w.c)
        checked = [await ask("check", *w.configured(web=web)) for web in wrong]
        ran = await shell("run", *w.configured(web=wrong[0]))

    said = "web.cert_file: the certificate or its key cannot be used; expected PEM, with the key that fits"
    assert (fine.code, line(fine, "door certificate")) == (0, f"ok: {good.cert_file}, 29 days left")
    assert [answer.code for answer in checked] == [2, 2]
    assert all(line(answer, "door certificate").startswith(f"failed: {said}") for answer in checked)
    assert ran.code == 2
    assert said in ran.err.splitlines()[-1]
    assert "canary" not in checked[0].out


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (13, "warning: {}, 12 days left; after a renewal reload kuma-sync (SIGHUP): it reads the files again"),
        (15, "ok: {}, 14 days left"),
        (-1, "failed: {} has expired on {end:%Y-%m-%d}: no caller accepts it"),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_the_doors_certificate_tells_its_days(tmp_path: Path, days: int, said: str, apart: bool) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    leaf = trustme.CA().issue_cert("door.example.com", not_before=end - timedelta(days=90), not_after=end)
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "door.pem"))
    if apart:
        leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        (tmp_path / "door.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    files = {"cert_file": str(tmp_path / "door.pem")} | ({"key_file": str(tmp_path / "key.pem")} if apart else {})

    async with world(tmp_path, web={"listen": "127.0.0.1:0", **files}) as w:
        answer = await ask("check", *w.c)

    assert line(answer, "door certificate") == said.format(tmp_path / "door.pem", end=end)
    assert answer.code == (1 if days < 0 else 0)


async def test_a_remotes_certificate_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    tls = SimTls.make(tmp_path / "tls", days=10)
    ca = {"ca_file": str(tls.ca_file)}

    async with world(tmp_path, tls=tls, kuma=ca, irp=ca) as w:
        answer = await ask("check", *w.c)

    soon = "warning: trusted, 9 days left: it must be renewed on that side"
    assert (answer.code, line(answer, "KUMA certificate"), line(answer, "IRP certificate")) == (0, soon, soon)


async def test_the_doors_port_is_free_ours_or_somebody_elses(tmp_path: Path) -> None:
    listen = somewhere()
    async with world(tmp_path, web={"listen": listen}) as w:
        free = await ask("check", *w.c)
        w.kuma.requests.clear()
        async with daemon(w):
            ours = await ask("check", *w.c)
            other = await ask(
                "check", *w.configured(kuma={"instance": "other"}, store={"url": f"sqlite:///{tmp_path}/other.db"})
            )
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            strange = await ask("check", *w.configured(web={"listen": f"127.0.0.1:{port}"}))
        absent = await ask("check", *w.configured(web={"listen": "192.0.2.1:8484"}))
        gone = await ask("check", *w.configured(web={"listen": "nowhere.invalid:8484"}))

    assert (free.code, line(free, "door")) == (0, f"ok: {listen} is free")
    assert ours.code == 0
    assert line(ours, "door").startswith(f"ok: a running kuma-sync answers at {listen}: ")
    assert line(other, "door") == f"failed: {listen} is taken by a kuma-sync of another KUMA or IRP; set web.listen"
    assert line(strange, "door") == (
        f"failed: 127.0.0.1:{port} is taken by another program (it gave no answer in time); set web.listen"
    )
    assert line(absent, "door").startswith("failed: cannot listen on 192.0.2.1:8484: Cannot assign requested address")
    assert line(gone, "door").startswith("failed: cannot listen on nowhere.invalid:8484: ")
    assert [one.code for one in (other, strange, absent, gone)] == [1, 1, 1, 1]


async def test_a_door_that_is_open_to_the_network_without_tls_earns_a_warning(tmp_path: Path) -> None:
    async with world(tmp_path, web={"listen": "0.0.0.0:0"}) as w:
        bare = await ask("check", *w.c)
        guarded = await ask("check", *w.configured(web={"listen": "0.0.0.0:0", "metrics_token": "canary-of-the-door"}))

    warned = ["web.listen: is open to the network without TLS", "web.listen: tokens arrive unencrypted"]
    for answer, said in zip((bare, guarded), warned, strict=True):
        assert answer.code == 0
        assert any(said in one for one in answer.lines("warning")), answer.out
    assert "canary" not in guarded.out


async def test_a_stores_folder_that_cannot_be_written_to_fails_before_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    async with world(tmp_path, store={"url": f"sqlite:///{tmp_path}/shut/store.db"}) as w:
        new = await afresh("check", *w.c, unprivileged=True)
        (tmp_path / "shut" / "store.db").touch(mode=0o600)
        there = await afresh("check", *w.c, unprivileged=True)

    assert new.code == there.code == 1
    assert f"this user cannot write to {tmp_path}/shut" in line(new, "store")
    assert line(there, "store folder").startswith(f"failed: {tmp_path}/shut, owner ")
    assert "this user cannot write there" in line(there, "store folder")


async def test_files_of_the_store_that_belong_to_another_user_earn_a_warning(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        os.chown(tmp_path / "store.db.lock", 4711, 4711)
        (tmp_path / "store.db").chmod(0o644)
        tmp_path.chmod(0o755)

        answer = await ask("check", *w.c)

    assert answer.code == 0
    told = line(answer, "store folder")
    assert told.startswith("warning: ")
    assert "store.db.lock belongs to user 4711, " in told
    assert f"`chown --reference={tmp_path}/store.db {tmp_path}/store.db.lock` mends it" in told
    assert "store.db can be read by every user of this machine" in told


async def test_short_and_repeated_tokens_of_the_door_earn_warnings(tmp_path: Path) -> None:
    tokens = {"sv": "canary-1", "desk": "canary-of-the-door", "copy": "canary-of-the-door"}
    async with world(tmp_path, web={"listen": "", "tokens": tokens}) as w:
        answer = await ask("check", *w.c)

    assert answer.code == 0
    warned = "".join(answer.lines("warning"))
    assert "web.tokens.sv: is shorter than 16 characters" in warned
    assert "web.tokens.copy: is the same token as web.tokens.desk" in warned
    assert "canary" not in answer.out


async def test_a_store_is_looked_at_without_being_touched(empty_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": empty_url}) as w:
        await ask("run", "--once", *w.c)
        before = files(tmp_path)

        ours, others = await ask("check", *w.c), await ask("check", *w.configured(irp={"url": "http://localhost:1"}))

        assert ours.code == 0
        assert line(ours, "store schema") == f"ok: {head()}"
        assert line(ours, "store identity").startswith("ok: KUMA 'kuma', IRP http://127.0.0.1:")
        assert others.code == 2
        assert line(others, "store identity").startswith("failed: irp.url: the store belongs to")
        assert files(tmp_path) == sorted([*before, "other.toml"])


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but SQLite's index of its log, which every reader may mend."""
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if not entry.name.endswith("-shm")}


@pytest.mark.parametrize("left_behind", ["nothing", "no WAL mode", "a log", "an empty file"])
async def test_a_file_is_read_byte_for_byte_as_it_is(tmp_path: Path, left_behind: str) -> None:
    async with world(tmp_path, made=False) as w:
        if left_behind == "an empty file":
            (tmp_path / "store.db").touch()
        else:
            await ask("run", "--once", *w.c)
        if left_behind == "no WAL mode":
            with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection:
                connection.execute("PRAGMA journal_mode=DELETE")
        if left_behind == "a log":
            leave_a_log(tmp_path / "store.db")
        before, names = contents(tmp_path), files(tmp_path)

        answer = await ask("check", *w.c)

        empty = left_behind == "an empty file"
        assert answer.code == 0
        assert line(answer, "store schema") == f"ok: {'empty; run makes the tables' if empty else head()}"
        assert files(tmp_path) == names
        assert contents(tmp_path) == before


def leave_a_log(store: Path) -> None:
    """Change something and die, as a daemon that is killed: its log stays behind."""
    change = "UPDATE alembic_version SET version_num = version_num"
    end = f"c.execute('PRAGMA wal_autocheckpoint=0'); c.execute({change!r}); c.commit(); os._exit(0)"
    python("-c", f"import os, sqlite3; c = sqlite3.connect({str(store)!r}); {end}")
    assert Path(f"{store}-wal").stat().st_size > 0


@pytest.mark.parametrize("name", ["store.db", "link.db"])
async def test_a_daemon_that_holds_the_store_is_told_and_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        await ask("run", "--once", *w.c)
        (tmp_path / "link.db").symlink_to(tmp_path / "store.db")
        monkeypatch.setenv("KUMA_SYNC_STORE__URL", f"sqlite:///{tmp_path / name}")
        with (tmp_path / "store.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            answer = await ask("check", *w.c)

        assert answer.code == 0
        assert line(answer, "store lock") == "ok: a running daemon holds the file"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/at/all/store.db", "there is no directory /nowhere/at/all"),
        (
            "postgresql://nobody@127.0.0.1:1/db",
            "the store is out of reach: connection refused; is store.url right?",
        ),
    ],
)
def test_a_store_that_cannot_be_is_told_before_the_first_run(tmp_path: Path, url: str, said: str) -> None:
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), {"store": {"url": url}}))

    checked, ran, status = (typed(*words, "-c", str(path)) for words in (["check"], ["run", "--once"], ["status"]))

    assert checked.code == ran.code == status.code == 1
    assert said in line(checked, "store")
    assert "store" in status.sentence
    assert "Traceback" not in ran.err


def test_a_store_out_of_reach_is_told_with_the_variable_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path / "config.toml", usual(tmp_path))
    monkeypatch.setenv("KUMA_SYNC_STORE__URL", "postgresql://nobody@127.0.0.1:1/db")

    checked = typed("check", "-c", str(path))

    assert line(checked, "store").endswith("refused; is store.url (set by KUMA_SYNC_STORE__URL) right?")


async def test_findings_come_as_json_too(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        found = (await ask("check", "--json", *w.configured(irp={"url": NOWHERE}))).json

        assert {one["what"]: one["verdict"] for one in found}["IRP address"] == "failed"
        assert found[0] == {
            "verdict": "ok",
            "what": "configuration",
            "hint": str(tmp_path / "other.toml"),
            "misconfigured": False,
        }


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({}, "ok: may be listed: 1 of the last 30 days"),
        ({"updated_form": "seconds"}, "ok: may be listed: 1 of the last 30 days"),
        ({"updated_form": "slashes"}, "warning: list_closed.extract.updated finds '99/99/9999 99:99 AA'"),
        ({"updated_form": "naive", "updated_shift": 3 * 3600}, "warning: dated ahead of the IRP's clock"),
        ({"updated_shift": 3 * 3600, "date": "absent"}, "warning: dated ahead of the IRP's clock"),
    ],
)
async def test_the_list_of_closed_incidents_is_looked_at(tmp_path: Path, knobs: dict[str, Any], told: str) -> None:
    async with world(tmp_path) as w:
        empty = await ask("check", *w.c)
        w.irp.analyst_close(w.irp.create({"externalId": "x"}).id, "Solved")
        for name, value in knobs.items():
            setattr(w.irp.knobs, name, value)

        answer = await ask("check", *w.c)
        off = await ask("check", *w.configured(close={"watch": False}))

        assert line(empty, "IRP closed incidents") == "ok: may be listed; there is none of the last 30 days"
        assert line(answer, "IRP closed incidents").startswith(told)
        assert answer.code == 0
        assert "IRP closed incidents" not in off.out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("== 'closed'", "== 'shut'", "none of the 2 rows shown fits list_closed.closed_when: "),
        (
            'key = "externalId"',
            'key = "ref"',
            "list_closed.extract.key finds nothing in any of the 2 closed rows shown",
        ),
        ('id = "id"', 'id = "no"', "list_closed.extract.id finds nothing in any of the 2 closed rows shown"),
        (
            'id = "id"\nkey = "externalId"',
            'id = "no"\nkey = "ref"',
            "list_closed.extract finds neither id nor key in any of the 2 closed rows shown",
        ),
    ],
)
async def test_rows_of_closed_incidents_that_the_profile_does_not_know_are_counted(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    head, section, listed = profile_text("security-vision").rpartition("[list_closed]")
    assert old in listed
    own = tmp_path / "own.toml"
    own.write_text(head + section + listed.replace(old, new), encoding="utf-8")
    async with world(tmp_path) as w:
        for key in ("x", "y"):
            w.irp.analyst_close(w.irp.create({"externalId": key}).id, "Solved")

        answer = await ask("check", *w.configured(irp={**w.tables["irp"], "profile": str(own)}))

        assert line(answer, "IRP closed incidents").startswith(f"warning: {told}")
        assert answer.code == 0


async def test_a_refused_login_names_what_the_profile_logs_in_with(tmp_path: Path) -> None:
    text = profile_text("security-vision")
    own, plain = tmp_path / "own.toml", tmp_path / "plain.toml"
    own.write_text(text.replace(text[text.index("[auth]") : text.index("[maps.severity]")], LOGIN), encoding="utf-8")
    plain.write_text(text.replace('kind = "bearer"', 'kind = "basic"'), encoding="utf-8")
    both = "are irp.username and irp.password right, not expired, and their user enabled and allowed?"
    async with world(tmp_path) as w:
        mine = {**w.tables["irp"], "username": w.irp.knobs.username, "password": "wrong"}
        basic = await ask("check", *w.configured(irp={**mine, "profile": str(plain)}))
        w.irp.knobs.login = "token"

        login = await ask("check", *w.configured(irp={**mine, "profile": str(own)}))
        w.irp.faults.add("status", code=503, match="/login")
        busy = await ask("check", *w.configured(irp={**mine, "profile": str(own)}))

        assert line(basic, "IRP login") == f"failed: answered 401 Unauthorized; {both}"
        assert line(login, "IRP login") == f"failed: the login answered 401 Unauthorized; {both}"
        assert line(busy, "IRP login").startswith("failed: answered 503")
        assert "IRP probe" not in busy.out


async def test_a_probe_that_is_refused_in_words_shows_them(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = profile_text("security-vision")
    head, section, rest = text.partition("[probe]")
    own.write_text(f'{head}{section}\nok_when = "ok"{rest}', encoding="utf-8")
    async with world(tmp_path) as w:
        w.irp.faults.add("status", code=200, body='{"fault": {"code": "CLOSED", "text": "for the night"}}')

        answer = await ask("check", *w.configured(irp={**w.tables["irp"], "profile": str(own)}))

        assert line(answer, "IRP probe") == "failed: refused by ok_when: CLOSED: for the night"


async def test_a_list_of_closed_incidents_that_cannot_be_had_is_a_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.irp.faults.add("status", code=400, match="status=closed")

        answer = await ask("check", *w.c)

        assert answer.code == 1
        assert line(answer, "IRP closed incidents").startswith("failed: cannot be listed: answered 400")
