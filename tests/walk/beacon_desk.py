"""Beacon Desk 3, a product that does not exist, as its page for administrators has it, on a real socket.

What that page does not name (a field, a parameter, a value) is refused. Everything asked is kept in `calls`; a busy
desk, lost answers and the like are rules of `faults`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.faults import Faults, Rule
from kuma_sync.sim.front import Front, SimRequest
from kuma_sync.sim.values import Clock, Json, moment, utc_now, whole_second

FORM = "application/x-www-form-urlencoded"
COOKIE = "BDSESSION"
VERDICTS = ("real", "false-alarm", "rule-error")
STATES = ("open", "work", "done")
FIELDS = ("ref", "title", "text", "level", "tag", "link")
LONGEST = {"ref": 120, "title": 200, "note": 200_000}
"""Characters."""

ROWS = 50
SESSION = timedelta(minutes=30)

Fields = dict[str, list[str]]


class Fault(Exception):
    """A refusal by its code; `BAD_VALUE` and `NOT_A_FORM` are for what the page does not foresee."""

    def __init__(self, code: str, text: str = "", *, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.told = {"code": code, **({"text": text} if text else {})}
        self.status = status

    def answer(self) -> Response:
        """Return it in the envelope."""
        return JSONResponse({"ok": False, "fault": self.told}, status_code=self.status)


@dataclass(slots=True, kw_only=True)
class Knobs:
    """What the page leaves to the installation."""

    session_calls: int = 0
    """Calls after which a session has ended; 0 = only by time."""
    index_lag: float = 0.0
    """Seconds until a new case is found, while the index is rebuilt: 3 at most."""
    clock_skew: float = 0.0
    """Seconds added to the clock in the Date header."""
    date: str = ""
    """The Date header: "" is the clock, "absent" leaves it out."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call that reached the desk: what it sent, and how it was answered. `fault` is "" where it was carried out."""

    method: str
    path: str
    fields: Fields = field(default_factory=dict)
    status: int = 0
    fault: str = ""


@dataclass(slots=True, kw_only=True)
class Case:
    """One case."""

    no: str
    ref: str
    made: datetime
    changed: datetime
    fields: Fields = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    state: str = "open"
    verdict: str = ""
    remark: str = ""

    def one(self, name: str) -> str:
        """Return a field that is there once; "" where it was never sent."""
        return self.fields.get(name, [""])[0]

    def says(self, text: str) -> int:
        """Count how often its text and notes hold this."""
        return sum(whole.count(text) for whole in (self.one("text"), *self.notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    request: Request
    fields: Fields

    def only(self, *known: str, repeated: str = "") -> None:
        for name, values in self.fields.items():
            if name not in known or (len(values) > 1 and name != repeated):
                raise Fault("BAD_VALUE", f"{name} is unknown, or is there twice")
            if len(values[0]) > LONGEST.get(name, 10**9):
                raise Fault("BAD_VALUE", f"{name} is too long")

    def one(self, name: str, *choice: str, required: bool = False) -> str:
        value = self.fields.get(name, [""])[0]
        if not value and required:
            raise Fault("BAD_VALUE", f"{name} is missing")
        if choice and name in self.fields and value not in choice:
            raise Fault("BAD_VALUE", f"{name} cannot be {value!r}")
        return value


class BeaconDesk:
    """Hold cases, serve `app`, let tests play its analysts."""

    def __init__(self, *, user: str = "kuma-sync", secret: str = "beacon-secret", clock: Clock = utc_now) -> None:
        self.user = user
        self.token = secret
        self.clock = clock
        self.knobs = Knobs()
        self.faults = Faults()
        self.requests: list[SimRequest] = []
        self.shown: set[str] = set()
        self.calls: list[Call] = []
        self.cases: dict[str, Case] = {}
        self.logins = 0
        self.numbers = 0
        self._left: dict[str, tuple[int, datetime]] = {}
        self.app: ASGIApp = Front(self, self._routed())

    # What a test does

    def busy(self, **conditions: Any) -> Rule:
        """Answer BUSY, doing nothing, to the calls of these conditions (`match method times every`)."""
        body: Json = {"ok": False, "fault": {"code": "BUSY"}}
        return self.faults.add("status", code=200, body=body, **conditions)

    def done(self, ref: str, verdict: str, remark: str = "looked at") -> None:
        """Close the case of a reference, as an analyst does."""
        self._move(self.case(ref), "done", verdict, remark)

    def delete(self, ref: str) -> None:
        """Delete the case of a reference: NO_SUCH_CASE from now on, and its number is not given again."""
        del self.cases[self.case(ref).no]

    def end_sessions(self) -> None:
        """End all sessions now."""
        self._left.clear()

    def case(self, ref: str) -> Case:
        """Return the case of a reference."""
        return next(case for case in self.cases.values() if case.ref == ref)

    def refused(self) -> list[Call]:
        """Return the calls that no caller who knows the page makes."""
        return [call for call in self.calls if call.fault in ("NOT_A_FORM", "BAD_VALUE") or call.status in (404, 405)]

    def faulted(self, code: str) -> list[Call]:
        """Return the calls that were answered with this fault."""
        return [call for call in self.calls if call.fault == code]

    def made(self) -> int:
        """Count the calls that made a case."""
        return sum(call.status == 201 for call in self.calls)

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what can be done to it by hand."""
        return {call.__name__: call for call in (self.done, self.busy, self.delete, self.end_sessions)}

    def state(self) -> Json:
        """Count what it holds."""
        return {"cases": len(self.cases), "logins": self.logins}

    # What a caller does

    def sign_in(self, asked: _Asked) -> Response:
        """Open a session."""
        asked.only("user", "secret")
        if (asked.one("user"), asked.one("secret")) != (self.user, self.token):
            raise Fault("DENIED", status=403)
        self.logins += 1
        session = f"beacon-session-{self.logins}"
        self._left[session] = (self.knobs.session_calls or 10**9, self.clock() + SESSION)
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, session, httponly=True)
        return answer

    def ping(self, asked: _Asked) -> Response:
        """Tell that the session is valid."""
        asked.only()
        return _result("pong")

    def write(self, asked: _Asked) -> Response:
        """Make a case or change it."""
        asked.only(*FIELDS, repeated="tag")
        asked.one("level", "1", "2", "3", "4")
        ref, now = asked.one("ref", required=True), self.clock()
        case = next((case for case in self.cases.values() if case.ref == ref), None)
        new = case is None
        if case is None:
            self.numbers += 1
            no = f"C-{self.numbers:06d}"
            case = self.cases[no] = Case(no=no, ref=ref, made=now, changed=now)
        if case.state == "done":
            raise Fault("CASE_IS_DONE")
        case.fields.update(asked.fields)
        case.changed = now
        return _result(None, status=201 if new else 200, headers={"Location": f"/case/{case.no}"})

    def note(self, asked: _Asked) -> Response:
        """Add a note; the page does not say that a case which is done takes none."""
        case = self._known(asked)
        asked.only("note")
        case.notes.append(asked.one("note", required=True))
        case.changed = self.clock()
        return _result(None)

    def transition(self, asked: _Asked) -> Response:
        """Move a case."""
        case = self._known(asked)
        asked.only("to", "verdict", "remark")
        to = asked.one("to", "work", "done", required=True)
        verdict = asked.one("verdict", *VERDICTS, required=to == "done")
        remark = asked.one("remark", required=to == "done")
        if case.state == "done":
            raise Fault("ALREADY_DONE")
        self._move(case, to, verdict, remark)
        return _result(None)

    def listed(self, asked: _Asked) -> Response:
        """List cases."""
        asked.only("ref", "state", "changed_after", "page")
        page, after = asked.one("page") or "1", asked.one("changed_after")
        since = moment(after) if after else None
        if not (page.isascii() and page.isdigit() and int(page) > 0) or (after and since is None):
            raise Fault("BAD_VALUE", "page is a number from 1, changed_after is RFC 3339")
        state, ref = asked.one("state", *STATES), asked.one("ref")
        rows = [
            _row(case)
            for case in self._indexed()
            if (not ref or case.ref == ref)
            and (not state or case.state == state)
            and (since is None or case.changed.replace(microsecond=0) > since)
        ]
        start = (int(page) - 1) * ROWS
        return _result({"rows": rows[start : start + ROWS]})

    # How it does it

    def _routed(self) -> ASGIApp:
        routes = [
            Route("/session", self._guarded(self.sign_in, session=False), methods=["POST"]),
            Route("/ping", self._guarded(self.ping), methods=["GET"]),
            Route("/case", self._guarded(self.write), methods=["POST"]),
            Route("/case/{no}/note", self._guarded(self.note), methods=["POST"]),
            Route("/case/{no}/transition", self._guarded(self.transition), methods=["POST"]),
            Route("/cases", self._guarded(self.listed), methods=["GET"]),
            Route("/{rest:path}", self._guarded(_nowhere), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False
        return app

    def _guarded(
        self, handle: Callable[[_Asked], Response], *, session: bool = True
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            call = Call(method=request.method, path=request.url.path)
            self.calls.append(call)
            try:
                call.fields = _fields(request, raw)
                if session:
                    self._let_in(request)
                answer = handle(_Asked(request=request, fields=call.fields))
            except Fault as fault:
                call.fault, answer = fault.code, fault.answer()
            call.status = answer.status_code
            return answer

        return endpoint

    def _let_in(self, request: Request) -> None:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
        session = morsel.value if morsel else ""
        left, ends = self._left.get(session, (0, self.clock()))
        if left <= 0 or ends <= self.clock():
            raise Fault("NO_SESSION", status=401)
        self._left[session] = (left - 1, ends)

    def _known(self, asked: _Asked) -> Case:
        case = self.cases.get(asked.request.path_params["no"])
        if case is None:
            raise Fault("NO_SUCH_CASE")
        return case

    def _move(self, case: Case, to: str, verdict: str, remark: str) -> None:
        case.state, case.verdict, case.remark = to, verdict, remark
        case.changed = self.clock()

    def _indexed(self) -> Iterator[Case]:
        born_before = self.clock() - timedelta(seconds=self.knobs.index_lag)
        return (case for case in self.cases.values() if case.made <= born_before)


def _fields(request: Request, raw: bytes) -> Fields:
    """Read the query of a GET, the form of all else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and kind != FORM:
        raise Fault("NOT_A_FORM", status=415)
    text = request.url.query if request.method == "GET" else raw.decode("utf-8", "replace")
    found: Fields = {}
    try:
        for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict"):
            found.setdefault(name, []).append(value)
    except ValueError:
        raise Fault("BAD_VALUE", "this is no form in UTF-8") from None
    return found


def _result(result: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps({"ok": True, "result": result}), status_code=status, headers=headers, media_type="application/json"
    )


def _row(case: Case) -> Json:
    return {
        "no": case.no,
        "ref": case.ref,
        "state": case.state,
        "verdict": case.verdict or None,
        "changed": whole_second(case.changed),
        "web": f"/ui/case/{case.no}",
    }


def _nowhere(_asked: _Asked) -> Response:
    raise Fault("NO_SUCH_ADDRESS", status=404)
