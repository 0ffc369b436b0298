"""Checks of a claim against the words it cites."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import verify
from ragagent.text import unicode
from ragagent.types import Citation, Span

SUPPORT = "Total net sales were $82,959 million in the quarter ended June 25, 2022, according to Apple Inc."


@pytest.mark.parametrize(
    "claim",
    [
        "Total net sales were $82,959 million",
        "Apple sold for 82959 million.",
        "Sales of Apple were 82.959 million in the quarter that ended on June 25, 2022.",
        "The sales were higher.",
        "It was in June.",
    ],
)
def test_a_claim_whose_numbers_and_names_stand_in_the_support_has_no_problems(claim: str) -> None:
    assert verify.problems(claim, SUPPORT, "What were Apple's net sales?") == ()


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ("Sales were $82,958 million", "82958"),
        ("Sales were $82,959 million in 2023", "2023"),
        ("Sales of Amazon were high", "Amazon"),
        ("Sales did not rise", "denies"),
        ("Sales weren't high", "denies"),
        ("It costs 3.5 euros", "3.5"),
    ],
)
def test_a_number_a_name_or_a_denial_that_does_not_stand_there_is_named(claim: str, problem: str) -> None:
    (found,) = verify.problems(claim, SUPPORT, "What were the net sales?")
    assert problem in found


def test_what_the_question_says_need_not_stand_in_the_support() -> None:
    assert verify.problems("Not in 2019.", "It was opened later.", "Was it not open in 2019?") == ()


@given(data=st.data(), support=st.text(alphabet="Ab1, .ßÖ日not\n", max_size=40))
def test_a_part_of_the_support_has_no_problems(data: st.DataObject, support: str) -> None:
    start = data.draw(st.integers(0, len(support)))
    claim = support[start : data.draw(st.integers(start, len(support)))]
    assert verify.problems(claim, support, "") == ()


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1,234.50", "1234.50", True),
        ("1.234,50", "1,234.50", True),
        ("3,5", "3.5", True),
        ("1\u00a0234", "1,234", True),
        ("1,234,567", "1234567", True),
        ("12.5", "125", False),
        ("25.06.2022", "25062022", False),
    ],
)
def test_a_number_is_the_same_however_it_is_grouped(one: str, other: str, equal: bool) -> None:
    assert (verify.facts(one) == verify.facts(other)) == equal


@given(number=st.integers(10, 10**9), other=st.integers(10, 10**9))
def test_a_number_is_missing_exactly_when_it_is_another_one(number: int, other: int) -> None:
    found = verify.problems(f"it is {number:,} now", f"they counted {other} of them", "")
    assert bool(found) == (number != other)


def test_facts_are_the_numbers_and_the_words_with_capitals() -> None:
    found = verify.facts("The price of Brent rose to $1,234.50 on 3 May. It fell later.")
    assert found.numbers == {"1234.50", "3"}
    assert found.names == {"Brent", "May"}


def test_a_claim_without_a_verified_citation_is_not_supported() -> None:
    claim = verify.checked("Anything.", [], "Why?")
    assert not claim.supported
    assert claim.problems


def test_what_a_tool_returned_supports_a_number_without_a_citation() -> None:
    assert verify.checked("The sum is 42.", [], "What is the sum?", known="17 + 25 = 42").supported


@given(st.text(alphabet="ab 1\u200b\u202e", min_size=1, max_size=20).filter(lambda text: text.strip("\u200b\u202e ")))
def test_a_claim_with_marks_for_hidden_characters_stands_in_the_words_it_was_taken_from(words: str) -> None:
    cited = Citation(quote=words, document_id="d", uri="", title="", span=Span(0, len(words)), verified=True)
    assert verify.checked(unicode.shown(words), [cited], "?").supported
