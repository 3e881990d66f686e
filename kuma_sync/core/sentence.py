"""A sentence for people that can be said in another language: a fixed English text, and the values that stand in it.

Text from elsewhere (a reason that an IRP gave, an alert's name) is a value and never part of the text. `xgettext` and
`pybabel extract` find the texts by the keywords `sentence:1 counted:1,2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

from kuma_sync.core.moments import moment, since, span

Value: TypeAlias = "str | int | float | datetime | timedelta | Cause | Sentence | tuple[Sentence, ...]"
"""What may stand in a sentence: also other sentences; several of them are separated by commas."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed, as it was written down: in English where it is ours, in its own words where it is not."""

    text: str

    def __bool__(self) -> bool:
        """Tell whether there is one."""
        return bool(self.text)


@dataclass(frozen=True, slots=True)
class Refusal(Cause):
    """Why a configuration was refused: its key, and what is wrong there, in our English."""


Scalar = str | datetime | timedelta | Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A text with `%(name)s` where its values stand (a percent sign is `%%`).

    `plural` is the text where the value `count` is not one.
    """

    text: str
    plural: str = ""
    values: Mapping[str, Value]

    def __str__(self) -> str:
        """Return it in English, with exact times."""
        return self.said(_english, _shown)

    def english(self, now: datetime) -> str:
        """Return it in English; a time is followed by its distance from now."""
        return self.said(_english, partial(_shown, now=now))

    def said(self, translate: Callable[[Sentence], str], show: Callable[[Scalar], str]) -> str:
        """Return it in some language.

        `translate` returns the text of a sentence with the places of its values kept (by gettext, or ngettext where it
        has a plural); `show` writes texts from elsewhere, times and lengths of time. Both may return Markup.
        """
        return translate(self) % {name: _said(value, translate, show) for name, value in self.values.items()}


def N_(text: str) -> str:  # noqa: N802  # gettext's own name for it
    """Mark a text for translation and return it as it is."""
    return text


def sentence(text: str, **values: Value) -> Sentence:
    """Make a sentence."""
    return Sentence(text=text, values=values)


def counted(one: str, many: str, count: int, **values: Value) -> Sentence:
    """Make a sentence about a number of things, which is its value `count`."""
    return Sentence(text=one, plural=many, values={"count": count, **values})


def _said(value: Value, translate: Callable[[Sentence], str], show: Callable[[Scalar], str]) -> str | int | float:
    match value:
        case Sentence():
            return value.said(translate, show)
        case tuple():
            return show(", ").join(part.said(translate, show) for part in value)
        case int() | float():
            return value
        case _:
            return show(value)


def _english(sentence_: Sentence) -> str:
    return sentence_.plural if sentence_.plural and sentence_.values["count"] != 1 else sentence_.text


def _shown(value: Scalar, now: datetime | None = None) -> str:
    match value:
        case datetime():
            return moment(value) if now is None else f"{moment(value)}, {since(now)(value)}"
        case timedelta():
            return span(value.total_seconds())
        case Cause():
            return value.text
        case _:
            return value
