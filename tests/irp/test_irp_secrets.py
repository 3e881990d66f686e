"""Secrets from files are read again when the IRP refuses them, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from builders import seen
from irp_desk import Irp, client, token, values_of

from kuma_sync.core.errors import AccessDenied, Permanent


class Lock:
    """Opens to one token; the file with it is changed when the old one is first refused."""

    def __init__(self, good: str, *, file: Path | None = None) -> None:
        self.good = good
        self.file = file
        self.tried: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tried.append(request.headers["Authorization"])
        if request.headers["Authorization"] == f"Bearer {self.good}":
            return httpx.Response(201, json={"id": "1"})
        if self.file:
            self.file.write_text(self.good + "\n", encoding="utf-8")
        return httpx.Response(401, json={})


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("old\n", encoding="utf-8")
    return path


async def test_a_new_token_in_the_file_is_used_for_the_same_request(token_file: Path) -> None:
    lock = Lock("new", file=token_file)

    async with client(lock, secrets=token(path=token_file)) as irp_client:  # type: ignore[arg-type]  # it answers by token
        incident = await irp_client.create(irp_client.draft("create", values_of(seen())))

    assert incident.id == "1"
    assert lock.tried == ["Bearer old", "Bearer new"]


async def test_a_token_that_did_not_change_is_not_tried_again(token_file: Path) -> None:
    lock = Lock("other")

    async with client(lock, secrets=token(path=token_file)) as irp_client:  # type: ignore[arg-type]  # it answers by token
        with pytest.raises(AccessDenied) as caught:
            await irp_client.create(irp_client.draft("create", values_of(seen())))

    assert lock.tried == ["Bearer old"]
    assert "old" not in str(caught.value)


async def test_a_file_that_became_no_text_is_as_one_that_did_not_change(token_file: Path) -> None:
    lock = Lock("new")

    async with client(lock, secrets=token(path=token_file)) as irp_client:  # type: ignore[arg-type]  # it answers by token
        token_file.write_bytes("new".encode("utf-16"))
        with pytest.raises(AccessDenied):
            await irp_client.create(irp_client.draft("create", values_of(seen())))

    assert lock.tried == ["Bearer old"]


async def test_a_request_refused_with_the_old_token_is_tried_again_with_the_new(
    token_file: Path,
) -> None:
    """Eight deliveries are refused at once; only the first of them sees the file change."""
    secrets = token(path=token_file)

    class Meanwhile(Lock):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            answer = super().__call__(request)
            if answer.status_code == 401:
                assert secrets.token.reload()
            return answer

    lock = Meanwhile("new", file=token_file)

    async with client(lock, secrets=secrets) as irp_client:  # type: ignore[arg-type]  # it answers by token
        await irp_client.create(irp_client.draft("create", values_of(seen())))

    assert lock.tried == ["Bearer old", "Bearer new"]


async def test_reload_tells_whether_a_secret_changed(token_file: Path) -> None:
    async with client(Irp((200, {})), secrets=token(path=token_file)) as irp_client:
        unchanged = irp_client.reload_secrets()
        token_file.write_text("new", encoding="utf-8")  # a test has time
        changed = irp_client.reload_secrets()

    assert (unchanged, changed) == (False, True)


async def test_a_new_token_is_kept_out_of_what_is_told_as_the_old_one_was(token_file: Path) -> None:
    async with client(Irp((422, {"message": "who is second-token?"})), secrets=token(path=token_file)) as irp_client:
        token_file.write_text("second-token", encoding="utf-8")
        irp_client.reload_secrets()
        with pytest.raises(Permanent) as caught:
            await irp_client.create(irp_client.draft("create", values_of(seen())))

    assert caught.value.detail == "who is **********?"


async def test_no_draft_and_no_repr_holds_the_token() -> None:
    secrets = token("irp-token")

    async with client(Irp((200, {})), secrets=secrets) as irp_client:
        draft = irp_client.draft("create", values_of(seen()))

    assert "irp-token" not in repr(draft)
    assert "irp-token" not in repr(secrets)
