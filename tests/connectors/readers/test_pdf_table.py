"""Tables of a page: figures stand under the headings that they stand under on the page."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.readers import pdf_table, read_document
from ragagent.connectors.readers.parsed import cells_of, row
from ragagent.connectors.readers.pdf_line import Line, Word, lines
from ragagent.settings import IngestSettings


def page(*rows: list[tuple[float, str]]) -> list[Line]:
    """Lines of a page from (left edge, text), 6 points a letter, 14 points a line."""
    words = []
    for number, cells in enumerate(rows):
        for left, text in cells:
            at = left
            for part in text.split(" "):
                words.append(Word(part, at, at + 6 * len(part), 700 - 14 * number, 12, False, 0, 0))
                at += 6 * len(part) + 4
    return lines(words)


def texts(found: list[Line]) -> list[str]:
    rows = pdf_table.table(found)
    assert rows is not None
    for one in rows:
        assert _letters(one.text) == _letters("".join(word.text for cell in one.cells for word in cell.words))
    return [one.text for one in rows]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def test_a_heading_over_several_columns_is_said_for_each() -> None:
    found = page(
        [(230, "Three Months"), (430, "Nine Months")],
        [(200, "2023"), (300, "2022"), (400, "2023"), (500, "2022")],
        [(20, "Products"), (200, "1,000"), (300, "2,000"), (400, "3,000"), (500, "4,000")],
        [(20, "Services"), (200, "100"), (300, "200"), (400, "300"), (500, "400")],
    )
    assert texts(found) == [
        " | Three Months 2023 | Three Months 2022 | Nine Months 2023 | Nine Months 2022",
        "Products | 1,000 | 2,000 | 3,000 | 4,000",
        "Services | 100 | 200 | 300 | 400",
    ]


def test_a_missing_figure_leaves_its_cell_empty() -> None:
    found = page(
        [(200, "2023"), (300, "2022"), (400, "2021")],
        [(20, "Rent"), (200, "1,000"), (300, "2,000"), (400, "3,000")],
        [(20, "Heating"), (200, "100"), (400, "300")],
        [(20, "Water"), (300, "200")],
    )
    assert texts(found)[1:] == ["Rent | 1,000 | 2,000 | 3,000", "Heating | 100 |  | 300", "Water |  | 200"]


def test_signs_go_with_their_figures() -> None:
    found = page(
        [(200, "2023"), (300, "2022")],
        [(20, "Income"), (180, "$"), (200, "1,000"), (280, "$"), (300, "2,000")],
        [(20, "Margin"), (200, "12.5"), (240, "%"), (300, "(3.1"), (340, ")%")],
    )
    assert texts(found)[1:] == ["Income | $1,000 | $2,000", "Margin | 12.5% | (3.1)%"]


def test_a_label_of_two_lines_is_put_together() -> None:
    found = page(
        [(200, "2023"), (300, "2022")],
        [(20, "Income")],
        [(20, "before tax"), (200, "1,000"), (300, "2,000")],
        [(20, "Costs:")],
        [(20, "Rent"), (200, "100"), (300, "200")],
    )
    assert texts(found)[1:] == ["Income before tax | 1,000 | 2,000", "Costs:", "Rent | 100 | 200"]


def test_columns_of_words_alone_are_left_to_others() -> None:
    assert pdf_table.table(page([(20, "a b"), (200, "c d")], [(20, "e f"), (200, "g h")])) is None


def test_the_statements_of_a_filing_name_their_columns(shared_data: Path) -> None:
    path = shared_data / "sec_10q_pdf" / "docs" / "2022_Q3_AAPL.pdf"
    document = read_document(path, settings=IngestSettings(ocr="never"))
    tables = [block.span.of(document.text) for block in document.blocks if block.kind == "table"]
    (statement,) = [text for text in tables if text.startswith("| Three Months") and "Total cost of sales" in text]
    grid = [cells_of(line) for line in statement.split("\n")]
    ended = ["June 25, 2022", "June 26, 2021"]
    assert grid[0] == ["", *(f"{months} Months Ended {date}" for months in ("Three", "Nine") for date in ended)]
    assert ["Total net sales", "82,959", "81,434", "304,182", "282,457"] in grid


@given(st.lists(st.text("ab |1", max_size=6).map(lambda text: " ".join(text.split())), min_size=1, max_size=5))
def test_the_text_of_a_row_gives_its_cells_back(cells: list[str]) -> None:
    while cells and not cells[-1]:
        cells = cells[:-1]
    expected = [cell.replace(" | ", " ¦ ") for cell in cells]
    if expected and not any(cell.startswith("|") or cell.endswith("|") or cell == "|" for cell in expected):
        assert cells_of(row(cells).strip()) == expected or not any(expected)


def test_a_word_parted_at_the_end_of_a_line_is_put_together(shared_data: Path) -> None:
    path = shared_data / "messy_docs" / "docling" / "pdf" / "picture_classification.pdf"
    text = read_document(path, settings=IngestSettings(ocr="never")).text
    assert "diam nonumy eirmod tempor" in text
    assert "eir-mod" not in text
