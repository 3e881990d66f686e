"""The knobs of the simulators: mutable dataclasses, one field for each deviation from the documented behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True, kw_only=True)
class KumaKnobs:
    """Deviations of KUMA; every default is the documented behaviour."""

    page_size: int = 250
    """Alerts a page; KUMA's own number is 250."""
    hidden: set[str] = field(default_factory=set)
    """Ids of alerts that are left out after a page was cut: a page of 250 then holds 249."""
    only_v3: bool = False
    """KUMA 4.x: v1, v2 and v2.1 answer 404."""
    slash_redirect: Literal["", "add", "drop"] = ""
    """Redirect `alerts` to `alerts/` ("add") or the other way ("drop"); "" serves both forms."""
    redirect_status: int = 307
    """Status of that redirect: 301 or 307."""
    expired: bool = False
    """The token is refused as if it had run out or its owner were disabled."""
    denied_status: int = 403
    """Status of `access denied`; 401 is a variant nobody documented."""
    denied_operations: set[str] = field(default_factory=set)
    """Operations the token's owner may not call: `GET /alerts`, `POST /alerts/close`, `GET /users/whoami`."""
    tenants: list[str] | None = None
    """Tenant ids the token sees; the others' alerts are silently left out. None = all."""
    disabled_tenants: set[str] = field(default_factory=set)
    """Tenant ids whose alerts cannot be closed: 406 `tenant disabled`."""
    correlator_down: bool = False
    """A close that would work answers 500 `correlator API request failed`."""
    any_case_reason: bool = False
    """Accept `Responded` for `responded`."""
    any_id_spelling: bool = False
    """Close an alert whose id comes in capitals, without hyphens or in braces, as Go's library reads UUIDs."""
    past_end_null: bool = False
    """An empty page is `null` instead of `[]`."""
    clamp_page: bool = False
    """Ignore `page`: always the first page."""
    after_page: Callable[[int], None] | None = None
    """Called with the page number after a listing's page was cut out and before its last byte goes (not for `id=`)."""
    without_events: Literal["[]", "null", "absent"] = "[]"
    """What `events` is without `withEvents`."""
    flat_events: bool = False
    """Base events stand side by side with their correlation event instead of inside its `BaseEvents`."""
    rfc3339_event_time: bool = False
    """Events carry RFC 3339 text in `Timestamp` instead of epoch milliseconds."""
    numeric_priority: bool = False
    """`priority` is a number on the internal 1–16 scale."""
    fraction_seconds: bool = False
    """firstSeen and lastSeen carry milliseconds."""
    fqdn_array: bool = False
    """An asset's `fqdn` is a list (v2.2 and later)."""
    strays: list[Any] = field(default_factory=list)
    """JSON values put at the head of every first page of a listing as they are: null, numbers, alerts without id."""
    html_escape: bool = False
    """Write < > & as \\u003c \\u003e \\u0026, as Go's encoder does."""
    gzip: bool = False
    """Compress listings for clients that accept it."""
    piece: int = 0
    """Stream listings in pieces of so many bytes, cutting through characters; 0 = one chunk an alert."""
    content_type: str = "application/json"
    """Content-Type of listings."""
    clock_skew: float = 0.0
    """Seconds added to the clock in the Date header."""
    date: str = ""
    """The Date header: "" is the clock, "absent" leaves it out, anything else is sent as it is."""


@dataclass(slots=True, kw_only=True)
class IrpKnobs:
    """Deviations of the IRP from its polite default behaviour."""

    unique_key: bool = False
    """409 on a create whose externalId exists. Off by default, so that doubling is seen."""
    find_lag: float = 0.0
    """Seconds before a created incident is found by externalId (read-after-write lag)."""
    max_body: int = 0
    """Bytes of a request body above which 413 is answered; 0 = no limit."""
    ignore_filters: bool = False
    """The list ignores `status` and `updatedSince` and shows everything (still limit and offset)."""
    ignore_external_id: bool = False
    """Find ignores `externalId` and shows everything."""
    drop_key: bool = False
    """A create's externalId is dropped silently, as servers drop fields they do not know: it is found by nothing."""
    no_id: bool = False
    """A create works but answers 201 `{}`."""
    latency: float = 0.0
    """Seconds before every request takes effect."""
    reject_titles: str = ""
    """Regular expression; a create whose title it finds answers 422."""
    denied_status: int = 401
    """Status of a missing or wrong token: 401 or 403."""
    token_header: str = ""
    """Expect the bare token in this header (X-Token) instead of `Authorization: Bearer`."""
    clock_skew: float = 0.0
    """Seconds added to the clock in the Date header."""
    date: str = ""
    """The Date header: "" is the clock, "absent" leaves it out, anything else is sent as it is."""
    key_case: Literal["", "upper", "lower"] = ""
    """Keys are shown in this case, and compared without case then."""
    key_padding: str = ""
    """Text after every shown key, like the blanks of a column of fixed width."""
    id_case: Literal["", "upper"] = ""
    """Lists and find show ids in this case; they are compared without case then."""
    updated_form: Literal[
        "", "seconds", "seconds_text", "milliseconds", "milliseconds_text", "naive", "points", "slashes"
    ] = ""
    """How `updatedAt` is written; "" is RFC 3339."""
    updated_shift: float = 0.0
    """Seconds added to the shown `updatedAt`: a local time without its zone."""
    largest_page: int = 0
    """No page of the list is longer, whatever `limit` says; 0 = no such limit."""
    hidden: set[str] = field(default_factory=set)
    """Ids of incidents left out of a page of the list after it was cut."""
    past_end: int = 0
    """Status of a page after the end of the list; 0 = an empty page."""
    after_page: Callable[[int], None] | None = None
    """Called with the offset after a page of the list was cut out."""
    after_show: Callable[[str], None] | None = None
    """Called with the id after an incident was shown by itself."""
    reopened_between_pages: list[str] = field(default_factory=list)
    """Ids of incidents that are reopened, one after each page of the list."""
    joining: int = 0
    """Others' incidents, closed a while ago, that join the list of closed ones after each page of it."""
    login: Literal["", "token", "cookie"] = ""
    """`POST /login` with username and password (the simulator's token) opens a session, as a token or a cookie."""
    username: str = "kuma-sync"
    """The username that may log in."""
    session_requests: int = 0
    """Requests after which a session has ended; 0 = never."""
    session_seconds: int = 0
    """What a login tells as `expires_in`; 0 = nothing."""
    dictionaries: dict[str, list[str]] = field(default_factory=dict)
    """For a field, the values it may have; another one is refused."""
    transitions: dict[str, list[str]] = field(default_factory=dict)
    """For a status, those that may follow; another one is refused. A status without an entry may become anything."""
    upsert: bool = False
    """A create whose externalId exists changes that incident and answers 200."""
    id_in_location: bool = False
    """A create answers without a body: the id is in the header Location alone."""
    create_status: int = 201
    """Status of a create that worked; 204 has no body."""
    envelope: bool = False
    """Every answer is 200 with `success` and `data`, or `code` and `error`; only who asks is refused with a status."""
    duplicate_status: int = 400
    """TheHive: status of a create whose type, source and sourceRef exist; 409 is what its maintainers want."""
