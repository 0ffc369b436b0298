from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.text.columns import labelled, name_at, rows_at

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


FILING = """| Three Months Ended July 1, 2023 | Three Months Ended June 25, 2022 | Nine Months Ended July 1, 2023
Net sales:
iPhone | $39,669 | $40,665 | $156,778
Japan

Total | 4,821 | 5,446 | 18,752"""


def test_columns_that_are_periods_may_have_dates_and_go_on_below_headings() -> None:
    shown = labelled(FILING).split("\n")
    assert shown[1] == (
        "iPhone: Three Months Ended July 1, 2023 = $39,669, Three Months Ended June 25, 2022 = $40,665, "
        "Nine Months Ended July 1, 2023 = $156,778"
    )
    assert shown[0::2] == ["Net sales:", "Japan", "Total: " + shown[4].removeprefix("Total: ")]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("What were the sales in the quarter ended July 1, 2023?", ["$39,669"]),
        ("What were the sales in the nine months ended July 1, 2023?", ["$156,778"]),
        ("What were the sales in the third quarter?", ["$39,669", "$40,665"]),
        ("What were the sales from June 25, 2022 to July 1, 2023?", ["$39,669", "$40,665", "$156,778"]),
        ("What were the sales on May 1, 1999?", ["$39,669", "$40,665", "$156,778"]),
        ("What were the sales?", ["$39,669", "$40,665", "$156,778"]),
    ],
)
def test_columns_about_another_period_than_the_question_are_left_out_unless_all_are(
    asked: str, left: list[str]
) -> None:
    row = labelled(FILING, asked).split("\n")[1]
    assert [cell for cell in ("$39,669", "$40,665", "$156,778") if cell in row] == left


@given(st.sampled_from(["$39,669", "$40,665", "$156,778", "4,821", "5,446", "18,752"]))
def test_a_cell_is_found_under_the_name_of_its_column(cell: str) -> None:
    text = f"Before.\n{FILING}\n\nAfter."
    start = text.index(cell)
    name = name_at(text, start, start + len(cell))
    assert name
    row = labelled(FILING).split("\n")[1 if cell.startswith("$") else 4]
    assert f"{name} = {cell}" in row


@pytest.mark.parametrize("part", ["Before", "iPhone", "$39,669 | $40,665", "Japan", "Three Months Ended July 1, 2023"])
def test_what_is_in_no_single_named_column_has_no_name(part: str) -> None:
    text = f"Before.\n{FILING}\n\nAfter."
    assert name_at(text, text.index(part), text.index(part) + len(part)) == ""


def test_the_names_of_another_table_end_the_one_before() -> None:
    other = "| As of July 1, 2023 | As of June 25, 2022\nCash | 7 | 8"
    shown = labelled(f"{FILING}\n{other}").split("\n")
    assert shown[-1] == "Cash: As of July 1, 2023 = 7, As of June 25, 2022 = 8"
    assert name_at(f"{FILING}\n{other}", len(FILING) + 1, len(FILING) + 5) == ""


PRICES = "Prices are in euros per hour.\n\nRoom | Seats | Price\nHall | 220 | 85\nLinden | 60 | 34\nThe rest is free."


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ("Linden | 60 | 34", "Prices are in euros per hour.\nLinden: Seats 60, Price 34"),
        ("60", "Prices are in euros per hour.\nLinden: Seats 60, Price 34"),
        ("85\nLinden", "Prices are in euros per hour.\nHall: Seats 220, Price 85\nLinden: Seats 60, Price 34"),
        ("The rest is free.", ""),
        ("Prices are", ""),
        ("Seats", ""),
    ],
)
def test_a_row_is_read_with_its_columns_and_what_stands_above_the_table(part: str, read: str) -> None:
    start = PRICES.index(part)
    assert rows_at(PRICES, start, start + len(part)) == read


@given(st.text(alphabet="ab|1.\n ", max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_rows_are_found_in_any_text_without_fault(text: str, start: int, end: int) -> None:
    assert isinstance(rows_at(text, start, end), str)
