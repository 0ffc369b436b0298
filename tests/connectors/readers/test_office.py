"""Spreadsheets and presentations, made by other programs' libraries and read back."""

from __future__ import annotations

import datetime
import io
import zipfile

import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from xlsxwriter import Workbook

from ragagent.connectors.readers import read_document
from ragagent.errors import ReadError, TooLarge
from ragagent.types import Document


def _read(data: bytes, name: str) -> Document:
    return read_document(data, uri="test:1", name=name)


def _blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.span.of(document.text)) for block in document.blocks if block.kind != "page"]


def _xlsx(sheets: dict[str, dict[tuple[int, int], object]]) -> bytes:
    target = io.BytesIO()
    with Workbook(target, {"in_memory": True, "default_date_format": "dd/mm/yy"}) as book:
        for name, cells in sheets.items():
            sheet = book.add_worksheet(name)
            for (row, column), value in cells.items():
                sheet.write(row, column, value)
    return target.getvalue()


def _changed(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            content = source.read(entry)
            assert entry.filename != part or old in content
            archive.writestr(entry.filename, content.replace(old, new) if entry.filename == part else content)
    return target.getvalue()


def test_sheets_are_headings_and_empty_rows_part_tables() -> None:
    cells: dict[tuple[int, int], object] = {(0, 1): "Costs of 2024", (2, 1): "Item", (2, 2): "Sum"}
    cells |= {(3, 1): "Rent", (3, 2): 1200.0, (4, 1): "Power", (4, 2): 0.1 + 0.2, (6, 1): "Paid on", (6, 2): True}
    cells[7, 2] = datetime.datetime(2024, 5, 1)
    cells[8, 2] = datetime.datetime(2024, 5, 1, 14, 30)
    document = _read(_xlsx({"Costs": cells, "Empty": {}, "Notes": {(0, 0): "Only a note"}}), "a.xlsx")
    assert _blocks(document) == [
        ("heading", "Costs"),
        ("paragraph", "Costs of 2024"),
        ("table", "Item | Sum\nRent | 1200\nPower | 0.3"),
        ("table", "Paid on | TRUE\n | 2024-05-01\n | 2024-05-01 14:30:00"),
        ("heading", "Notes"),
        ("paragraph", "Only a note"),
    ]


def test_the_value_of_a_formula_is_read() -> None:
    target = io.BytesIO()
    with Workbook(target) as book:
        book.add_worksheet("A").write_formula(0, 0, "=6*7", None, 42)
    assert _read(target.getvalue(), "a.xlsx").text == "A\n\n42"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'r="B2"', b'r="XFD1048576"'), (b"r='B2'", b"r = 'XFD1048576'")],
    ids=["double quotes", "single quotes"],
)
def test_a_sheet_that_spans_all_cells_is_refused_before_it_is_held(old: bytes, new: bytes) -> None:
    data = _xlsx({"A": {(0, 0): 1, (1, 1): 2}})
    data = _changed(data, "xl/worksheets/sheet1.xml", b'r="B2"', old)
    with pytest.raises(TooLarge, match="span 1717986"):
        _read(_changed(data, "xl/worksheets/sheet1.xml", old, new), "a.xlsx")


def test_a_list_of_shared_texts_may_be_empty() -> None:
    data = _changed(_xlsx({"A": {(0, 0): 7, (1, 1): "x"}}), "xl/sharedStrings.xml", b"<si><t>x</t></si>", b"")
    data = _changed(data, "xl/worksheets/sheet1.xml", b'<c r="B2" t="s"><v>0</v></c>', b"")
    assert "7" in _read(data, "a.xlsx").text


def test_a_declared_size_that_the_cells_do_not_fill_is_harmless() -> None:
    data = _xlsx({"A": {(0, 0): "here", (1, 1): 2}})
    data = _changed(data, "xl/worksheets/sheet1.xml", b'ref="A1:B2"', b'ref="A1:XFD1048576"')
    assert "here" in _read(data, "a.xlsx").text


def test_one_long_text_in_many_cells_is_refused_before_it_is_copied() -> None:
    cells: dict[tuple[int, int], object] = {(row, column): "x" * 30_000 for row in range(100) for column in range(100)}
    with pytest.raises(TooLarge, match="shared text"):
        _read(_xlsx({"A": cells}), "a.xlsx")


def test_entities_in_a_workbook_are_harmless() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "' + b"&a;" * 1000 + b'">]>'
    data = _changed(_xlsx({"A": {(0, 0): "word"}}), "xl/sharedStrings.xml", b"<sst", bomb + b"<sst")
    data = _changed(data, "xl/sharedStrings.xml", b"word", b"word &b;")
    try:
        assert "haha" not in _read(data, "a.xlsx").text
    except ReadError:
        return


def _deck() -> bytes:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Plans for 2025"
    body = first.placeholders[1].text_frame
    body.text = "Open the garden"
    inner = body.add_paragraph()
    inner.text, inner.level = "in May", 1
    first.notes_slide.notes_text_frame.text = "Say thanks first."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    for text, left, top in (("right", 5, 1), ("below", 1, 3), ("left", 1, 1)):
        second.shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(1)).text_frame.text = text
    table = second.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(4), Inches(1)).table
    for place, text in enumerate(("Room", "Seats", "Linden", "60")):
        table.cell(place // 2, place % 2).text = text
    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("Guests", (120, 150.5))
    chart = second.shapes.add_chart(XL_CHART_TYPE.LINE, Inches(1), Inches(6), Inches(4), Inches(1), data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Guests by year"
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(9), Inches(2), Inches(1)).text_frame.text = "in a group"
    deck.core_properties.author = "Ada"
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def test_slides_are_pages_in_reading_order() -> None:
    document = _read(_deck(), "a.pptx")
    assert _blocks(document) == [
        ("heading", "Plans for 2025"),
        ("list", "- Open the garden\n  - in May"),
        ("paragraph", "Notes: Say thanks first."),
        ("paragraph", "left"),
        ("paragraph", "right"),
        ("paragraph", "below"),
        ("table", "Room | Seats\nLinden | 60"),
        ("paragraph", "Guests by year"),
        ("table", " | Guests\n2023 | 120\n2024 | 150.5".strip()),
        ("paragraph", "in a group"),
    ]
    assert document.page_at(document.text.index("Linden")) == 2
    assert (document.metadata["author"], document.metadata["pages"]) == ("Ada", 2)


def test_three_dimensional_charts_are_read_too() -> None:
    part = next(name for name in zipfile.ZipFile(io.BytesIO(_deck())).namelist() if "charts/chart" in name)
    data = _changed(_deck(), part, b"c:lineChart", b"c:bar3DChart")
    assert "2024 | 150.5" in _read(data, "a.pptx").text
