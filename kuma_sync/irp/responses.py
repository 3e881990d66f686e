"""What an answer means: accepted or refused, and the incidents it names. The only home of JMESPath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.core.incident import Incident
from kuma_sync.core.moments import form_of, read_any_moment
from kuma_sync.core.text import fit
from kuma_sync.irp.errors import Duplicate, Missing, TooLarge, Unrenderable
from kuma_sync.irp.profile import CreateOperation, Operation
from kuma_sync.settings.validation import meant
from kuma_sync.transport import Answer, refusal

REMOTE = "irp"

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


class Answers:
    """Reads one operation's answers. Raises Unrenderable for expressions that are none."""

    def __init__(self, name: str, operation: Operation, *, closed_when: str = "") -> None:
        self._name = name
        self._operation = operation
        self._ok_when = _Expression(operation.ok_when, f"{name}.ok_when")
        self._closed_when = _Expression(closed_when, f"{name}.closed_when")
        self._extract = {
            part: _Expression(getattr(operation.extract, part), f"{name}.extract.{part}")
            for part in type(operation.extract).model_fields
        }

    def judge(self, answer: Answer) -> None:
        """Raise the RemoteError that an answer means, if it means one."""
        operation = self._operation
        duplicate = operation.duplicate_when if isinstance(operation, CreateOperation) else None
        if duplicate is not None and duplicate.status == answer.status:
            raise Duplicate(remote=REMOTE, operation=self._name, summary="exists already", status=answer.status)
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

    def tree(self, answer: Answer) -> object:
        """Return an answer's JSON. A create answered without any may have happened, and nobody knows as what."""
        try:
            return answer.json()
        except Transient:
            raise self._not_json(answer) from None

    def incident(self, answer: Answer) -> Incident:
        """Return what a create made. Raises Transient, ambiguous and unidentified, where the answer has no id."""
        row = self._row(self.tree(answer))
        if not row.incident.id:
            raise self._unidentified(answer)
        return row.incident

    def rows(self, answer: Answer) -> list[Row]:
        """Return the items of a list. Raises Transient where there is no list: that proves nothing."""
        items = self._extract["items"].search(self.tree(answer))
        if not isinstance(items, list):
            raise Transient(
                remote=REMOTE, operation=self._name, summary="answered without a list of items", status=answer.status
            )
        return [self._row(item) for item in items]

    def _row(self, item: object) -> Row:
        def text(part: str) -> str:
            return _text(self._extract[part].search(item))

        told = self._extract["updated"].search(item)
        updated = read_any_moment(told)
        return Row(
            incident=Incident(id=text("id"), number=text("number"), url=text("url")),
            key=text("key"),
            resolution=text("resolution"),
            updated=updated,
            undated=form_of(told) if updated is None else "",
            closed=self._closed_when.given and self._closed_when.holds(item),
        )

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


class _Expression:
    """One JMESPath expression; an absent one finds nothing."""

    def __init__(self, source: str, where: str) -> None:
        self.given = bool(source)
        try:
            self._compiled = jmespath.compile(source) if source else None
        except JMESPathError as error:
            raise Unrenderable(where, f"is no valid JMESPath: {' '.join(str(error).split())[:200]}") from None
        for name in _functions(self._compiled.parsed if self._compiled else {}):
            # jmespath itself would say so only when it meets the function while searching.
            if name not in Functions.FUNCTION_TABLE:
                raise Unrenderable(
                    where, f'there is no JMESPath function "{name}"{meant(name, Functions.FUNCTION_TABLE)}'
                )

    def search(self, tree: object) -> object:
        """Return what it finds, None where the tree is not as it expects."""
        try:
            found: object = self._compiled.search(tree) if self._compiled else None
        except JMESPathError:
            return None
        return found

    def holds(self, tree: object) -> bool:
        """Tell whether it finds something true, as JMESPath sees it: 0 is."""
        found = self.search(tree)
        return not (found is None or found is False or (isinstance(found, str | list | dict) and not found))


def _functions(node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    if node.get("type") == "function_expression":
        yield node["value"]
    for child in node.get("children", ()):
        yield from _functions(child)


def _text(value: object) -> str:
    if isinstance(value, str):
        return fit(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
