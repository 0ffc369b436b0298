"""What a question is searched by, beside its own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.retrieve.rewrite import searched


@pytest.mark.parametrize(
    ("question", "added"),
    [
        ("What were the sales in the second quarter of 2023?", " Q2"),
        ("What were the sales in Q3 2023?", " third quarter"),
        ("What were the sales in the first fiscal quarter and in Q4?", " Q1 fourth quarter"),
        ("Did Q1, the first quarter, end well?", ""),
        ("What is a quarter?", ""),
    ],
)
def test_a_quarter_is_searched_by_both_of_its_names(question: str, added: str) -> None:
    assert searched(question) == question + added


@given(st.text(max_size=60))
def test_the_question_itself_stays_first_and_whole(question: str) -> None:
    assert searched(question).startswith(question)
