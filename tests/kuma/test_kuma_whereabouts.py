"""A server that is no KUMA of the configured version says what it is, asked once in a while."""

from __future__ import annotations

import httpx
import pytest
import respx
from test_kuma_client import FULL, a_client, everything

from kuma_sync.core.errors import Permanent
from kuma_sync.kuma.whereabouts import ONLY_V3, XDR

NOT_FOUND = httpx.Response(404, text="404 page not found")
USER = httpx.Response(200, json={"login": "kuma-sync", "roles": []})
DENIED = httpx.Response(403, json={"message": "access denied", "details": ""})
TOTAL = httpx.Response(200, json={"Alerts": [], "Total": 0})
TENANT = httpx.Response(400, json={"message": "invalid query parameter value", "details": "tenantID required"})
PAGE = httpx.Response(200, text="<html>login</html>", headers={"content-type": "text/html"})


async def refused(router: respx.Router, *, version: str = "v1") -> Permanent:
    async with a_client(router, api_version=version) as client:
        with pytest.raises(Permanent) as caught:
            await everything(client, FULL)
    return caught.value


def serving(**answers: httpx.Response) -> respx.Router:
    """Answer `v3` to whoami of v3, `xdr` to XDR's alerts, and 404, or `read`, to everything else."""
    router = respx.Router()
    router.get(path="/api/v3/users/whoami").mock(return_value=answers.get("v3", NOT_FOUND))
    router.get(path="/xdr/api/v1/alerts").mock(return_value=answers.get("xdr", NOT_FOUND))
    router.route().mock(return_value=answers.get("read", NOT_FOUND))
    return router


@pytest.mark.parametrize("answer", [USER, DENIED])
async def test_a_server_of_v3_alone_is_named_with_the_key_to_set(answer: httpx.Response) -> None:
    error = await refused(serving(v3=answer))

    assert (error.summary, error.status) == (f"answered 404: {ONLY_V3}", 404)
    assert 'kuma.api_version = "v3"' in error.summary


@pytest.mark.parametrize("answer", [TOTAL, TENANT])
@pytest.mark.parametrize("version", ["v1", "v3"])
async def test_xdr_is_named_for_what_it_is(answer: httpx.Response, version: str) -> None:
    error = await refused(serving(xdr=answer), version=version)

    assert error.summary == f"answered 404: {XDR}"


@pytest.mark.parametrize("anything", [NOT_FOUND, PAGE, httpx.Response(503), httpx.Response(200, json=[])])
async def test_what_nobody_can_tell_is_left_to_the_refusal_itself(anything: httpx.Response) -> None:
    error = await refused(serving(v3=anything, xdr=anything))

    assert error.summary.startswith("answered 404 Not Found: is kuma.url right?")


async def test_a_refusal_in_kumas_own_words_is_not_looked_into() -> None:
    said = httpx.Response(400, json={"message": "invalid query parameter value", "details": "page"})
    router = serving(read=said, v3=USER)

    error = await refused(router)

    assert error.summary == "invalid query parameter value"
    assert len(router.calls) == 1


async def test_it_is_asked_once_and_remembered_for_a_while() -> None:
    router = serving(v3=USER)

    async with a_client(router) as client:
        for _ in range(3):
            with pytest.raises(Permanent, match="serves only v3"):
                await everything(client, FULL)

    assert sum(call.request.url.path.endswith("whoami") for call in router.calls) == 1
