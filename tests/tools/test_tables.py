from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.tools.tables import labelled

cells = st.text(alphabet="abc 12.,", min_size=1, max_size=6).map(str.strip).filter(bool)
names = st.lists(st.text(alphabet="klm", min_size=1, max_size=4), min_size=2, max_size=4)


@given(names, st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=4))
def test_every_cell_stands_beside_the_name_of_its_column(names: list[str], rows: list[list[str]]) -> None:
    text = "\n".join(" | ".join(row) for row in [names, *rows])
    shown = labelled(f"Before.\n{text}\nAfter.").split("\n")
    assert shown == ["Before.", *(f"{first}: {names[1]} {second}" for first, second in rows), "After."]


@given(st.text(alphabet="ab1.\n ", max_size=60))
def test_a_text_without_a_table_stays_as_it_is(text: str) -> None:
    assert labelled(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "2023 | 2024\n1 | 2",
        "Room | Price\nHall | 3 | 4",
        "use a | b\n\nor c | d",
        "|",
        "|\n|",
    ],
)
def test_what_may_be_no_table_stays_as_it_is(text: str) -> None:
    assert labelled(text) == text


def test_tables_of_markdown_and_tables_with_missing_cells_are_read_too() -> None:
    text = "| Room | Seats | Price |\n|:---|---:|---|\n| Hall | 220 | 85.00 |\n| Loft | | 9.00 |\n| Yard | 5 |"
    assert labelled(text) == "Hall: Seats 220, Price 85.00\nLoft: Price 9.00\nYard: Seats 5"
