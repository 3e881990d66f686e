"""A remote's answer: its body read with a cap, and what it says.

httpx's own decoder takes a body that breaks off, or goes on in a second gzip member, for a whole one, and unpacks a
piece at once, however large it becomes.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType

import httpx

from kuma_sync.core.errors import AccessDenied, Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.text import fit
from kuma_sync.telemetry.redact import masked

LARGEST_PIECE = 256 * 1024
"""Bytes that are unpacked at once: what 256 KB hold may be a quarter of a gigabyte."""

ACCEPTED = "gzip"
"""What we say we understand."""

_GZIP = 16 + zlib.MAX_WBITS


class Body:
    """The bytes of one answer; raises httpx.DecodingError where they are not what the header says."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.received = 0
        """Bytes that came over the network so far (compressed, if they are)."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        unpacked = _Gunzip() if encoding.endswith("gzip") else None
        async for piece in self._response.stream:  # type: ignore[union-attr]  # every stream of ours, and of a mock
            self.received += len(piece)
            if encoding not in ("", "identity", "gzip", "x-gzip"):
                raise httpx.DecodingError("an encoding that was not asked for")
            if unpacked is None:
                yield piece
                continue
            for some in unpacked.pieces(piece):
                yield some
                # A few bytes may hold a great many: others have things to do in between.
                await asyncio.sleep(0)
        if unpacked is not None:
            unpacked.end()


class _Gunzip:
    """Undoes gzip: any number of members, each whole."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        full = False
        while packed or full:
            if not self._begun:
                # Zeros may follow a member, to fill a block.
                packed = packed.lstrip(b"\0")
                if not packed:
                    return
            self._begun = True
            piece = self._unpacked(packed)
            full = len(piece) == LARGEST_PIECE
            if piece:
                yield piece
            if self._member.eof:
                packed, full = self._member.unused_data, False
                self._member, self._begun = zlib.decompressobj(_GZIP), False
            else:
                packed = self._member.unconsumed_tail

    def _unpacked(self, packed: bytes) -> bytes:
        try:
            return self._member.decompress(packed, LARGEST_PIECE)
        except zlib.error as error:
            raise httpx.DecodingError("no gzip") from error

    def end(self) -> None:
        """Raise unless the last member was whole."""
        if self._begun:
            raise httpx.DecodingError("gzip broke off")


_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")
_PAGE = re.compile(rb"[\x00\xef\xbb\xbf\xfe\xff\s]*+<")
"""A `<` behind blanks and byte order marks: the zeros are those of UTF-16 and UTF-32, with a mark or without one."""

_MESSAGE_KEYS = ("message", "error", "detail", "title", "fault", "text", "msg")
_LONGEST_DETAIL = 300
_LONGEST_TEXT = 4096
_LONGEST_ORIGIN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request: `path` begins with a slash and follows the endpoint's base, `query` is encoded already."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer; `date` is the server's own clock. `retry_after` is its wish, `changes` says it was a write."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    date: datetime | None = None
    retry_after: timedelta | None = None
    remote: str = ""
    operation: str = ""
    changes: bool = False

    def json(self) -> object:
        """Return the body's JSON value; raise Transient if it is none (ambiguous after a write)."""
        try:
            value: object = json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.not_json() from None
        return value

    def not_json(self) -> Transient:
        """Return the failure for a body that is not the JSON it should be."""
        kind = media_type(self.headers)
        summary = "answered broken JSON" if "json" in kind else f"answered {kind} instead of JSON"
        return Transient(
            remote=self.remote,
            operation=self.operation,
            summary=summary,
            status=self.status,
            ambiguous=self.changes,
        )

    @property
    def is_page(self) -> bool:
        """Tell whether it is a page for people: something in front of the remote answered, a balancer or a login.

        Only the body tells: such a page comes with any Content-Type, or none.
        """
        return _PAGE.match(self.body) is not None

    @property
    def message(self) -> str:
        """Return the answer's own message or error text in one line; empty where there is none.

        It may repeat what we sent, the token too: our secrets are masked, for a job's record is read by people.
        """
        return _message(self._value())

    @property
    def details(self) -> str:
        """Return what the answer says in `details`, beside its message, as `message` does."""
        value = self._value()
        details = value.get("details") if isinstance(value, dict) else None
        return _one_line(details) if isinstance(details, str) else ""

    @property
    def failed_midway(self) -> bool:
        """Tell whether the server may have done what it was asked, for it failed: any 5xx but 503."""
        return self.status >= 500 and self.status != 503

    @property
    def words(self) -> str:
        """Return what the answer says for the record of one job: its code and message, or a body of plain text."""
        value = self._value()
        if told := ": ".join(filter(None, (_code(value), _message(value)))):
            return fit(told[:_LONGEST_DETAIL])
        plain = media_type(self.headers) == "text/plain" and not self.is_page
        return _one_line(self.body[:_LONGEST_TEXT].decode("utf-8", "replace")) if plain else ""

    def _value(self) -> object:
        try:
            return self.json()
        except Transient:
            return None


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without its parameters, safe to log; `something unnamed` where it says nothing."""
    found = _MEDIA_TYPE.match(httpx.Headers(headers).get("Content-Type", ""))
    return found.group().lower() if found else "something unnamed"


def refusal(answer: Answer, kinds: Mapping[int, type[Permanent]] = MappingProxyType({})) -> RemoteError:
    """Translate an unwelcome status: 408, 429, 5xx → Transient; 401, 403 → AccessDenied; all else → Permanent.

    A redirect is Redirected after a write, and Transient after a read, which follows those that it may. A 5xx other
    than 503 after a write is ambiguous. What the answer says is in `detail`, never in `summary`. `kinds` names the
    statuses that mean something of their own to this remote.
    """
    summary = f"answered {answer.status} {_phrase(answer.status)}".rstrip()
    detail = answer.words or _location(answer)
    if 300 <= answer.status < 400:
        return _redirected(answer, summary, detail)
    if answer.status in (408, 429) or answer.status >= 500:
        return Transient(
            remote=answer.remote,
            operation=answer.operation,
            summary=summary,
            status=answer.status,
            detail=detail,
            retry_after=answer.retry_after,
            ambiguous=answer.changes and answer.failed_midway,
        )
    kind = AccessDenied if answer.status in (401, 403) else kinds.get(answer.status, Permanent)
    return kind(remote=answer.remote, operation=answer.operation, summary=summary, status=answer.status, detail=detail)


def _redirected(answer: Answer, summary: str, detail: str) -> RemoteError:
    origin = _origin(answer)
    kind = Redirected if answer.changes else Transient
    return kind(
        remote=answer.remote,
        operation=answer.operation,
        summary=f"{summary}, which leads to {origin}" if origin else summary,
        status=answer.status,
        detail=detail,
        ambiguous=answer.changes and answer.status in (302, 303),
    )


def parse_date(text: str | None) -> datetime | None:
    """Read an HTTP date; None where there is none or it is malformed."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Read a Retry-After header (seconds, or an HTTP date seen from `now`); None where it is absent or malformed."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return timedelta(seconds=min(int(text.strip()[:9]), 10**8))
    moment = parse_date(text)
    return max(moment - now, timedelta()) if moment else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _location(answer: Answer) -> str:
    location = httpx.Headers(answer.headers).get("Location", "")
    return fit(masked(f"redirects to {location}")[:_LONGEST_DETAIL]) if location and 300 <= answer.status < 400 else ""


def _origin(answer: Answer) -> str:
    """Return where a redirect leads to, without the path, which may contain a secret."""
    try:
        target = httpx.URL(httpx.Headers(answer.headers).get("Location", ""))
    except httpx.InvalidURL:
        return ""
    return f"{target.scheme}://{target.netloc.decode('ascii')}"[:_LONGEST_ORIGIN] if target.host else ""


def _message(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    for key in _MESSAGE_KEYS:
        match value.get(key):
            case str(text) if text.strip():
                return _one_line(text)
            case dict(inner) if text := _message(inner):
                return text
    return ""


def _code(value: object) -> str:
    """Return the code of a refusal, which says more than its text to whoever writes a profile; "" without one."""
    if not isinstance(value, dict):
        return ""
    inner = (value[key] for key in _MESSAGE_KEYS if isinstance(value.get(key), dict))
    codes = (one.get("code") for one in (value, *inner))
    return next((_one_line(code) for code in codes if isinstance(code, str) and code.strip()), "")


def _one_line(text: str) -> str:
    return fit(masked(" ".join(text.split()))[:_LONGEST_DETAIL])
