from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.retrieve.asked_filters import read
from ragagent.where import And, Eq, Expression, Or, Prefix, Range, written


@pytest.mark.parametrize(
    ("question", "name", "words", "where"),
    [
        ("What do reports from 2023 say?", "date", "reports from 2023", Range("date", ge="2023", lt="2024-01-01")),
        ("documents since March 2021", "date", "documents since March 2021", Range("date", ge="2021-03")),
        ("letters after 2020-12-31", "date", "letters after 2020-12-31", Range("date", ge="2021-01-01")),
        ("slides before 2020-02 on wind", "date", "slides before 2020-02", Range("date", lt="2020-02")),
        ("notes until 3 May 2022", "date", "notes until 3 May 2022", Range("date", lt="2022-05-04")),
        (
            "papers written between 2019 and 2021",
            "date",
            "papers written between 2019 and 2021",
            Range("date", ge="2019", lt="2022-01-01"),
        ),
        ("minutes of December 2020", "date", "minutes of December 2020", Range("date", ge="2020-12", lt="2021-01-01")),
        ("notice period in the PDF files", "type", "in the PDF files", Eq("type", "pdf")),
        ("what do the pdfs say of rent?", "type", "do the pdfs", Eq("type", "pdf")),
        ("totals in my spreadsheets", "type", "in my spreadsheets", Eq("type", "spreadsheet")),
        ("search all emails for it", "type", "search all emails", Eq("type", "mail")),
        (
            "what is in folder law/2023?",
            "folder",
            "in folder law/2023",
            And((Eq("folder", "law"), Eq("folder", "2023"))),
        ),
        ('rent in the folder "My Files"', "folder", 'in the folder "My Files"', And((Eq("folder", "My Files"),))),
        (
            "emails by Anna Berg about the lease",
            "author",
            "emails by Anna Berg",
            Or((Eq("author", "Anna Berg"), Prefix("from", "Anna Berg"))),
        ),
    ],
)
def test_what_a_question_says_of_documents_is_a_filter(question: str, name: str, words: str, where: Expression) -> None:
    (found,) = read(question)
    assert (found.name, found.words, found.where) == (name, words, where)
    assert words in question
    assert read(question, without={name}) == []


@pytest.mark.parametrize(
    "question",
    [
        "What happened in 2023?",
        "Who was president since 2020?",
        "papers after 2020-02-30",
        "reports between 2019 or so",
        "a picture of the world",
        "notes of 20231 words",
        "the letters by hand",
        "Which file holds the record?",
        "",
    ],
)
def test_what_a_question_says_of_the_world_is_none(question: str) -> None:
    assert read(question) == []


def test_several_filters_are_read_at_once() -> None:
    found = read("in the pdfs: reports by Anna Berg, documents from 2020 to 2022, in folder law")
    assert [one.name for one in found] == ["type", "date", "folder", "author"]
    assert written(found[1].where)


@given(st.text(max_size=300) | st.text("reports from in by 2023-01 Anna pdf ", max_size=120))
def test_any_text_can_be_read(question: str) -> None:
    for one in read(question):
        assert one.words in question
        assert written(one.where)


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)))
def test_a_day_takes_in_itself_alone(day: datetime.date) -> None:
    (found,) = read(f"documents of {day.isoformat()}")
    assert isinstance(found.where, Range)
    assert found.where.bounds() == {"ge": day.isoformat(), "lt": (day + datetime.timedelta(days=1)).isoformat()}
