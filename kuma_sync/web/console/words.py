"""The viewer's language, time zone and colours, and how times, states and sentences are written for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from babel import Locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from markupsafe import Markup, escape
from starlette.requests import HTTPConnection

from kuma_sync.core.moments import rfc3339
from kuma_sync.core.sentence import N_, Cause, Refusal, Scalar, Sentence
from kuma_sync.core.text import printable
from kuma_sync.web.console.reasons import recognised, refusal

LANGUAGES = {"en": "English", "ru": "Русский"}
THEMES = ("auto", "light", "dark")
LANGUAGE, ZONE, THEME = "kuma_sync_language", "kuma_sync_zone", "kuma_sync_theme"
"""The names of the cookies."""

DOMAIN = "console"
LOCALE = Path(__file__).parent / "locale"
_UTC = ZoneInfo("UTC")
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]{1,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")
_QUOTED = re.compile(r"`([^`<>]+)`")
"""A command or a key in a sentence."""

BUTTONS = {
    "retry": N_("Try again"),
    "drop": N_("Give up"),
    "release": N_("Release"),
    "resync": N_("Send anew"),
    "resume": N_("Resume"),
}
"""What the buttons of the console are called that order what the commands order."""

_ORDER = re.compile(rf"`({'|'.join(BUTTONS)})`")

_DASH = Markup("–")


STATES: dict[str, tuple[str, str]] = {
    "parked": ("bad", N_("parked")),
    "held": ("warn", N_("held")),
    "missed": ("warn", N_("missed")),
    "ignored": ("quiet", N_("ignored")),
    "dropped": ("quiet", N_("dropped")),
    "pending": ("busy", N_("pending")),
    "running": ("busy", N_("under way")),
    "closed": ("quiet", N_("closed")),
    "gone": ("warn", N_("gone")),
    "open": ("good", N_("open")),
    "ok": ("good", N_("well")),
    "failing": ("bad", N_("failing")),
    "paused": ("warn", N_("paused")),
    "waiting": ("busy", N_("waiting")),
    "stopped": ("bad", N_("stopped")),
    "off": ("quiet", N_("off")),
    "standby": ("quiet", N_("standby")),
    "starting": ("busy", N_("starting")),
    "done": ("good", N_("done")),
    "complete": ("good", N_("complete")),
    "partial": ("warn", N_("not complete")),
    "failed": ("bad", N_("failed")),
}
"""What each state is called, and its tone; colour is never the only sign."""


FOREIGN = (
    *(N_("low"), N_("medium"), N_("high"), N_("critical")),
    *(N_("new"), N_("assigned"), N_("escalated")),
    *(N_("as it was sent"), N_("edited in the IRP"), N_("left to the analysts"), N_("not known what was sent")),
)
"""Words that come from elsewhere, and are known: KUMA's priorities and statuses; whose a field is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How somebody wants the pages: language, time zone (an IANA name), colours."""

    language: str
    zone: str
    theme: str


def preferences_of(request: HTTPConnection) -> Preferences:
    """Read the cookies, and the browser's languages where no language was chosen."""
    cookies = request.cookies
    theme, language = cookies.get(THEME, ""), cookies.get(LANGUAGE, "")
    return Preferences(
        language=language if language in LANGUAGES else _negotiated(request.headers.get("accept-language", "")),
        zone=zone_named(cookies.get(ZONE, "")).key,
        theme=theme if theme in THEMES else "auto",
    )


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; UTC where there is none of that name."""
    try:
        return ZoneInfo(name) if _ZONE.fullmatch(name) else _UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _UTC


@cache
def zones() -> frozenset[str]:
    """Return the names of the zones that this system knows. It looks into every file of theirs, so it is slow once."""
    return frozenset(available_timezones() | {"UTC"})


def _negotiated(accepted: str) -> str:
    """Return the language that a browser prefers among ours."""
    wanted: list[tuple[float, str]] = []
    for part in accepted.split(",")[:20]:
        tag, _, quality = part.partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        wanted.append((weight, tag.strip().lower().partition("-")[0]))
    wanted.sort(key=lambda one: -one[0])
    return next((tag for weight, tag in wanted if weight > 0 and tag in LANGUAGES), "en")


@cache
def translations_of(language: str) -> NullTranslations:
    """Load the catalogue of a language; English needs none. It is compiled here, so that no file can be stale."""
    if language == "en":
        return NullTranslations()
    compiled = BytesIO()
    with catalogue_file(language).open("rb") as written:
        write_mo(compiled, read_po(written, locale=language))
    compiled.seek(0)
    return Translations(compiled, domain=DOMAIN)


def catalogue_file(language: str) -> Path:
    """Return where the texts of a language are written down: `make words` gathers what is to be translated."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


_BEFORE_THE_NUMBER = re.compile(r"^\D+")
"""The `in` of `in 21 seconds`: with it, Babel puts what follows into the case that a text asks for."""


class Words:
    """Writes everything for one viewer, at one moment."""

    def __init__(self, preferences: Preferences, now: datetime) -> None:
        self.preferences = preferences
        self._locale = Locale.parse(preferences.language)
        self._zone = zone_named(preferences.zone)
        self._now = now
        translations = translations_of(preferences.language)
        self._text: Callable[[str], str] = translations.ugettext
        self._plural: Callable[[str, str, int], str] = translations.ungettext

    def text(self, msgid: str) -> str:
        """Translate a text of ours; one that is none stays as it is, and must be escaped."""
        return self._text(msgid) if msgid else ""  # a catalogue has its own description there

    def sentence(self, said: Sentence) -> Markup:
        """Write a sentence of the core; values in it that come from elsewhere are escaped."""
        return _with_commands(said.said(self._template, self._scalar))

    def reason(self, text: str) -> Markup:
        """Write why something waits: what is ours of it translated, what an IRP or KUMA said as it came."""
        return self._known(recognised(text), text)

    def refusal(self, text: str) -> Markup:
        """Write why a configuration was refused: what is ours of it translated."""
        return self._known(refusal(text), text)

    def when(self, moment: datetime | None) -> Markup:
        """Write a time: how long ago, and exactly, in the viewer's zone and in UTC."""
        if moment is None:
            return _DASH
        return Markup('<time datetime="{}">{} <span class="exact">{}</span></time>').format(
            rfc3339(moment), self.ago(moment), self.exactly(moment)
        )

    def at(self, moment: datetime) -> Markup:
        """Write a time within a text (since, until, at): exactly, then how far away: `14:37:34 UTC (in 2 hours)`."""
        own, away = self._clock(moment, self._zone), self.ago(moment)
        written = "{} UTC ({})" if self._zone.key == "UTC" else f"{{}} ({self._clock(moment, _UTC)} UTC, {{}})"
        return Markup('<time datetime="{}">{}</time>').format(rfc3339(moment), written.format(own, away))

    def ago(self, moment: datetime) -> Markup:
        """Write how long ago a time was, or how far ahead it is."""
        return self._distance(moment - self._now, add_direction=True)

    def span(self, length: timedelta | float | None) -> Markup:
        """Write a length of time; a number counts seconds."""
        if length is None:
            return _DASH
        seconds = length.total_seconds() if isinstance(length, timedelta) else length
        if 0 < seconds < 10:
            return escape(self._text(N_("%(seconds)s s")) % {"seconds": self.number(round(seconds, 2))})
        return self._distance(timedelta(seconds=seconds))

    def lasting(self, length: timedelta | float) -> Markup:
        """Write a length of time as it stands within a text: `21 секунду`, where `span` has `21 секунда`."""
        seconds = length.total_seconds() if isinstance(length, timedelta) else length
        if seconds < 10:
            return self.span(seconds)
        return escape(_BEFORE_THE_NUMBER.sub("", str(self._distance(timedelta(seconds=seconds), add_direction=True))))

    def exactly(self, moment: datetime) -> Markup:
        """Write a time exactly: `13:49:06 (10:49:06 UTC)`, with the day where it is not today."""
        own = self._clock(moment, self._zone)
        return escape(f"{own} UTC" if self._zone.key == "UTC" else f"{own} ({self._clock(moment, _UTC)} UTC)")

    def hour(self, moment: datetime) -> Markup:
        """Write the time of a day in the viewer's zone, for a chart."""
        return escape(format_datetime(moment, "HH:mm", tzinfo=self._zone, locale=self._locale))

    def number(self, value: float) -> Markup:
        """Write a number as the language does."""
        return escape(format_decimal(value, locale=self._locale))

    def state(self, name: str) -> Markup:
        """Write a state as a badge: its word, and a tone that a style colours."""
        tone, msgid = STATES.get(name, ("quiet", name))
        return Markup('<span class="badge {}">{}</span>').format(tone, self._text(msgid))

    def _known(self, said: Sentence | None, text: str) -> Markup:
        return _with_commands(shown(text)) if said is None else self.sentence(said)

    def _distance(self, length: timedelta, *, add_direction: bool = False) -> Markup:
        return escape(
            format_timedelta(
                length, granularity="second", threshold=1.5, add_direction=add_direction, locale=self._locale
            )
        )

    def _clock(self, moment: datetime, zone: ZoneInfo) -> str:
        there, today = moment.astimezone(zone), self._now.astimezone(self._zone)
        day = "" if there.date() == today.date() else "d MMM " if there.year == today.year else "d MMM y "
        return format_datetime(there, f"{day}HH:mm:ss", tzinfo=zone, locale=self._locale)

    def _template(self, said: Sentence) -> Markup:
        if not said.plural:
            return self._with_buttons(self._text(said.text))
        count = said.values["count"]
        assert isinstance(count, int)  # noqa: S101  # `counted` takes nothing else
        return self._with_buttons(self._plural(said.text, said.plural, count))

    def _with_buttons(self, text: str) -> Markup:
        """Name the button where `show` names the command."""
        return escape(_ORDER.sub(lambda found: f"“{self._text(BUTTONS[found[1]])}”", text))

    def _scalar(self, value: Scalar) -> Markup:
        match value:
            case datetime():
                return self.at(value)
            case timedelta():
                return self.lasting(value)
            case Refusal():
                return self.refusal(value.text)
            case Cause():
                return self.reason(value.text)
            case _:
                return shown(value)


def _with_commands(written: object) -> Markup:
    """Set what stands between backticks as a command."""
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(written)))  # noqa: S704  # it is escaped already


def shown(text: object) -> Markup:
    """Write a text from elsewhere: HTML escaped, and every sign that could deceive the eye written out."""
    return escape(printable(str(text), keep="\n\t"))
