"""What an answer means: accepted or refused, and the incidents it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.core.incident import Incident
from kuma_sync.core.moments import form_of, read_any_moment
from kuma_sync.core.ownership import marks
from kuma_sync.core.text import fit
from kuma_sync.irp.bounds import CutOff, bounded
from kuma_sync.irp.errors import Absent, Duplicate, Missing, TooLarge
from kuma_sync.irp.expressions import AnswerTest, Expression, Spot, compiled_places, spots, text_of, told
from kuma_sync.irp.profile import CreateOperation, GetExtract, Operation
from kuma_sync.transport import Answer, refusal

REMOTE = "irp"

T = TypeVar("T")

_REFUSALS = {404: Missing, 410: Missing, 413: TooLarge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One incident of a list; empty where the answer says nothing. `closed` is what `closed_when` says of it.

    `undated` is the form of a time that could not be read; "" where it could.
    """

    incident: Incident
    key: str
    resolution: str
    updated: datetime | None
    undated: str
    closed: bool

    @property
    def identity(self) -> str:
        """Return what tells this incident from others, "" where it names neither its id nor its key."""
        return f"id:{self.incident.id}" if self.incident.id else f"key:{self.key}" if self.key else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What an incident holds now: the fields that are compared, and further values of the profile's."""

    fields: Mapping[str, object] = field(repr=False)
    values: Mapping[str, object] = field(repr=False)

    @property
    def template(self) -> dict[str, object]:
        """Return it as templates see it."""
        return {**self.values, "fields": dict(self.fields)}

    @property
    def marks(self) -> dict[str, frozenset[str]]:
        """Return what tells whether somebody edited a field."""
        return {name: marks(value) for name, value in self.fields.items()}


class Answers:
    """Reads one operation's answers. Raises Unrenderable for expressions that are none."""

    def __init__(self, name: str, operation: Operation, *, closed_when: str = "") -> None:
        self._name = name
        self._operation = operation
        duplicate = operation.duplicate_when if isinstance(operation, CreateOperation) else None
        self._duplicate_when = AnswerTest(duplicate, f"{name}.duplicate_when")
        self._missing_when = AnswerTest(operation.missing_when, f"{name}.missing_when")
        self._retry_when = AnswerTest(operation.retry_when, f"{name}.retry_when")
        self._ok_when = Expression(operation.ok_when, f"{name}.ok_when")
        self._closed_when = Expression(closed_when, f"{name}.closed_when")
        read = operation.extract if isinstance(operation.extract, GetExtract) else None
        self._extract = {} if read else compiled_places(operation.extract, f"{name}.extract")
        self._free = spots(read.free, f"{name}.extract") if read else {}
        self._fields = spots(read.fields, f"{name}.extract.fields") if read else {}

    def judge(self, answer: Answer) -> None:
        """Raise the RemoteError that an answer means, if it means one.

        What the profile says of single answers comes before the status, and of that, *try again* comes first: where
        the IRP is busy, nothing else that it says can be relied on.
        """
        self._within(answer, lambda: self._judge(answer))

    def _judge(self, answer: Answer) -> None:
        operation = self._operation
        if self._retry_when.holds(answer):
            raise self._busy(answer)
        if self._duplicate_when.holds(answer):
            raise Duplicate(remote=REMOTE, operation=self._name, summary="exists already", status=answer.status)
        if self._missing_when.holds(answer) and not self._may_have_made(answer):
            raise (Absent if self._name == "find" else Missing)(
                remote=REMOTE,
                operation=self._name,
                summary=f"answered {answer.status}, which is missing by missing_when",
                status=answer.status,
                detail=answer.message,
            )
        accepted = answer.status in operation.ok_status
        if answer.is_page and (accepted or 200 <= answer.status < 300):
            raise self._not_json(answer)
        if not accepted:
            raise self._refused(answer)
        if self._ok_when.given and not self._ok_when.holds(self.tree(answer)):
            raise Permanent(
                remote=REMOTE,
                operation=self._name,
                summary="refused by ok_when",
                status=answer.status,
                detail=answer.words,
            )

    def _busy(self, answer: Answer) -> Transient:
        """Return what `retry_when` means; where the request may have been carried out all the same, it says so."""
        unclear = self._may_have_made(answer) or answer.failed_midway
        return Transient(
            remote=REMOTE,
            operation=self._name,
            summary=f"answered {answer.status}, which is to be tried again by retry_when",
            status=answer.status,
            detail=answer.message,
            retry_after=answer.retry_after,
            ambiguous=answer.changes and unclear,
        )

    def _may_have_made(self, answer: Answer) -> bool:
        """Tell whether a create may have happened, whatever its answer is called: it names an incident, or is a 5xx."""
        if not isinstance(self._operation, CreateOperation):
            return False
        named = bool(self._row(told(answer), answer).incident.id)
        return named or answer.failed_midway

    def tree(self, answer: Answer) -> object:
        """Return an answer's JSON. A create answered without any may have happened, and nobody knows as what."""
        try:
            return answer.json()
        except Transient:
            raise self._not_json(answer) from None

    def incident(self, answer: Answer) -> Incident:
        """Return what a create made. Raises Transient, ambiguous and unidentified, where the answer has no id."""
        by_header = self._extract["id"].by_header
        tree = told(answer) if by_header else self.tree(answer)
        row = self._within(answer, lambda: self._row(tree, answer))
        if not row.incident.id:
            raise self._unidentified(answer)
        return row.incident

    def current(self, answer: Answer) -> Current:
        """Return what an incident holds now; what the answer does not say is None.

        Raises Permanent where its body says nothing of all that is asked: that is no incident whose fields are empty.
        """
        tree = self.tree(answer)

        def found(places: Mapping[str, Spot]) -> dict[str, object]:
            return {name: spot.found(tree, answer) for name, spot in places.items()}

        current = self._within(answer, lambda: Current(fields=found(self._fields), values=found(self._free)))
        told = [value for name, value in current.values.items() if not self._free[name].by_header]
        if self._fields and all(value is None for value in (*current.fields.values(), *told)):
            summary = "shows nothing of what get.extract names: is a path wrong, or ok_when missing?"
            raise Permanent(remote=REMOTE, operation=self._name, summary=summary, status=answer.status)
        return current

    def rows(self, answer: Answer) -> list[Row]:
        """Return the items of a list. Raises Transient where there is no list: that proves nothing."""
        tree = self.tree(answer)
        return self._within(answer, lambda: self._listed(tree, answer))

    def _listed(self, tree: object, answer: Answer) -> list[Row]:
        items = self._extract["items"].found(tree, answer)
        if isinstance(items, list):
            return [self._row(item, answer) for item in items]
        summary = "answered without a list of items"
        raise Transient(remote=REMOTE, operation=self._name, summary=summary, status=answer.status)

    def _row(self, item: object, answer: Answer) -> Row:
        def text(part: str) -> str:
            return fit(text_of(self._extract[part].found(item, answer)))

        written = self._extract["updated"].found(item, answer)
        updated = read_any_moment(written)
        return Row(
            incident=Incident(id=text("id"), number=text("number"), url=text("url")),
            key=text("key"),
            resolution=text("resolution"),
            updated=updated,
            undated=form_of(written) if updated is None else "",
            closed=self._closed_when.given and self._closed_when.holds(item),
        )

    def _within(self, answer: Answer, work: Callable[[], T]) -> T:
        """Work within bounds; raise the RemoteError that running away means."""
        try:
            with bounded():
                return work()
        except CutOff as cut:
            if not cut.final:
                raise
            problem = cut.problem
        made = isinstance(self._operation, CreateOperation) and 200 <= answer.status < 300
        if made or answer.status >= 500:
            raise replace(self._unidentified(answer), summary=problem, unidentified=made)
        raise Permanent(remote=REMOTE, operation=self._name, summary=problem, status=answer.status)

    def _refused(self, answer: Answer) -> Exception:
        if not 200 <= answer.status < 300:
            return refusal(answer, _REFUSALS)
        if isinstance(self._operation, CreateOperation):
            return self._unidentified(answer)
        return Permanent(
            remote=REMOTE,
            operation=self._name,
            summary=f"answered {answer.status}, which is not in ok_status",
            status=answer.status,
        )

    def _not_json(self, answer: Answer) -> Transient:
        return replace(answer.not_json(), unidentified=isinstance(self._operation, CreateOperation))

    def _unidentified(self, answer: Answer) -> Transient:
        return Transient(
            remote=REMOTE,
            operation=self._name,
            summary=f"answered {answer.status} without the incident's id",
            status=answer.status,
            ambiguous=True,
            unidentified=True,
        )
