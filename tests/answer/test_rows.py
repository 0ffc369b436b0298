"""Rows of tables: a cell is shown only where its source says it of the subject of its row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.answer import rows
from ragagent.types import Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]
Facts = dict[str, tuple[str, str]]

NAMES = ["Linden Room", "Hall", "Oak Room", "Stable", "Linden"]
COLUMNS = ["Room", "Seats", "Price"]
FORMS: dict[str, Callable[[Facts], str]] = {
    "rows": lambda facts: "\n".join(
        ["Room | Seats | Price", *(f"{name} | {seats} | {price}" for name, (seats, price) in facts.items())]
    ),
    "a sentence each": lambda facts: " ".join(
        f"The {name} has {seats} seats and costs {price} euros." for name, (seats, price) in facts.items()
    ),
    "one goes on": lambda facts: " ".join(
        f"The {name} has {seats} seats. It costs {price} euros." for name, (seats, price) in facts.items()
    ),
    "joined": lambda facts: " ".join(
        f"{' and the '.join(f'The {name} has {facts[name][at]} {word}' for name in facts)}.".replace(
            "and the The", "and the"
        )
        for at, word in enumerate(["seats", "windows"])
    ),
    "the other way round": lambda facts: " ".join(
        f"There are {' and '.join(f'{facts[name][at]} {word} in the {name}' for name in facts)}."
        for at, word in enumerate(["seats", "windows"])
    ),
    "respectively": lambda facts: (
        f"The {' and the '.join(facts)} have {' and '.join(seats for seats, _ in facts.values())} seats and "
        f"{' and '.join(price for _, price in facts.values())} windows, respectively."
    ),
}
WHOLE = ("rows", "a sentence each", "one goes on")


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    """Two to four subjects, each with a number of seats and a price, all of which differ."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    numbers = draw(st.lists(st.integers(3, 999), min_size=2 * len(names), max_size=2 * len(names), unique=True))
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {name: (str(seats), str(price)) for name, (seats, price) in zip(names, pairs, strict=True)}


def shown(
    written: Sequence[Sequence[str]], text: str, library: Library, names: Sequence[str] = COLUMNS
) -> list[rows.Row]:
    evidence, documents = library(text)
    return rows.checked(names, written, evidence, "Which rooms are there?", documents.get)


@settings(max_examples=50)
@given(facts=worlds(), form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_no_row_mixes_subjects_though_each_of_its_cells_stands_in_the_passages(
    facts: Facts, form: str, data: st.DataObject, library: Library
) -> None:
    values = [value for pair in facts.values() for value in pair]
    written = [[name, data.draw(st.sampled_from(values)), data.draw(st.sampled_from(values))] for name in facts]
    for row in shown(written, FORMS[form](facts), library, ["Room", "", ""]):
        if not row.claim.supported:
            assert row.claim.problems
            continue
        name, *cells = row.cells
        assert set(cells) - {rows.EMPTY} <= set(facts[name])
        assert any(cell != rows.EMPTY for cell in cells)
        for cell in {*cells} - {rows.EMPTY}:
            assert any(cell in one.quote for one in row.claim.citations)
        assert all(one.verified for one in row.claim.citations)
        assert bool(row.claim.problems) == (row.cells != tuple(written[list(facts).index(name)]))


@settings(max_examples=50)
@given(facts=worlds(), form=st.sampled_from(WHOLE))
def test_what_is_said_of_a_subject_is_kept(facts: Facts, form: str, library: Library) -> None:
    written = [[name, *pair] for name, pair in facts.items()]
    found = shown(written, FORMS[form](facts), library)
    assert [list(row.cells) for row in found] == written
    assert all(row.claim.supported and not row.claim.problems for row in found)


@settings(max_examples=50)
@given(facts=worlds())
def test_a_cell_stands_under_the_column_that_its_name_fits(facts: Facts, library: Library) -> None:
    written = [[name, price, seats] for name, (seats, price) in facts.items()]
    assert not any(row.claim.supported for row in shown(written, FORMS["rows"](facts), library))
    turned = shown(written, FORMS["rows"](facts), library, ["Room", "Price per hour", "Number of seats"])
    assert [list(row.cells) for row in turned] == written


@pytest.mark.parametrize("text", ["The Linden Room has 60 seats.", "Linden Room | 60 | 34\nHall | 220 | 85"])
def test_a_part_of_a_number_or_a_word_is_no_cell(text: str, library: Library) -> None:
    for cell in ("6", "0", "Lin", "4"):
        assert not shown([["Linden Room", cell]], text, library, ["Room", ""])[0].claim.supported


def test_a_heading_names_the_subject_of_what_stands_below_it(library: Library) -> None:
    evidence, documents = library("It has 60 seats. Keys are at the desk.")
    titled = evidence.passages[0].title
    (row,) = rows.checked(["Room", "Seats"], [[titled, "60"]], evidence, "?", documents.get)
    assert row.claim.supported


def test_what_is_denied_of_a_subject_is_not_said_of_it(library: Library) -> None:
    (row,) = shown([["Hall", "heated"]], "The Hall is not heated.", library, ["Room", ""])
    assert not row.claim.supported


def test_numbers_and_dates_are_found_however_they_are_written() -> None:
    assert rows.spots(4200, "It is 4,200 euros.") == [(6, 17)]
    assert rows.spots(4.2, "It is 4,2 Millionen.") == [(6, 20)]
    assert rows.spots("2021-07-01", "It began on 1 July 2021.") == [(12, 23)]
    assert (
        rows.spots(42, "It is 4,200 euros.") == rows.spots("2021-07-02", "on 1 July 2021") == rows.spots(None, "") == []
    )


def test_two_names_that_are_listed_together_are_both_meant(library: Library) -> None:
    text = "The Hall and the Stable have 60 seats."
    found = shown([["Hall", "60"], ["Stable", "60"]], text, library, ["Room", "Seats"])
    assert [row.claim.supported for row in found] == [True, True]
    assert len(list(itertools.chain.from_iterable(row.claim.citations for row in found))) == 2
