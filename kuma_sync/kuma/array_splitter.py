"""Bytes of a JSON array in, the raw bytes of one element after the other out, in bounded memory.

Must not: interpret an element (that is parse), or trust the end of the stream: only the closing bracket proves a page
whole, for a body that has neither a length nor chunks may be cut without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from kuma_sync.kuma.element_cache import KEY, Element, ElementCache, Growing

__all__ = ["BRACKET", "ArraySplitter", "Element", "NotAnArray"]

BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+(?=[{}\[\]"])', re.S)
"""From outside a string: all up to the next bracket, or up to a string that does not end in these bytes."""

STEP = 256 * 1024
"""Bytes; bracket by bracket they take two milliseconds, where brackets are as rare as in an alert."""

BRACKETS = 10_000
ELEMENTS = 500
"""Of one step at most: a quarter of a megabyte may hold a hundred thousand, and would take half a second."""

_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.S)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_ATOM = re.compile(rb'[^ \t\r\n,\[\]{}"]*+')
_OBJECT = (
    "answered a JSON object: is this Kaspersky XDR (OSMP)? kuma-sync speaks KUMA's own API, "
    "which answers alerts as an array"
)


class NotAnArray(ValueError):
    """The bytes are no JSON array; the text says what they are instead, without quoting them."""

    def __init__(self, problem: str, *, is_object: bool = False) -> None:
        super().__init__(problem)
        self.is_object = is_object


class _At(Enum):
    START = auto()
    NULL = auto()
    FIRST = auto()
    VALUE = auto()
    UNKNOWN = auto()
    NEXT = auto()
    RECALL = auto()
    ATOM = auto()
    STRING = auto()
    NESTED = auto()
    DONE = auto()


class ArraySplitter:
    """Split a JSON array that arrives in pieces of any size; `null` counts as an empty array.

    An element larger than `max_size` bytes is passed by without being kept. Elements are not checked to be JSON.
    With `known`, an element that came before is taken by its size and digest, ten times as fast as bracket by bracket.
    """

    def __init__(self, *, max_size: int, known: ElementCache | None = None) -> None:
        self._max_size = max_size
        self._known = known
        self._at = _At.START
        self._depth = 0
        self._brackets = 0
        self._escaped = False
        self._null = 0
        self._start = 0
        self._element = Growing(max_size)
        self._expected = (0, b"")
        self._found: list[Element] = []
        self._rest: list[bytes] = []

    @property
    def busy(self) -> bool:
        """Tell whether bytes that were fed wait for another step."""
        return bool(self._rest)

    @property
    def complete(self) -> bool:
        """Tell whether the closing bracket came; anything but white space behind it raises."""
        return self._at is _At.DONE

    def feed(self, data: bytes) -> list[Element]:
        """Take the next bytes and return the elements that are known to end in them; raise NotAnArray."""
        return [element for found in self.steps(data) for element in found]

    def steps(self, data: bytes) -> Iterator[list[Element]]:
        """Do the same in steps of a few milliseconds, so that whoever has other things to do can do them in between.

        A step is `STEP` bytes, `BRACKETS` or `ELEMENTS`, whichever comes first.
        """
        self._put(data)
        while self._rest:
            self._take(self._rest.pop())
            found, self._found = self._found, []
            yield found

    def end(self) -> Iterator[list[Element]]:
        """Return, in steps, what waited for bytes that did not come; raise NotAnArray."""
        while self._at is _At.RECALL:
            yield from self.steps(self._look_inside())

    def _put(self, data: bytes) -> None:
        self._rest += [data[at : at + STEP] for at in reversed(range(0, len(data), STEP))]

    def _take(self, data: bytes) -> None:
        self._start = position = 0
        self._brackets = BRACKETS
        while position < len(data) and self._brackets and len(self._found) < ELEMENTS:
            position = self._go_on(data, position)
        if self._at in (_At.NESTED, _At.STRING, _At.ATOM):
            self._element.keep(memoryview(data)[self._start : position])
        if position < len(data):
            self._rest.append(data[position:])

    def _go_on(self, data: bytes, position: int) -> int:
        match self._at:
            case _At.NESTED:
                return self._nested(data, position)
            case _At.STRING:
                return self._string(data, position)
            case _At.ATOM:
                return self._atom(data, position)
            case _At.NULL:
                return self._literal_null(data, position)
            case _At.RECALL:
                return self._recall(data, position)
            case _:
                return self._between(data, _end(_SPACE, data, position))

    def _between(self, data: bytes, position: int) -> int:
        if position == len(data):
            return position
        byte = data[position : position + 1]
        match self._at, byte:
            case _At.START, b"[":
                self._at = _At.FIRST
            case _At.START, b"n":
                self._at = _At.NULL
                return position
            case _At.START, b"{":
                raise NotAnArray(_OBJECT, is_object=True)
            case _At.NEXT, b",":
                self._at = _At.VALUE
            case ((_At.FIRST | _At.NEXT), b"]"):
                self._at = _At.DONE
            case ((_At.FIRST | _At.VALUE | _At.UNKNOWN), _):
                return self._begin(data, position)
            case _:
                raise NotAnArray("answered no JSON array, or a broken one")
        return position + 1

    def _begin(self, data: bytes, position: int) -> int:
        self._start = position
        match data[position : position + 1]:
            case b"{" if self._at is not _At.UNKNOWN and self._remembered(data[position : position + KEY]):
                self._at = _At.RECALL
                return position
            case b"{" | b"[":
                self._at, self._depth = _At.NESTED, 1
            case b'"':
                self._at = _At.STRING
            case b"," | b"]" | b"}":
                raise NotAnArray("answered a broken JSON array")
            case _:
                self._at = _At.ATOM
        return position + 1

    def _remembered(self, start: bytes) -> bool:
        found = self._known.recall(start) if self._known else None
        if found is None or found[0] > self._max_size:
            return False
        self._expected = found
        return True

    def _recall(self, data: bytes, position: int) -> int:
        """Gather as many bytes as the element had last time; where it is another now, look inside."""
        size, digest = self._expected
        end = self._start = min(len(data), position + size - self._element.size)
        self._element.keep(memoryview(data)[position:end])
        if self._element.size < size:
            return end
        if self._element.digest() == digest:
            return self._finish(data, end)
        self._put(data[end:])
        self._put(self._look_inside())
        return len(data)

    def _look_inside(self) -> bytes:
        """Begin the element again, to be taken bracket by bracket, and return the bytes gathered so far."""
        gathered = self._element.taken().raw
        self._at = _At.UNKNOWN
        return gathered or b""

    def _nested(self, data: bytes, position: int) -> int:
        match, depth, left = BRACKET.match, self._depth, 0
        for left in range(self._brackets - 1, -1, -1):  # noqa: B007  # how many are left is used after the loop
            reached = match(data, position)
            if reached is None:
                position = len(data)
                break
            position = reached.end() + 1
            byte = data[position - 1]
            if byte in b"{[":
                depth += 1
            elif byte == 0x22:
                self._at = _At.STRING
                break
            else:
                depth -= 1
                if depth == 0:
                    break
        self._brackets, self._depth = left, depth
        return position if depth else self._finish(data, position)

    def _string(self, data: bytes, position: int) -> int:
        end = _end(_STRING, data, position + self._escaped)
        self._escaped = False
        if end == len(data):
            return end
        if data[end] == 0x22 and self._depth:
            self._at = _At.NESTED
        elif data[end] == 0x22:
            return self._finish(data, end + 1)
        else:
            self._escaped = True
        return end + 1

    def _atom(self, data: bytes, position: int) -> int:
        end = _end(_ATOM, data, position)
        return end if end == len(data) else self._finish(data, end)

    def _literal_null(self, data: bytes, position: int) -> int:
        if data[position] != b"null"[self._null]:
            raise NotAnArray("answered no JSON array")
        self._null += 1
        if self._null == len(b"null"):
            self._at = _At.DONE
        return position + 1

    def _finish(self, data: bytes, end: int) -> int:
        self._element.keep(memoryview(data)[self._start : end])
        element = self._element.taken()
        if self._known:
            self._known.note(element)
        self._found.append(element)
        self._at = _At.NEXT
        return end


def _end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    return found.end() if found else position
