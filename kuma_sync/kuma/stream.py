"""Bytes of a JSON array in, the raw bytes of one element after the other out, in bounded memory.

Must not: interpret an element (that is wire), or trust the end of the stream: only the closing bracket proves a page
whole, because httpx reports neither a truncated gzip body nor a cut one that has no length.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from kuma_sync.kuma.element import Element, Growing

__all__ = ["BRACKET", "Element", "NotAnArray", "Splitter"]

BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+(?=[{}\[\]"])', re.S)
"""From outside a string: all up to the next bracket, or up to a string that does not end in these bytes."""

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
    NEXT = auto()
    ATOM = auto()
    STRING = auto()
    NESTED = auto()
    DONE = auto()


class Splitter:
    """Split a JSON array that arrives in pieces of any size; `null` counts as an empty array.

    An element larger than `max_size` bytes is passed by without being kept. Elements are not checked to be JSON.
    """

    def __init__(self, *, max_size: int) -> None:
        self._max_size = max_size
        self._at = _At.START
        self._depth = 0
        self._escaped = False
        self._null = 0
        self._start = 0
        self._element = Growing(max_size)

    @property
    def complete(self) -> bool:
        """Tell whether the closing bracket came; anything but white space behind it raises."""
        return self._at is _At.DONE

    def feed(self, data: bytes) -> list[Element]:
        """Take the next bytes and return the elements that end in them; raise NotAnArray."""
        found: list[Element] = []
        self._start = position = 0
        while position < len(data):
            match self._at:
                case _At.NESTED:
                    position = self._nested(data, position, found)
                case _At.STRING:
                    position = self._string(data, position, found)
                case _At.ATOM:
                    position = self._atom(data, position, found)
                case _At.NULL:
                    position = self._literal_null(data, position)
                case _:
                    position = self._between(data, _end(_SPACE, data, position))
        if self._at in (_At.NESTED, _At.STRING, _At.ATOM):
            self._element.keep(data[self._start :])
        return found

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
            case ((_At.FIRST | _At.VALUE), _):
                return self._begin(byte, position)
            case _:
                raise NotAnArray("answered no JSON array, or a broken one")
        return position + 1

    def _begin(self, byte: bytes, position: int) -> int:
        self._start = position
        match byte:
            case b"{" | b"[":
                self._at, self._depth = _At.NESTED, 1
            case b'"':
                self._at = _At.STRING
            case b"," | b"]" | b"}":
                raise NotAnArray("answered a broken JSON array")
            case _:
                self._at = _At.ATOM
        return position + 1

    def _nested(self, data: bytes, position: int, found: list[Element]) -> int:
        match, depth = BRACKET.match, self._depth
        while (reached := match(data, position)) is not None:
            position = reached.end() + 1
            byte = data[position - 1]
            if byte in b"{[":
                depth += 1
            elif byte == 0x22:
                self._at, self._depth = _At.STRING, depth
                return position
            else:
                depth -= 1
                if depth == 0:
                    self._depth = 0
                    return self._finish(data, position, found)
        self._depth = depth
        return len(data)

    def _string(self, data: bytes, position: int, found: list[Element]) -> int:
        end = _end(_STRING, data, position + self._escaped)
        self._escaped = False
        if end == len(data):
            return end
        if data[end] == 0x22 and self._depth:
            self._at = _At.NESTED
        elif data[end] == 0x22:
            return self._finish(data, end + 1, found)
        else:
            self._escaped = True
        return end + 1

    def _atom(self, data: bytes, position: int, found: list[Element]) -> int:
        end = _end(_ATOM, data, position)
        return end if end == len(data) else self._finish(data, end, found)

    def _literal_null(self, data: bytes, position: int) -> int:
        if data[position] != b"null"[self._null]:
            raise NotAnArray("answered no JSON array")
        self._null += 1
        if self._null == len(b"null"):
            self._at = _At.DONE
        return position + 1

    def _finish(self, data: bytes, end: int, found: list[Element]) -> int:
        self._element.keep(data[self._start : end])
        found.append(self._element.taken())
        self._element = Growing(self._max_size)
        self._at = _At.NEXT
        return end


def _end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    return found.end() if found else position
