"""Sign-in with a password, sessions and their end, and what a stranger sees."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from console_stage import PASSWORD, OpenConsole, console_at, hash_of, text_of
from sqlalchemy import text

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Tx
from kuma_sync.web.console.access import ConsoleLimits
from kuma_sync.web.console.app import PAGES
from kuma_sync.web.console.lockouts import Lockouts


@pytest.mark.parametrize("path", [page.path for page in PAGES if "{" not in page.path])
async def test_a_stranger_is_sent_to_the_sign_in_page_and_then_back(tmp_path: Path, sqlite_url: str, path: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        sent = await visitor.sees(f"{path}?state=parked")
        page = await visitor.sees(sent.headers["location"])
        signed_in = await visitor.signs_in(wanted=f"{path}?state=parked")
        seen = await visitor.sees(signed_in.headers["location"])

    assert (sent.status_code, page.status_code) == (303, 200)
    assert f'name="next" value="{path}?state=parked"' in page.text
    assert signed_in.headers["location"] == f"{path}?state=parked"
    assert seen.status_code == 200
    assert "anna · operator" in " ".join(seen.text.replace('<span class="quiet">', "").split())


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong"), ("anna", ""), ("nobody", PASSWORD), ("", "")])
async def test_a_wrong_name_or_password_opens_nothing_and_is_not_told_apart(
    tmp_path: Path, sqlite_url: str, name: str, password: str
) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        answer = await visitor.signs_in(name, password)
        after = await visitor.sees("/")

    assert answer.status_code == 403
    assert "The name or the password is wrong." in text_of(answer)
    assert "set-cookie" not in answer.headers
    assert after.status_code == 303


async def test_after_five_wrong_passwords_within_a_minute_comes_a_wait(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        wrong = [await visitor.signs_in("anna", "wrong") for _ in range(5)]
        sixth = await visitor.signs_in("anna", PASSWORD)
        other = await visitor.signs_in("victor", PASSWORD)

    assert [answer.status_code for answer in wrong] == [403] * 5
    assert sixth.status_code == 429
    assert 0 < int(sixth.headers["retry-after"]) <= 61
    assert "Too many wrong passwords." in text_of(sixth)
    assert other.status_code == 303, "another user is not stopped"


async def test_wrong_passwords_sent_at_once_are_counted_all_the_same(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        tokens = [await visitor.token("/sign-in", "/sign-in") for _ in range(8)]
        fields = {"name": "anna", "password": "wrong", "next": "/"}
        answers = await asyncio.gather(*(visitor.sends("/sign-in", {**fields, "token": token}) for token in tokens))

    assert sorted(answer.status_code for answer in answers) == [403] * 5 + [429] * 3


async def test_long_names_of_strangers_take_no_memory(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        token = await visitor.token("/sign-in", "/sign-in")
        tracemalloc.start()
        for number in range(20):
            fields = {"name": f"{number}" + "x" * 50_000, "password": "wrong", "token": token}
            assert (await visitor.sends("/sign-in", fields)).status_code == 403
        gc.collect()
        kept, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert kept < 700_000


async def test_a_right_password_ends_the_count(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        for _ in range(2):
            for _ in range(4):
                await visitor.signs_in("anna", "wrong")
            async with console.visitor() as other:
                assert (await other.signs_in("anna")).status_code == 303


async def test_two_copies_on_one_database_count_wrong_passwords_together(tmp_path: Path, postgres_url: str) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with (
        console_at(tmp_path / "one", postgres_url) as one,
        console_at(tmp_path / "other", postgres_url) as other,
        one.visitor() as here,
        other.visitor() as there,
    ):
        wrong = [await visitor.signs_in("anna", "wrong") for visitor in (here, there, here, there, here)]
        sixth = [await visitor.signs_in("anna", PASSWORD) for visitor in (here, there)]

    assert [answer.status_code for answer in wrong] == [403] * 5
    assert [answer.status_code for answer in sixth] == [429] * 2


async def test_once_somebody_must_wait_tries_cost_the_store_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        for _ in range(6):
            await visitor.signs_in("anna", "wrong")
        await console.store.write(lambda tx: tx.pruning.records(console.clock(), now=console.clock.advance(hours=1)))
        console.clock.advance(hours=-1)
        for _ in range(10):
            assert (await visitor.signs_in("anna", "wrong")).status_code == 429

        assert await console.store.read(counted_tries) == 0


def counted_tries(tx: Tx) -> int:
    return int(tx.console._connection.execute(text("SELECT count(*) FROM console_tries")).scalar_one())


def test_whoever_must_wait_may_try_again_after_that_time() -> None:
    now = 0.0
    lockouts = Lockouts(3, monotonic=lambda: now)

    lockouts.stop("anna", 60)
    assert (lockouts.wait("anna"), lockouts.wait("victor")) == (60, 0)
    now = 60.0
    assert lockouts.wait("anna") == 0


def test_a_throttle_remembers_no_more_than_it_may() -> None:
    lockouts = Lockouts(3, monotonic=lambda: 0.0)

    for name in range(100):
        lockouts.stop(name, 60)

    assert [name for name in range(100) if lockouts.wait(name)] == [97, 98, 99]


async def test_more_people_than_can_wait_are_asked_to_come_again(tmp_path: Path, sqlite_url: str) -> None:
    limits = ConsoleLimits(passwords_waiting=2, wrong=50)
    async with console_at(tmp_path, sqlite_url, limits=limits) as console, console.visitor() as visitor:
        tokens = [await visitor.token("/sign-in", "/sign-in") for _ in range(12)]
        fields = {"name": "anna", "password": "wrong", "next": "/"}
        answers = await asyncio.gather(*(visitor.sends("/sign-in", {**fields, "token": token}) for token in tokens))

    assert {answer.status_code for answer in answers} == {403, 503}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/sign-in"]
)
async def test_a_sign_in_leads_to_no_other_site(tmp_path: Path, sqlite_url: str, wanted: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        answer = await visitor.signs_in(wanted=wanted)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_session_ends_after_its_time(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, session="8h") as console, console.signed_in() as anna:
        console.clock.advance(hours=7, minutes=59)
        before = await anna.sees("/")
        console.clock.advance(minutes=1)
        after = await anna.sees("/")

    assert (before.status_code, after.status_code) == (200, 303)


async def test_a_cookie_opens_nothing_once_its_user_signed_out(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna, console.visitor() as thief:
        thief.client.cookies.update(anna.client.cookies)
        stolen = await thief.sees("/")
        left = await anna.sends("/sign-out", {"token": await anna.token("/", "/sign-out")})
        after = [await thief.sees("/"), await anna.sees("/")]

    assert stolen.status_code == 200
    assert (left.status_code, left.headers["location"]) == (303, "/sign-in")
    assert [answer.status_code for answer in after] == [303, 303]


async def test_a_session_ends_when_its_user_is_removed_or_gets_another_password(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with (
        console_at(tmp_path, sqlite_url) as console,
        console.signed_in("anna") as anna,
        console.signed_in("victor") as victor,
    ):
        before = [(await one.sees("/")).status_code for one in (anna, victor)]
        console.configure(users={"anna": hash_of("another long password")})
        after = [(await one.sees("/")).status_code for one in (anna, victor)]

    assert before == [200, 200]
    assert after == [303, 303]


async def test_a_role_that_is_changed_counts_at_once(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in("anna") as anna:
        before = await anna.sees("/")
        console.configure(roles={"anna": "viewer"})
        after = await anna.sees("/")

    assert "operator" in before.text
    assert "operator" not in after.text


@pytest.mark.parametrize(
    "change", [lambda value: value + "x", lambda value: value[:-4] + "AAAA", lambda _value: "anna"]
)
async def test_a_cookie_that_we_did_not_sign_opens_nothing(tmp_path: Path, sqlite_url: str, change: object) -> None:
    assert callable(change)
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna, console.visitor() as thief:
        thief.client.cookies.set("kuma_sync_session", change(anna.client.cookies["kuma_sync_session"]))
        answer = await thief.sees("/")

    assert answer.status_code == 303


async def test_the_sessions_cookie_is_for_this_site_alone_and_no_script(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, session="2h") as console, console.visitor() as visitor:
        answer = await visitor.signs_in()

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("kuma_sync_session=")
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "max-age=7200",
        "path=/",
        "samesite=lax",
    }


async def test_under_tls_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        console_at(tmp_path, sqlite_url, tls=_certificate(tmp_path)) as console,
        console.visitor() as visitor,
    ):
        answer = await visitor.signs_in()
        seen = await visitor.sees("/")

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-kuma_sync_session=")
    assert "secure" in {part.strip().lower() for part in cookie.split(";")}
    assert seen.status_code == 200


async def test_the_store_holds_no_session_id_and_the_trail_says_who_came(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        value = anna.client.cookies["kuma_sync_session"]
        trail = await console.store.read(lambda tx: tx.audit.history(""))

    held = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert value.split(".")[0].encode() not in held
    assert [(entry.actor, entry.action, entry.detail) for entry in trail] == [("console:anna", "sign_in", "local")]


async def test_two_copies_on_one_database_share_sessions_and_forms(tmp_path: Path, postgres_url: str) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        console_at(folders[0], postgres_url) as one,
        console_at(folders[1], postgres_url) as two,
        one.signed_in() as anna,
        two.visitor() as elsewhere,
    ):
        elsewhere.client.cookies.update(anna.client.cookies)
        seen = await elsewhere.sees("/")
        token = await anna.token("/", "/sign-out")
        left = await elsewhere.sends("/sign-out", {"token": token})
        again = await anna.sends("/sign-out", {"token": token})
        after = await anna.sees("/")

    assert (seen.status_code, left.status_code) == (200, 303)
    assert again.status_code == 403
    assert after.status_code == 303


async def test_housekeeping_removes_sessions_that_are_over(tmp_path: Path, sqlite_url: str) -> None:
    def rows(tx: Tx) -> int:
        return int(tx.overview._connection.execute(text("SELECT count(*) FROM console_sessions")).scalar_one())

    async with console_at(tmp_path, sqlite_url) as console, console.signed_in(), console.signed_in("victor"):
        before = await console.store.read(rows)
        console.clock.advance(hours=9)
        await console.store.write(lambda tx: tx.pruning.records(tx.now - timedelta(days=90), now=tx.now))
        after = await console.store.read(rows)

    assert (before, after) == (2, 0)


async def test_while_the_store_is_away_a_page_says_so_in_words(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        _away(console)
        answer = await anna.sees("/passes")

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "The store cannot be used now: the disk is gone." in text_of(answer)
    assert "Nothing is lost" in text_of(answer)
    assert "Traceback" not in answer.text


async def test_before_the_store_is_ready_a_page_says_so_in_words(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        console.ready = False
        early = [await visitor.sees(path) for path in ("/", "/sign-in")]
        console.ready = True
        later = await visitor.sees("/sign-in")

    assert [answer.status_code for answer in early] == [503, 503]
    assert "kuma-sync is starting" in text_of(early[0])
    assert later.status_code == 200


async def test_without_users_the_page_says_how_to_make_one(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, users={}, roles={}) as console, console.visitor() as visitor:
        page = await visitor.sees("/sign-in")

    assert "kuma-sync console-user" in text_of(page)
    assert "password" not in page.text


def _away(console: OpenConsole) -> None:
    """Let every read of the store fail from now on."""

    async def read(_work: object, **_how: bool) -> None:
        raise StoreUnavailable("the disk is gone")

    console.store.read = read  # type: ignore[method-assign,assignment]  # this store is the test's own


def _certificate(folder: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = folder / "door.pem", folder / "door.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return certificate, key
