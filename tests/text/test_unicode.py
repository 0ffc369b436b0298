from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.text import hidden, unicode
from ragagent.types import Span

PARTS = st.sampled_from(
    [
        "plain words",
        "ﬁne",
        "ｆｕｌｌ",
        "e\u0301",
        "한",
        "\u1112\u1161\u11ab",
        "①",
        "\u202e",
        "\u200b",
        "\ufeff",
        "ﷺ",
        "🎉",
        "\n",
        " ",
        "ä",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PARTS, max_size=12).map("".join))


@given(TEXTS)
def test_each_searched_character_was_made_of_a_range_of_the_original_in_order(text: str) -> None:
    found = unicode.mapped(text)
    assert len(found.text) == len(found.starts) == len(found.ends)
    assert (found.starts < found.ends).all()
    assert (np.diff(found.starts) >= 0).all()
    assert (np.diff(found.ends) >= 0).all()
    assert found.text == unicode.searched(text)
    lost = set(range(len(text))) - {
        at for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True) for at in range(start, end)
    }
    assert all(hidden.count(text[at]) for at in lost)


@given(TEXTS, st.data())
def test_what_is_found_in_the_searched_text_leads_back_to_the_words_it_came_from(
    text: str, data: st.DataObject
) -> None:
    found = unicode.mapped(text)
    start = data.draw(st.integers(0, len(found.text)))
    end = data.draw(st.integers(start, len(found.text)))
    span = found.original(start, end)
    assert 0 <= span.start <= span.end <= len(text)
    assert found.text[start:end] in unicode.searched(span.of(text)) or start == end
    assert found.original(0, len(found.text)).of(text).strip() or not found.text.strip()


@given(TEXTS)
def test_searching_again_changes_nothing_more(text: str) -> None:
    once = unicode.searched(text)
    assert unicodedata.is_normalized("NFKC", unicode.searched(once)) or any(unicodedata.combining(c) for c in once)


@given(st.text(st.characters(max_codepoint=0x7F), max_size=80))
def test_plain_text_is_its_own_searched_form_place_for_place(text: str) -> None:
    found = unicode.mapped(text)
    assert found.text == text
    assert found.original(0, len(text)) == Span(0, len(text))


@given(TEXTS)
def test_what_a_model_is_shown_has_the_same_places_and_nothing_hidden(text: str) -> None:
    shown = unicode.shown(text)
    assert len(shown) == len(text)
    assert not hidden.count(shown)
    assert all(one == other or hidden.count(one) for one, other in zip(text, shown, strict=True))


@pytest.mark.parametrize(
    ("text", "searched"),
    [("ﬁnal ｆｕｌｌ", "final full"), ("Cafe\u0301", "Café"), ("in\u00advisible", "invisible"), ("a\u202eb", "ab")],
)
def test_forms_of_one_word_are_searched_alike(text: str, searched: str) -> None:
    assert unicode.searched(text) == searched


def test_a_mark_leads_back_to_its_letter() -> None:
    text = "the Cafe\u0301 opens"
    found = unicode.mapped(text)
    at = found.text.index("Café")
    assert found.original(at, at + 4).of(text) == "Cafe\u0301"


def test_piled_marks_are_normalised_in_time_that_grows_with_their_number() -> None:
    """Quadratic time would run into the limit of the test."""
    text = "a" + "\u0301\u0323" * 100_000
    assert len(unicode.searched(text)) > 100_000
