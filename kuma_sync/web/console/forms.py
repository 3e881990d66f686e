"""Forms that order something: each has a token of ours that works once, for one session and one address."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from itsdangerous import BadSignature
from starlette.requests import Request

from kuma_sync.core.sentence import N_, sentence
from kuma_sync.core.text import fit
from kuma_sync.settings.console import ConsoleSection
from kuma_sync.store import Tx
from kuma_sync.web.console.access import ConsoleLimits, NotDone, Viewer, viewer_of
from kuma_sync.web.console.sessions import Sessions, through_proxy
from kuma_sync.web.responses import hangs_up, read_body

TOKEN = "token"  # noqa: S105  # a field's name
_FORM = "form"
_NOTHING = N_("Nothing was done")
_MOST_FIELDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form that was sent and may be obeyed: who sent it (`by`, for the audit trail), and its fields."""

    by: str
    fields: Mapping[str, list[str]]
    digest: bytes
    until: datetime

    def get(self, name: str) -> str:
        """Return a field's text; "" where it is not there."""
        return self.fields.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """Return every text of a field."""
        return self.fields.get(name, [])

    def spend(self, tx: Tx) -> None:
        """Use the form up, in the transaction that does what it orders. Raise UsedAlready: then nothing may be done."""
        tx.console.spend(self.digest, until=self.until)


class Forms:
    """Makes and judges the tokens of forms."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        rules: Callable[[], ConsoleSection],
        clock: Callable[[], datetime],
        limits: ConsoleLimits,
    ) -> None:
        self._sessions = sessions
        self._rules = rules
        self._clock = clock
        self._age = limits.form

    def token(self, viewer: Viewer | None, path: str) -> str:
        """Return a token for one form that is sent to `path`."""
        until = int((self._clock() + self._age).timestamp())
        parts = [viewer.key if viewer else "", path, secrets.token_urlsafe(12), until]
        return str(self._sessions.signer(_FORM).dumps(parts))

    async def received(self, request: Request) -> Form:
        """Read the form of a request. Raise NotDone where it may not be obeyed."""
        self._refuse_other_sites(request)
        body = await read_body(request)
        if body is None or hangs_up(request):
            raise NotDone(413, _NOTHING, sentence("The form is too large, or did not come whole."))
        try:
            found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise NotDone(400, _NOTHING, sentence("What was sent is no form.")) from None
        fields = {name: [fit(text) for text in texts] for name, texts in found.items()}
        viewer, text = viewer_of(request), fields.pop(TOKEN, [""])[0]
        digest, until = self._judged(text, viewer, request.url.path)
        by = viewer.by if viewer else ""
        return Form(by=by, fields=fields, digest=digest, until=until)

    def _judged(self, text: str, viewer: Viewer | None, path: str) -> tuple[bytes, datetime]:
        """Return what stands for a token, and until when it works; raise NotDone where it does not.

        One token has several spellings, for the last sign of its signature has bits that count for nothing.
        """
        try:
            key, meant, nonce, until = self._sessions.signer(_FORM).loads(text)
        except (BadSignature, ValueError, TypeError):
            raise _not_ours() from None
        if not hmac.compare_digest(str(key).encode(), (viewer.key if viewer else "").encode()) or meant != path:
            raise _not_ours()
        end = datetime.fromtimestamp(until, UTC)
        if end <= self._clock():
            why = sentence("The page was open for too long. Open it again, then repeat what you wanted to do.")
            raise NotDone(403, _NOTHING, why)
        return hashlib.sha256(str(nonce).encode()).digest(), end

    def _refuse_other_sites(self, request: Request) -> None:
        """Raise NotDone for a form that a browser sends from another site's page."""
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site is not None:
            ours = site in ("same-origin", "none")
        elif origin is not None:
            hosts = {request.headers.get("host", "")}
            if through_proxy(request, self._rules()):
                hosts.add(request.headers.get("x-forwarded-host", ""))
            ours = urlsplit(origin).netloc in hosts - {""}
        else:
            ours = True  # no browser sent it, and it needs a token all the same
        if not ours:
            raise NotDone(403, _NOTHING, sentence("Another site's page sent this form."))


def _not_ours() -> NotDone:
    why = sentence(
        "This form is not one that the console showed you, or you signed in anew since. Open the page again."
    )
    return NotDone(403, _NOTHING, why)


def used_already() -> NotDone:
    """Return the page for a form that was sent twice."""
    why = sentence("This form was sent before, and what it ordered is done once. Look at the page to see the result.")
    return NotDone(403, N_("Nothing was done a second time"), why)
