"""A figure for nine months is no answer to a question about a quarter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import verify
from ragagent.text import period
from ragagent.types import Citation, Span

ASKED = "How many shares were repurchased in the quarter ended July 1, 2023?"
NINE = "During the nine months ended July 1, 2023, the Company repurchased 365 million shares."


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        (ASKED, {3}),
        (NINE, {9}),
        ("Three Months Ended June 25, 2022 | Nine Months Ended June 25, 2022", {3, 9}),
        ("the 12-month period ended", {12}),
        ("in the third quarter of 2023", {3}),
        ("the fiscal year ended September 24", {12}),
        ("with three months' notice to the end of a quarter", set()),
    ],
)
def test_the_lengths_of_the_periods_of_a_text_are_read(text: str, lengths: set[int]) -> None:
    assert period.months(text) == lengths


@given(st.text(max_size=60), st.text(max_size=60))
def test_texts_that_name_no_period_or_the_same_one_are_in_no_conflict(one: str, other: str) -> None:
    assert period.conflict(one, f"{other} in the quarter ended") in {"", period.conflict(one, "the quarter ended")}
    assert period.conflict(ASKED, f"{NINE} Of them 120 million in the third quarter.") == ""
    assert period.conflict("How many shares were repurchased?", NINE) == ""


def test_a_claim_that_cites_another_period_than_the_question_is_not_supported() -> None:
    cited = Citation(
        quote=NINE, document_id="d", uri="u", title="t", span=Span(0, len(NINE)), verified=True, chunk_id="c", page=None
    )
    claim = verify.checked("365 million", [cited], ASKED)
    assert not claim.supported
    assert claim.problems == ("the cited text is about 9 months, the question about 3 months",)
    assert verify.checked("365 million", [cited], ASKED.replace("quarter", "nine months")).supported


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the quarter ended July 1, 2023", {(2023, 7, 1)}),
        ("Three Months Ended Apr 1, 2023 | Apr. 2, 2022", {(2023, 4, 1), (2022, 4, 2)}),
        ("on 30 September 2022", {(2022, 9, 30)}),
        ("in July 2023", set()),
    ],
)
def test_dates_are_read_in_the_ways_english_writes_them(text: str, found: set[tuple[int, int, int]]) -> None:
    assert period.dates(text) == found


@pytest.mark.parametrize(
    ("asked", "column", "other"),
    [
        ("in the quarter ended July 1, 2023", "Three Months Ended July 1, 2023", False),
        ("in the quarter ended July 1, 2023", "Three Months Ended June 25, 2022", True),
        ("in the quarter ended July 1, 2023", "Nine Months Ended July 1, 2023", True),
        ("in the third quarter", "Nine Months Ended July 1, 2023", True),
        ("in Q3 2023", "Three Months Ended June 25, 2022", False),
        ("in all", "Nine Months Ended July 1, 2023", False),
        ("in the quarter ended July 1, 2023", "Change", False),
        ("in the quarter ended July 1, 2023", "", False),
    ],
)
def test_a_column_of_another_date_or_length_is_told(asked: str, column: str, other: bool) -> None:
    assert bool(period.other_column(asked, column)) == other


def test_a_cell_under_another_period_than_the_question_supports_no_answer() -> None:
    row = "iPhone | $39,669 | $40,665"
    cited = Citation(
        quote=row, document_id="d", uri="u", title="t", span=Span(0, len(row)), verified=True, chunk_id="c", page=None
    )
    right = verify.checked("$39,669", [cited], ASKED, column="Three Months Ended July 1, 2023")
    wrong = verify.checked("$40,665", [cited], ASKED, column="Three Months Ended June 25, 2022")
    assert right.supported
    assert wrong.problems == ("the cited text is about the column 'Three Months Ended June 25, 2022'",)
