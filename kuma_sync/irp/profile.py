"""A profile as data: how one IRP is spoken to. The models mirror the TOML file, section by section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from kuma_sync.settings.expressions import Expression
from kuma_sync.settings.types import duration

Scalar = str | int | float | bool

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _plain_path(path: str) -> str:
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError('must start with one "/", as in "/api/v1/incidents"')
    outside = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", "", path, flags=re.DOTALL)
    if re.search(r"[?#\s]", outside):
        raise ValueError('must hold no "?", "#" or space; parameters belong into query')
    return path


_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "host", "expect", "te", "upgrade"})


def _header_problem(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        return "is no name of a header"
    if name.lower() in _FRAMING:
        return "is a header that says how a request is cut; it is made while sending"
    return ""


def _header_name(name: str) -> str:
    if problem := _header_problem(name):
        raise ValueError(problem)
    return name


HeaderName = Annotated[str, AfterValidator(_header_name)]


class Strict(BaseModel):
    """What every part of a profile has in common: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, populate_by_name=True
    )


class Heading(Strict):
    """`[profile]`: its name, which side asks, and whether it was proven against the real product.

    With `audit_comments` what we did to an incident is sent there as a comment.
    """

    name: str = Field(min_length=1)
    mode: Literal["push", "pull"] = "push"
    verified: bool = False
    description: str = ""
    audit_comments: bool = False


def _regular(pattern: str) -> str:
    try:
        groups = Expression(pattern).groups
    except ValueError as error:
        raise ValueError(f"is no RE2 expression: {error}") from None
    if not groups:
        raise ValueError('needs a group, in (), around what counts, as in "/incidents/([^/]+)$"')
    return pattern


class Picked(Strict):
    """A place in an answer: a JMESPath, or a header; of the text there, the first group of `pattern`."""

    path: str = ""
    header: HeaderName | None = None
    pattern: Annotated[str, AfterValidator(_regular)] = ""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.path) == bool(self.header):
            raise ValueError("expected either path, a JMESPath, or header, the name of one")
        return self


def _place(value: Any) -> Any:
    if isinstance(value, dict):
        return Picked.model_validate(value)
    if not isinstance(value, str | Picked):
        raise ValueError("expected a JMESPath, in quotes, or a table with path or header, and pattern")  # noqa: TRY004  # pydantic takes ValueErrors only
    return value


Place = Annotated[str | Picked, BeforeValidator(_place)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


class AnswerWhen(Strict):
    """Which answers are meant: those with one of these statuses, for which the JMESPath `when` holds."""

    status: Annotated[list[Annotated[int, Field(ge=200, le=599)]], BeforeValidator(_listed), Field(min_length=1)]
    when: str = ""


def _condition(value: Any) -> Any:
    if isinstance(value, dict):
        return AnswerWhen.model_validate(value)
    if not isinstance(value, str | AnswerWhen):
        raise ValueError("expected a JMESPath, in quotes, or a table with status, and when")  # noqa: TRY004  # pydantic takes ValueErrors only
    return value


Condition = Annotated[str | AnswerWhen, BeforeValidator(_condition)]


class DuplicateWhen(AnswerWhen):
    """How an answer to a create says that the incident exists already."""

    @model_validator(mode="after")
    def _no_success(self) -> Self:
        good = next((status for status in self.status if status < 400), None)
        if good is not None and not self.when:
            raise ValueError(f"status = {good} alone is no refusal: say with `when` which answers are meant")
        return self


class Extract(Strict):
    """Places in an answer; beside `items`, everything is relative to each of them."""

    items: str = ""
    id: Place = ""
    key: Place = ""
    number: Place = ""
    status: Place = ""
    resolution: Place = ""
    url: Place = ""
    updated: Place = ""


class GetExtract(Extract):
    """What `get` reads: `fields` to compare, by the name that each has in the body; all else as it is named."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Place] = Field(init=False)

    fields: dict[str, Place] = {}

    @property
    def free(self) -> Mapping[str, str | Picked]:
        """Return the further values, by name."""
        named = {name: getattr(self, name) for name in Extract.model_fields}
        return {name: place for name, place in {**named, **(self.__pydantic_extra__ or {})}.items() if place}


def _body(value: Any) -> Any:
    if not isinstance(value, dict | str):
        raise ValueError('expected a table (with encoding = "text", one template)')  # noqa: TRY004  # pydantic takes ValueErrors only
    return value


class Exchange(Strict):
    """One request and its answer: the request's parts are templates, the answer is judged by the rest."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, AfterValidator(_plain_path)]
    query: dict[str, Any] = {}
    headers: dict[HeaderName, str] = {}
    encoding: Literal["json", "form", "multipart", "text"] = "json"
    ok_status: list[Annotated[int, Field(ge=200, le=599)]] = Field(default=[200, 201, 202, 204], min_length=1)
    ok_when: str = ""
    retry_when: Condition = ""
    body: Annotated[dict[str, Any] | str | None, BeforeValidator(_body)] = None

    @model_validator(mode="after")
    def _encodable(self) -> Self:
        if isinstance(self.body, str) != (self.encoding == "text") and self.body is not None:
            kind = "one template, in quotes" if self.encoding == "text" else "a table"
            raise ValueError(f'encoding = "{self.encoding}" needs a body that is {kind}')
        return self


class LoginExtract(Strict):
    """What a login answers: its token, and how many seconds it lasts."""

    token: Place = ""
    expires_in: Place = ""


class Login(Exchange):
    """`[auth.login]`: the request that opens a session."""

    extract: LoginExtract = LoginExtract()


class Auth(Strict):
    """`[auth]`: how a request proves who sends it.

    `name` is that of the header or the parameter; `prefix` stands before the token in a header. With `cookie` the
    cookies that a login set are what counts, else its token, in `header`.
    """

    kind: Literal["none", "bearer", "header", "basic", "query", "login"] = "bearer"
    name: Annotated[str, Field(min_length=1)] | None = None
    prefix: str | None = None
    cookie: bool = False
    header: HeaderName | None = None
    login: Login | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for key, kinds in _OF_KIND.items():
            if key in self.model_fields_set and self.kind not in kinds:
                wanted = " or ".join(f'"{kind}"' for kind in kinds)
                raise ValueError(f"{key} belongs to kind = {wanted}, and only there")
        if self.kind in _OF_KIND["name"] and self.name is None:
            raise ValueError(f'kind = "{self.kind}" needs name, that of the {_NAMED[self.kind]}')
        if self.kind == "header" and (problem := _header_problem(self.name or "")):
            raise ValueError(f"name {problem}")
        if not f"x{self.prefix or ''}".isascii() or not (self.prefix or "").isprintable():
            raise ValueError("prefix may hold printable ASCII only")
        return self

    @model_validator(mode="after")
    def _logs_in(self) -> Self:
        if self.kind != "login":
            return self
        if self.login is None:
            raise ValueError('kind = "login" needs the section [auth.login]')
        if self.cookie and (self.header or self.prefix is not None or self.login.extract.token):
            raise ValueError("with cookie = true the cookies count: take out header, prefix and login.extract.token")
        if not (self.cookie or self.login.extract.token):
            raise ValueError("a login must give something: login.extract.token, or cookie = true")
        return self


_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "name": ("header", "query"),
    "prefix": ("header", "login"),
    "cookie": ("login",),
    "header": ("login",),
    "login": ("login",),
}
_NAMED = {"header": "header", "query": "parameter"}


class Operation(Exchange):
    """One of the requests that the synchronization is made of."""

    missing_when: Condition = ""
    extract: Extract = Extract()


class CreateOperation(Operation):
    """`[create]`, the only operation that must be there."""

    duplicate_when: DuplicateWhen | None = None


class UpdateOperation(Operation):
    """`[update]`: sends the top-level fields that changed, or all of them.

    Fields of `once` are sent by create alone; those of `until_edited` until somebody edited them in the IRP.
    """

    fields: Literal["changed", "all"] = "changed"
    once: list[str] = []
    until_edited: list[str] = []


class AddEventsOperation(Operation):
    """`[add_events]`: `batch` is the largest number of events in one request, of create and update too."""

    batch: int = Field(default=500, ge=1)


class GetOperation(Operation):
    """`[get]`: what an incident holds now."""

    extract: GetExtract = GetExtract()


class FindOperation(Operation):
    """`[find]`: `settle` is how far apart two empty answers must be before they prove anything."""

    settle: Annotated[timedelta, BeforeValidator(duration)] = timedelta(seconds=5)
    closed_when: str = ""


class ListClosedOperation(Operation):
    """`[list_closed]`: what does not fit `closed_when` is left out: a server that ignores the filter closes nothing."""

    closed_when: str = ""


class Profile(Strict):
    """A whole profile file. `source` is the built-in name or the path it was read from."""

    heading: Heading = Field(alias="profile")
    auth: Auth = Auth()
    maps: dict[str, dict[str, Scalar]] = {}
    create: CreateOperation | None = None
    probe: Operation | None = None
    find: FindOperation | None = None
    update: UpdateOperation | None = None
    add_events: AddEventsOperation | None = None
    get: GetOperation | None = None
    comment: Operation | None = None
    close: Operation | None = None
    list_closed: ListClosedOperation | None = None

    _source: str = PrivateAttr(default="profile")
    _compiled: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _by_its_mode(self) -> Self:
        if self.heading.mode == "push" and self.create is None:
            raise PydanticCustomError("whole", "the section [create] is missing")
        if self.heading.mode == "pull" and (self.operations or "auth" in self.model_fields_set):
            first = next(iter(self.operations), "auth")
            raise PydanticCustomError("whole", 'mode = "pull" sends nothing: take out [{first}]', {"first": first})
        return self

    @classmethod
    def parse(cls, tree: Mapping[str, Any], *, source: str) -> Profile:
        """Read what TOML gave; errors are pydantic's."""
        profile = cls.model_validate(tree)
        profile._source = source
        return profile

    @property
    def source(self) -> str:
        """Return where the profile came from, for error messages."""
        return self._source

    @property
    def compiled(self) -> dict[str, Any]:
        """Return where checking keeps the compiled operations: compiling takes longer than all else at a start."""
        return self._compiled

    @property
    def name(self) -> str:
        """Return the profile's own name."""
        return self.heading.name

    @property
    def mode(self) -> str:
        """Return which side starts the conversation."""
        return self.heading.mode

    @property
    def verified(self) -> bool:
        """Tell whether it was proven against the real product."""
        return self.heading.verified

    @property
    def description(self) -> str:
        """Return what the profile says about itself."""
        return self.heading.description

    @property
    def until_edited(self) -> frozenset[str]:
        """Return the fields that are sent until somebody edits them."""
        return frozenset(self.update.until_edited) if self.update else frozenset()

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Return the operations that are there, by name."""
        every = ((name, getattr(self, name)) for name in OPERATIONS)
        return {name: operation for name, operation in every if operation is not None}


OPERATIONS = ("probe", "find", "get", "create", "update", "add_events", "comment", "close", "list_closed")
