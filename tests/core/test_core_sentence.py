"""Sentences that are said in English or in another language."""

from __future__ import annotations

from datetime import timedelta

from builders import NOW
from markupsafe import Markup, escape

from kuma_sync.core.sentence import Scalar, Sentence, counted, sentence


def test_in_english_a_sentence_is_its_text_with_the_values_in_place() -> None:
    said = sentence(
        "%(part)s stands still for %(age)s: %(reason)s", part="irp", age=timedelta(minutes=14), reason="503"
    )

    assert str(said) == "irp stands still for 14 min: 503"


def test_the_number_chooses_between_singular_and_plural() -> None:
    texts = [str(counted("%(count)d alert", "%(count)d alerts", count)) for count in (0, 1, 2)]

    assert texts == ["0 alerts", "1 alert", "2 alerts"]


def test_a_time_is_exact_and_has_its_distance_where_now_is_known() -> None:
    said = sentence("since %(since)s", since=NOW - timedelta(hours=3))

    assert str(said) == "since 2026-01-15 09:00:00Z"
    assert said.english(NOW) == "since 2026-01-15 09:00:00Z, 3 h ago"


def test_what_comes_from_elsewhere_is_never_read_as_a_pattern() -> None:
    said = sentence("the IRP said %(reason)s", reason="100%(s)d %s")

    assert str(said) == "the IRP said 100%(s)d %s"


def test_sentences_stand_in_sentences_and_several_are_separated_by_commas() -> None:
    parts = (counted("%(count)d parked", "%(count)d parked", 3), sentence("%(name)s held", name="x"))

    assert str(sentence("waiting: %(parts)s", parts=parts)) == "waiting: 3 parked, x held"
    assert str(sentence("waiting: %(parts)s", parts=())) == "waiting: "


def test_in_another_language_texts_are_translated_and_values_are_made_harmless() -> None:
    russian = {"%(count)d wait: %(why)s": "%(count)d ждут: %(why)s", "no answer from %(url)s": "нет ответа от %(url)s"}

    def translate(one: Sentence) -> str:
        return Markup(russian[one.plural or one.text])

    def show(value: Scalar) -> str:
        return escape(str(value))

    why = sentence("no answer from %(url)s", url="<b>")
    said = counted("%(count)d waits: %(why)s", "%(count)d wait: %(why)s", 5, why=(why, why))

    text = said.said(translate, show)
    assert text == "5 ждут: нет ответа от &lt;b&gt;, нет ответа от &lt;b&gt;"
    assert isinstance(text, Markup)
