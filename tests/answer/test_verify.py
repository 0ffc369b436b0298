"""Checks of a claim against the words it cites."""

from __future__ import annotations

import datetime
import itertools

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import figures, verify
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


@given(data=st.data(), support=st.text(alphabet="Ab1, .ßÖ日nt\n", max_size=40))
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


_DAY = st.dates(min_value=datetime.date(1100, 1, 1), max_value=datetime.date(2999, 12, 31))
_FORMS = (
    "{d} {month} {y}",
    "{month} {d}, {y}",
    "{y}-{m:02}-{d:02}",
    "{d}.{m}.{y}",
    "{d}. {german} {y}",
    "{y}年{m}月{d}日",
)
_GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()  # noqa: SIM905


def written(day: datetime.date, form: str) -> str:
    return form.format(d=day.day, m=day.month, y=day.year, month=f"{day:%B}", german=_GERMAN[day.month - 1])


@given(day=_DAY, one=st.sampled_from(_FORMS), other=st.sampled_from(_FORMS))
def test_a_date_is_the_same_however_it_is_written(day: datetime.date, one: str, other: str) -> None:
    assert (
        verify.problems(f"it ended on {written(day, one)}", f"The term ends {written(day, other)} at noon.", "") == ()
    )


@given(day=_DAY, another=_DAY, one=st.sampled_from(_FORMS), other=st.sampled_from(_FORMS))
def test_another_date_is_a_problem(day: datetime.date, another: datetime.date, one: str, other: str) -> None:
    hypothesis.assume(day != another)
    assert verify.problems(f"it ended on {written(day, one)}", f"The term ends {written(another, other)} at noon.", "")


@given(number=st.integers(1, 10**7), marks=st.sampled_from([",", ".", "\u00a0"]))
def test_grouping_marks_change_no_number(number: int, marks: str) -> None:
    grouped = f"{number:,}".replace(",", marks)
    assert verify.problems(f"they sold {grouped} of them", f"Sales were {number} pieces.", "") == ()


_UNITS = st.sampled_from(["km", "miles", "kg", "feet", "hours", "days", "euros", "dollars", "percent", "years"])


@given(number=st.integers(2, 9999), one=_UNITS, other=_UNITS)
def test_a_number_with_another_unit_is_another_quantity(number: int, one: str, other: str) -> None:
    found = verify.problems(f"the way took {number} {one}", f"All in all it was {number} {other} long.", "")
    assert bool(found) == (one != other)


@pytest.mark.parametrize(
    ("claim", "support", "holds"),
    [
        ("The path is 5 km long", "It is a path of 5 kilometres.", True),
        ("The path is 5000 m long", "It is a path of 5 km.", True),
        ("The path is 5 km long", "It is a path of 5 miles.", False),
        ("It cost 1.2 million euros", "The price was 1,200,000 euros.", True),
        ("It cost €1.2 million", "The price was 1,200,000 euros.", True),
        ("It cost 1.2 million", "The price was 1.2 billion.", False),
        ("It cost $82,959 million", "(in millions) 82,959", True),
        ("It takes 24 months", "The term is 2 years.", True),
        ("It was in March 2024", "On 2024-03-12 it was signed.", True),
        ("It was in April 2024", "On 2024-03-12 it was signed.", False),
        ("It was 2024", "It was signed 12.03.2024.", True),
        ("The deposit is refundable", "The deposit is not refundable.", False),
        ("refundable", "The deposit is not refundable.", False),
        ("Members may smoke in the hall", "Members may not smoke in the hall.", False),
        ("Tesla invented the motor", "Although not the first, Tesla invented the motor.", True),
        ("He was born in Rome", "He was not born in Paris but in Rome.", True),
        ("31 March", "It ends not later than 31 March.", True),
        ("The hall is open", "The hall is never open.", False),
    ],
)
def test_a_claim_holds_exactly_where_the_cited_text_says_it(claim: str, support: str, holds: bool) -> None:
    assert (verify.problems(claim, support, "") == ()) == holds


@given(
    subject=st.sampled_from(["The bridge", "The motor", "A member"]),
    verb=st.sampled_from(["is", "was", "may be", "will be"]),
    rest=st.sampled_from(["open", "sold in Rome", "repaired by the club"]),
    denied=st.booleans(),
    claimed=st.booleans(),
)
def test_a_not_more_or_less_is_always_found(subject: str, verb: str, rest: str, denied: bool, claimed: bool) -> None:
    support = f"{subject} {verb}{' not' if denied else ''} {rest}."
    claim = f"{subject} {verb}{' not' if claimed else ''} {rest}"
    assert bool(verify.problems(claim, support, "")) == (denied != claimed)


@pytest.mark.parametrize(("text", "figure"), [("1,200", True), ("2024-03-12", True), ("5 km", True), ("a 5", False)])
def test_a_figure_is_a_number_or_a_date_alone(text: str, figure: bool) -> None:
    assert verify.is_figure(text) == figure


@given(st.text(max_size=200))
def test_any_text_has_figures_in_order(text: str) -> None:
    for found in (figures.dates(text), figures.quantities(text)):
        assert all(0 <= one.start < one.end <= len(text) for one in found)
        assert all(one.end <= other.start for one, other in itertools.pairwise(found))
