"""Why something failed, as the parts of the daemon write it down in English, known again so that it can be translated.

What KUMA, an IRP or a database said in its own words is no text of ours: it is a value here, or not known at all. A
test compares these texts with the code that writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

from kuma_sync.core.moments import read_moment
from kuma_sync.core.sentence import N_, Sentence, Value, sentence

_CONNECTION = (
    N_("no connection within %(seconds)ss"),
    N_("the proxy refused the connection"),
    N_("the token holds what no HTTP header can carry"),
    N_("the request cannot be sent: its address or a header (the token?) holds what HTTP does not allow"),
    N_("no answer within %(seconds)ss"),
    N_("no whole answer within %(seconds)ss"),
    N_("the answer's compression is broken"),
    N_("connection broken"),
    N_("the connection ended before the answer did, or it is no HTTP"),
    N_("no TLS is spoken there (http://, or another port?)"),
    N_("TLS handshake failed"),
    N_("TLS handshake failed (%(detail)s)"),
    N_("host name not found"),
    N_("connection refused"),
    N_("no connection"),
    N_("certificate is for another host name"),
    N_("certificate has expired"),
    N_("certificate not trusted"),
    N_("certificate not trusted (set %(key)s)"),
)

_ANSWER = (
    N_("answered %(status)s"),
    N_("answered %(status)s, which leads to %(origin)s"),
    N_("answered %(status)s, which is missing by missing_when"),
    N_("answered %(status)s, which is to be tried again by retry_when"),
    N_("answered %(status)s, which is not in ok_status"),
    N_("answered %(status)s without the incident's id"),
    N_("answered %(status)s without the token"),
    N_("answered %(status)s without a cookie"),
    N_("answered %(status)s: %(reason)s"),
    N_("answered with a page for people"),
    N_("answered with what no HTTP header can carry"),
    N_("answered without a list of items"),
    N_("answered something that is no user"),
    N_("answered broken JSON"),
    N_("answered %(kind)s instead of JSON"),
    N_("answered no JSON array"),
    N_("answered no JSON array, or a broken one"),
    N_("answered a broken JSON array"),
    N_("answer ended early"),
    N_("answer larger than %(count)s MB"),
    N_("was cut off after %(seconds)s s"),
    N_("was cut off at %(count)s MB"),
    N_("refused by ok_when"),
    N_("exists already"),
    N_("found the incident, but without its id"),
    N_("shows nothing of what get.extract names: is a path wrong, or ok_when missing?"),
    N_("the template %(where)s failed"),
    N_("the list of closed incidents %(reason)s"),
    N_("kept moving while it was read %(count)s times"),
    N_("did not end after %(count)s pages"),
    N_("%(reason)s: the incident was changed meanwhile"),
    N_("the login %(reason)s"),
)

_KUMA = (
    N_(
        "answered a JSON object: is this Kaspersky XDR (OSMP)? kuma-sync speaks KUMA's own API, which answers alerts "
        "as an array"
    ),
    N_(
        "this is Kaspersky XDR (OSMP), whose alerts are another API: kuma-sync reads KUMA's own REST API, by default "
        "at port 7223 of KUMA's Core"
    ),
    N_('it serves only v3, as KUMA 4.x does: set kuma.api_version = "v3"'),
    N_("%(reason)s (is the token whole?)"),
    N_("%(reason)s: is kuma.url right?"),
    N_("%(reason)s: is kuma.url right? KUMA 4.x serves only v3 (kuma.api_version)"),
    N_("not valid JSON"),
    N_("not an object"),
    N_("no usable id"),
    N_("%(reason)s; not kept, for [privacy] cannot be applied to it"),
    N_("too large even without events: %(count)s bytes"),
    N_("too many values even without events: %(count)s bytes"),
    N_("the %(kind)s read did not end: %(end)s"),
    N_("another copy of the daemon reads"),
)

_GATE = (
    N_("it asked to wait"),
    N_("token refused (%(reason)s)"),
    N_("not allowed (%(reason)s), though the token is accepted"),
    N_("out of service: %(reason)s"),
    N_("%(reason)s, though others pass"),
    N_("%(reason)s: is the address right, and what stands in front of it?"),
    N_("%(reason)s: is the profile's path right?"),
    N_("%(reason)s at %(address)s: is the profile's path right?"),
    N_("close at %(address)s %(reason)s"),
    N_("the incident was found, but %(reason)s"),
    N_("find does not show what create made: %(reason)s"),
    N_(
        "does the profile's create carry the key in a field that the IRP keeps, and does its find search and extract "
        "it?"
    ),
    N_("whether find shows what create made is being looked at"),
    N_("%(part)s is not asked: %(reason)s"),
    N_("%(part)s is not asked before %(time)s: %(reason)s"),
)

_WORK = (
    N_("more new at once than brake.max_new allows"),
    N_("more closed at once than brake.max_closed_percent allows"),
    N_("no route"),
    N_("put off: the alert changes often"),
    N_("not found yet"),
    N_("closed without a resolution yet"),
    N_("incident deleted"),
    N_("the IRP says it exists already"),
    N_("the IRP says it exists already, but does not show it"),
    N_("the IRP says it exists already, and the profile cannot find it"),
    N_("created without an id, and not found"),
    N_("a create may have happened, and the profile cannot find it"),
    N_("closing towards KUMA is switched off (close.to_kuma)"),
    N_("the resolution %(resolution)s has no reason for KUMA (close.reasons)"),
    N_("a bug in kuma-sync: %(error)s"),
    N_("%(count)s wait, and %(target)s is not configured"),
    N_("another copy does it"),
    N_("no success for %(seconds)s s"),
    N_("nothing done for %(seconds)s s, though work waits"),
    N_("the store has not taken a result for %(seconds)s s"),
    N_("nobody asked for alerts for %(seconds)s s, or took no whole answer (expect_every); nobody ever did"),
    N_(
        "nobody asked for alerts for %(seconds)s s, or took no whole answer (expect_every); the last time was %(time)s "
        "UTC"
    ),
    N_("the alert goes to the target %(target)s, which is not configured"),
    N_("%(profile)s sends nothing: this IRP polls us, and cannot be asked"),
    N_("%(profile)s sends nothing: this IRP polls us"),
    N_("a look at the incident needs [get], or [find], in the profile"),
)

_HISTORY = (
    N_("incorrect data"),
    N_("incorrect correlation rule"),
    N_("responded"),
    N_("%(reason)s; not for KUMA"),
    N_("%(reason)s; held by the brake"),
    N_("%(reason)s; it was closed already"),
    N_("%(reason)s; it may have been written"),
    N_("no reason for the resolution %(resolution)s"),
    N_("ordered by %(by)s as well"),
    N_("dropped before, taken up again"),
    N_("its incident in %(target)s is closed"),
    N_("from %(target)s to %(other)s"),
    N_("from %(target)s to no target"),
    N_("from %(target)s to %(other)s; incident %(incident)s stays there"),
    N_("from %(target)s to no target; incident %(incident)s stays there"),
    N_("the incident is open again"),
    N_("the IRP no longer has it"),
)

_STORE = (
    N_("the store is out of reach: %(reason)s"),
    N_("it did not answer in time"),
    N_("its file was moved or deleted; put it back, or restart to begin a new one"),
    N_("its file cannot be seen: %(detail)s"),
    N_("disk is full"),
    N_("the server takes no writes: it is a standby, or read only"),
    N_("the password is refused"),
    N_("the server asks for a password, and none is given"),
    N_("the database does not exist"),
    N_("the role does not exist"),
    N_("the server's pg_hba.conf does not let us in"),
    N_("too many connections"),
    N_("the server is starting or stopping"),
    N_("the server closed the connection"),
    N_("there is no such socket"),
    N_("the host is unknown"),
    N_("timed out"),
    N_("the store was replaced: its tables are not in this database any more"),
    N_("the database takes no such value: %(detail)s"),
)

_PROVIDER = (
    N_("it refused: %(detail)s"),
    N_("it calls itself something else than web.console.oidc.issuer"),
    N_("another provider sent this answer"),
    N_("its ID token cannot be believed"),
    N_("it sent no ID token"),
)

CONFIGURATION = (
    N_("%(reason)s (%(count)s more: `kuma-sync config check` lists them)"),
    N_("%(reason)s (set by %(variable)s)"),
    N_("is not a known key"),
    N_("%(reason)s, did you mean %(key)s?"),
    N_("is required"),
    N_("is required (or %(key)s)"),
    N_("is required, because %(key)s is set"),
    N_("is given twice, here and as %(key)s; keep one"),
    N_("is not valid"),
    N_("expected text, in quotes"),
    N_("expected a whole number"),
    N_("expected a smaller whole number"),
    N_("expected a number"),
    N_("expected true or false"),
    N_("expected a list"),
    N_("expected a table"),
    N_("expected at least one entry"),
    N_("expected a list of tables, each written [[route]] in two brackets"),
    N_("must not be empty"),
    N_("must be at least %(number)s"),
    N_("must be at most %(number)s"),
    N_("must be longer than zero"),
    N_("must be more than zero"),
    N_("must not be shorter than retry.base"),
    N_("%(value)s is not known, expected one of %(choices)s"),
    N_('expected a duration such as "500ms", "30s", "10m", "2h" or "90d", or a number of seconds'),
    N_('expected a size such as "512KB" or "32MB", or a number of bytes'),
    N_('expected a time with its offset, such as "2026-01-31T00:00:00Z"'),
    N_("expected an address that begins with https:// or http://"),
    N_("expected an address without ? and #"),
    N_("must not hold a user or a password; they have keys of their own"),
    N_('expected "host:port" such as "127.0.0.1:8484", or "" for no HTTP door'),
    N_("expected the path of a file"),
    N_("there is no such file"),
    N_("there is no such file: %(path)s"),
    N_("the file cannot be read (%(detail)s)"),
    N_("the file cannot be read (%(detail)s): %(path)s"),
    N_("the file cannot be read by this user (uid %(count)s): %(path)s"),
    N_("the file is empty: %(path)s"),
    N_("there is no target %(name)s"),
    N_('there is no built-in profile "%(name)s"'),
    N_('did you mean "%(name)s"?'),
    N_("is not valid TOML at line %(line)s, column %(column)s"),
    N_("is not valid TOML at line %(line)s, column %(column)s: %(reason)s"),
    N_("the closing quotation mark is missing"),
    N_("the value is missing"),
    N_("text is written in quotation marks"),
    N_("cannot change while the daemon runs; restart it"),
    N_("the store belongs to %(theirs)s, not %(ours)s"),
    N_(
        "the certificate or its key cannot be used; expected PEM, with the key that fits and is not encrypted in "
        "web.key_file, else in the same file: %(detail)s"
    ),
)
"""What may be wrong with a configuration. These words are known there alone: an IRP, too, says `title is required`."""

KNOWN = (*_CONNECTION, *_ANSWER, *_KUMA, *_GATE, *_WORK, *_HISTORY, *_STORE, *_PROVIDER)
"""The texts; what stands at `%(reason)s` is such a text itself."""

_PLACE = re.compile(r"%\((\w+)\)s")
_FORMS = {"seconds": r"[\d.]+", "count": r"\d+", "status": r"\d{3}(?: [A-Z][\w' -]*)?", "address": r"\S+"}
_PAUSED = re.compile(r"an operator paused (?P<part>\S+) until (?P<until>.+)")
"""How the parts say that somebody paused them (core/maintenance)."""

_WHO = re.compile(r"[a-z][\w.:]*")
_KEY = re.compile(r"""(?P<who>[\w./\\\[\]"-]+): (?P<reason>.+)""", re.DOTALL)
"""A key, or the name of a file, and what is wrong there."""

_DEEPEST = 8
"""How many reasons may stand within each other: text from elsewhere must not cost more."""


@lru_cache(maxsize=2048)
def recognised(text: str, depth: int = 0) -> Sentence | None:
    """Return a reason as a sentence that can be translated; None where nothing of it is known."""
    if depth > _DEEPEST:
        return None
    return next((said for said in _readings(text, depth + 1) if said is not None), None)


@lru_cache(maxsize=256)
def refusal(text: str, depth: int = 0) -> Sentence | None:
    """Return why a configuration was refused as a sentence to be translated; None where nothing of it is known."""
    if depth > _DEEPEST:
        return None
    for template, pattern in _patterns(CONFIGURATION):
        if found := pattern.fullmatch(text):
            return _filled(template, found, lambda inner: refusal(inner, depth + 1))
    if (found := _KEY.fullmatch(text)) and (why := refusal(found["reason"], depth + 1)):
        return sentence("%(who)s: %(reason)s", who=found["who"], reason=why)
    first, _, rest = text.partition("; ")
    parts = (refusal(first, depth + 1), refusal(rest, depth + 1)) if rest else (None, None)
    return recognised(text) if parts == (None, None) else _both(parts, first, rest)


def _filled(template: str, found: re.Match[str], inner: Callable[[str], Sentence | None]) -> Sentence:
    values: dict[str, Value] = {**found.groupdict()}
    if "reason" in values:
        values["reason"] = inner(found["reason"]) or found["reason"]
    return sentence(template, **values)


def _readings(text: str, depth: int) -> Iterator[Sentence | None]:
    yield _paused(text)
    for template, pattern in _patterns(KNOWN):
        if found := pattern.fullmatch(text):
            yield _filled(template, found, lambda inner: recognised(inner, depth))
    yield _after_a_name(text, depth)
    yield _one_by_one(text, depth)


def _after_a_name(text: str, depth: int) -> Sentence | None:
    """Read `kuma alerts: no connection` and `create answered 404`."""
    words = text.split(" ", 2)
    for length in range(len(words) - 1, 0, -1):
        who, rest = words[:length], text.split(" ", length)[length]
        known = recognised(rest, depth) if all(_WHO.fullmatch(word) for word in who) else None
        if known is not None and who[-1].endswith(":"):
            return sentence("%(who)s: %(reason)s", who=" ".join(who)[:-1], reason=known)
        if known is not None:
            return sentence("%(who)s %(reason)s", who=" ".join(who), reason=known)
    return None


def _one_by_one(text: str, depth: int) -> Sentence | None:
    """Read several reasons, of which some are known."""
    first, _, rest = text.partition("; ")
    parts = (recognised(first, depth), recognised(rest, depth)) if rest else (None, None)
    return None if parts == (None, None) else _both(parts, first, rest)


def _both(parts: tuple[Sentence | None, Sentence | None], first: str, rest: str) -> Sentence:
    return sentence("%(reason)s; %(other)s", reason=parts[0] or first, other=parts[1] or rest)


def _paused(text: str) -> Sentence | None:
    found = _PAUSED.fullmatch(text)
    if found is None:
        return None
    until = read_moment(found["until"])
    if until is None:
        return sentence("an operator paused %(part)s until it is resumed", part=found["part"])
    return sentence("an operator paused %(part)s until %(until)s", part=found["part"], until=until)


@cache
def _patterns(texts: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the texts with what matches them, those with the most words of their own first."""
    ordered = sorted(texts, key=lambda text: -len(_PLACE.sub("", text)))
    return tuple((text, re.compile(_pattern_of(text), re.DOTALL)) for text in ordered)


def _pattern_of(text: str) -> str:
    pieces = _PLACE.split(text)
    names = [f"(?P<{name}>{_FORMS.get(name, '.+?')})" for name in pieces[1::2]]
    return "".join(re.escape(words) + name for words, name in zip(pieces[::2], [*names, ""], strict=True))
