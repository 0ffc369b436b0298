"""Spreadsheets (.xlsx, .xls): a heading for each sheet, and its tables with the values that the cells show."""

from __future__ import annotations

import datetime
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.ole import container
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.connectors.readers.xlsx_charts import add_charts
from ragagent.connectors.readers.zipped import check_zip, read_entries
from ragagent.errors import EncryptedDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLS_MEDIA_TYPE = "application/vnd.ms-excel"
XLSB_MEDIA_TYPE = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
MAX_CELLS = 20_000_000
"""Cells between the first and the last used one, over all sheets: the parser holds 24 bytes for each, used or not."""

_TEXT_FACTOR = 4
_MAX_CELL_CHARS = 40_000
_MAX_SPREAD = 400
"""Cells that a merged one may cover and still be said in each of them."""
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,10})["']""")
_REFERENCE = re.compile(
    rb"""\bt\s*=\s*["']s["'][^<]*+(?:<(?!/?(?:\w+:)?c\b|(?:\w+:)?v\b)[^<]*+)*+<(?:\w+:)?v\b[^>]*>\s*([0-9]{1,9})"""
)
_STRING = re.compile(rb"<(?:\w+:)?si\b")
# Records of the old binary format whose content begins with a row and a column.
_CELL_RECORDS = frozenset({0x0006, 0x00BD, 0x00BE, 0x00D6, 0x00FD, 0x0201, 0x0203, 0x0204, 0x0205, 0x027E})
_BOF = frozenset({0x0009, 0x0209, 0x0409, 0x0809})
_FILEPASS = 0x002F


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Every sheet that has cells: its name as a heading, its tables parted at empty rows, lone cells as paragraphs."""
    kind = _check_xlsx(data, limits) if data.startswith(b"PK") else _check_xls(data)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for title, rows in _sheets(data):
        add_sheet(builder, title, rows)
    if data.startswith(b"PK"):
        add_charts(builder, data)
    return builder.parsed(media_type=kind)


def add_sheet(builder: TextBuilder, title: str, rows: Iterable[list[str]]) -> None:
    """The sheet's name as a heading and its parts; a sheet without a filled cell is left out."""
    named = False
    for filled, group in groupby(rows, key=any):
        if not filled:
            continue
        if not named:
            builder.add("heading", one_line(title) or "Sheet", level=1)
            named = True
        part = list(group)
        if len(part) == 1 and sum(map(bool, part[0])) == 1:
            builder.add("paragraph", next(filter(None, part[0])))
        else:
            builder.rows(_cut(part))


def _cut(rows: list[list[str]]) -> list[list[str]]:
    """`rows` without the columns before the first filled one."""
    start = min(next(place for place, cell in enumerate(cells) if cell) for cells in rows)
    return [cells[start:] for cells in rows]


def value_text(value: Any) -> str:
    """A cell's value as text: whole numbers without a point, dates and times in ISO form."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".15g")
    if isinstance(value, datetime.datetime):
        at_midnight = value.time() == datetime.time()
        return value.date().isoformat() if at_midnight else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds")
    return one_line(str(value)[:_MAX_CELL_CHARS])


def _sheets(data: bytes) -> Iterator[tuple[str, Iterator[list[str]]]]:
    import python_calamine as calamine

    try:
        workbook = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        for sheet in workbook.sheets_metadata:
            if sheet.typ == calamine.SheetTypeEnum.WorkSheet:
                found = workbook.get_sheet_by_name(sheet.name)
                rows = ([value_text(value) for value in cells] for cells in found.iter_rows())
                yield sheet.name, _spread(rows, found.merged_cell_ranges or (), found.start or (0, 0))
    except calamine.PasswordError as error:
        raise EncryptedDocument("the workbook is encrypted and wants a password") from error
    except calamine.CalamineError as error:
        raise ReadError(f"the workbook is damaged: {error}") from error
    except BaseException as error:
        # A panic of the Rust parser arrives as a BaseException that no module exports.
        if type(error).__name__ != "PanicException":
            raise
        raise ReadError(f"the workbook is damaged: {error}") from error


def _spread(
    rows: Iterable[list[str]], merged: Iterable[tuple[tuple[int, int], tuple[int, int]]], start: tuple[int, int]
) -> Iterator[list[str]]:
    """The rows with the value of a merged cell in each of the cells it covers, unless it is a title.

    A cell over several columns is a heading of all of them; one that begins in the first column, with nothing else in
    its row, is the title of a part of the sheet.
    """
    beginning: dict[int, list[tuple[int, int, int]]] = {}
    for (top, left), (bottom, right) in merged:
        if (bottom - top + 1) * (right - left + 1) <= _MAX_SPREAD:
            beginning.setdefault(top - start[0], []).append((left - start[1], right - start[1], bottom - start[0]))
    hanging: list[tuple[int, int, int, str]] = []
    for number, cells in enumerate(rows):
        hanging = [one for one in hanging if one[2] >= number]
        alone = sum(map(bool, cells)) == 1
        for left, right, bottom in beginning.get(number, ()):
            if 0 <= left < len(cells) and cells[left]:
                hanging.append((left, left if alone and left == 0 else right, bottom, cells[left]))
        for left, right, _, text in hanging:
            for place in range(max(0, left), min(right + 1, len(cells))):
                cells[place] = cells[place] or text
        yield cells


def _check_xlsx(data: bytes, limits: IngestSettings) -> str:
    """Refuses a workbook whose cells, or whose shared strings where they are used, would not fit into memory."""
    cells = 0
    used: Counter[bytes] = Counter()
    lengths: list[int] = []
    parts = [name for name in check_zip(data) if name.startswith("xl/") and not name.startswith("xl/media/")]
    for _, content in read_entries(data, parts):
        if b"sheetData" in content:
            cells += _area(content)
            used.update(_REFERENCE.findall(content))
        elif b"sst" in content[:2000]:
            starts = [match.start() for match in _STRING.finditer(content)]
            lengths = [end - start for start, end in pairwise([*starts, len(content)])]
        if cells > MAX_CELLS:
            _refuse(cells)
    chars = sum(count * lengths[int(place)] for place, count in used.items() if int(place) < len(lengths))
    if chars > _TEXT_FACTOR * limits.max_text_chars:
        raise TooLarge(f"its cells repeat {chars} bytes of shared text (setting ingest.max_text_chars)")
    return MEDIA_TYPE


def _area(sheet: bytes) -> int:
    """The cells of the smallest rectangle around the used ones."""
    places = set(_PLACE.findall(sheet))
    rows = [int(row) for _, row in places]
    columns = [_column(letters) for letters, _ in places if letters] or [1]
    return (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1) if rows else 0


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _check_xls(data: bytes) -> str:
    """The same bound for the old binary format, from its records."""
    cells = 0
    corner: list[int] | None = None
    for kind, content in _records(_workbook_stream(data)):
        if kind == _FILEPASS:
            raise EncryptedDocument("the workbook is encrypted and wants a password")
        if kind in _BOF:
            corner = None
        elif kind in _CELL_RECORDS and len(content) >= 4:
            row, column = int.from_bytes(content[:2], "little"), int.from_bytes(content[2:4], "little")
            before = _size(corner)
            corner = _grown(corner, row, column)
            cells += _size(corner) - before
    if cells > MAX_CELLS:
        _refuse(cells)
    return XLS_MEDIA_TYPE


def _grown(corner: list[int] | None, row: int, column: int) -> list[int]:
    if corner is None:
        return [row, row, column, column]
    return [min(corner[0], row), max(corner[1], row), min(corner[2], column), max(corner[3], column)]


def _size(corner: list[int] | None) -> int:
    return 0 if corner is None else (corner[1] - corner[0] + 1) * (corner[3] - corner[2] + 1)


def _workbook_stream(data: bytes) -> bytes:
    with container(data) as opened:
        return opened.stream("Workbook", "Book")


def _records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(stream):
        kind, length = int.from_bytes(stream[at : at + 2], "little"), int.from_bytes(stream[at + 2 : at + 4], "little")
        yield kind, stream[at + 4 : at + 4 + min(length, 4)]
        at += 4 + length


def _refuse(cells: int) -> None:
    raise TooLarge(f"its sheets span {cells} cells; at most {MAX_CELLS} are read")


FORMATS = (
    Format(media_type=XLSB_MEDIA_TYPE, read=read, zipped=(("[Content_Types].xml", "xl/workbook.bin"),)),
    Format(media_type=MEDIA_TYPE, read=read, zipped=(("[Content_Types].xml", "xl/"),)),
    Format(media_type=XLS_MEDIA_TYPE, read=read, ole=("Workbook", "Book")),
)
