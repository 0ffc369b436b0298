"""What a page says beside its running text is kept: addresses, cells over several columns, charts."""

from __future__ import annotations

import io

from xlsxwriter import Workbook

from ragagent.connectors import readers
from ragagent.connectors.readers import read_document
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.text import hidden


def text(data: str | bytes, name: str, **settings: str) -> str:
    content = data.encode() if isinstance(data, str) else data
    limits = IngestSettings(**settings)  # type: ignore[arg-type]
    return read_document(content, uri="test:1", name=name, settings=limits).text


def test_markdown_links_elsewhere_keep_their_addresses() -> None:
    assert text("See [the plan](https://example.org/plan) and [below](#x).", "a.md") == (
        "See the plan (https://example.org/plan) and below."
    )
    assert text("<https://example.org> or [a@b.org](mailto:a@b.org)", "a.md") == "https://example.org or a@b.org"


def test_addresses_of_a_web_page_are_listed_once_below_its_text() -> None:
    link = '<a href="https://example.org/plan">the plan</a>'
    page = f"<html><body><p>See {link} and {link}, <a href='/x'>here</a>.</p></body></html>"
    assert text(page, "a.html") == "See the plan and the plan, here.\n\n- the plan: https://example.org/plan"
    assert text(page, "a.html", links="texts") == "See the plan and the plan, here."


def test_a_cell_over_several_columns_of_a_web_table_is_said_in_each() -> None:
    page = "<table><tr><td colspan=2>May</td><td>June</td></tr><tr><td>1</td><td>2</td><td>3</td></tr></table>"
    assert text(page, "a.html") == "May | May | June\n1 | 2 | 3"
    assert text(page.replace("<td>June</td>", ""), "a.html").startswith("May\n1 | 2 | 3")


def test_hidden_characters_are_counted_and_reported() -> None:
    data = "pay \u202e001\u202c to \U000e0041\U000e0042 Ann".encode()
    found = readers.read(Fetched(uri="test:1", name="a.txt", content=data), settings=IngestSettings())
    assert found.document.metadata["hidden_characters"] == 4
    assert "4 hidden characters" in found.notes[0]
    assert hidden.without(found.document.text) == "pay 001 to  Ann"
    plain = read_document("می‌خواهم 👩‍👩‍👧".encode(), uri="test:1", name="a.txt")
    assert "hidden_characters" not in plain.metadata


def _workbook() -> bytes:
    target = io.BytesIO()
    with Workbook(target) as book:
        sheet = book.add_worksheet("Seats")
        sheet.merge_range("A1:C1", "The house")
        sheet.merge_range("B2:C2", "Rooms")
        for row, values in enumerate([["", "Oak", "Elm"], ["2023", 60, 20], ["2024", 62.5, 25]], start=2):
            sheet.write_row(row, 0, values)
        chart = book.add_chart({"type": "bar"})
        chart.set_title({"name": "Seats by year"})
        places = {"categories": ["Seats", 3, 0, 4, 0], "values": ["Seats", 3, 1, 4, 1]}
        chart.add_series({"name": "Oak", "categories_data": ["2023", "2024"], "values_data": [60, 62.5], **places})
        sheet.insert_chart("F2", chart)
    return target.getvalue()


def test_merged_cells_head_all_their_columns_and_titles_stand_alone() -> None:
    lines = text(_workbook(), "a.xlsx").split("\n")
    assert "The house | The house" not in "\n".join(lines)
    assert lines[lines.index(next(line for line in lines if "Oak | Elm" in line)) - 1].endswith("Rooms | Rooms")


def test_a_chart_is_its_title_and_a_table() -> None:
    found = text(_workbook(), "a.xlsx")
    assert "Seats by year\n\n" in found
    assert found.endswith("| Oak\n2023 | 60\n2024 | 62.5")


def test_what_a_page_calls_navigation_is_left_out_unless_it_is_all_there_is() -> None:
    body = "<p>" + "The ferry to the island leaves at seven in the morning. " * 5 + "</p>"
    links = '<table><tr><td><a href="a">Prev</a></td><td><a href="b">Next</a></td></tr></table>'
    for attribute in ('class="navheader"', 'id="Pagination"', 'class="wide breadcrumbs"', 'role="navigation"'):
        assert "Prev" not in text(f"<html><body><div {attribute}>{links}</div>{body}</body></html>", "a.html")
    for attribute in ('class="navy"', 'id="unavigated"', ""):
        assert "Prev | Next" in text(f"<html><body><div {attribute}>{links}</div>{body}</body></html>", "a.html")
    assert "Prev | Next" in text(f'<html><body><div class="nav">{links}</div></body></html>', "a.html")
