"""Comma- and tab-separated values: one table, each row as `a | b`, the first one kept as it stands."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import groupby

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.errors import ReadError
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode

MEDIA_TYPE = "text/csv"
TSV_MEDIA_TYPE = "text/tab-separated-values"
_SAMPLE_LINES = 50
_SAMPLE_CHARS = 20_000
_DELIMITERS = ",;\t|"


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The rows as tables, parted at empty rows; the delimiter is the one that cuts the first lines most evenly."""
    decoded = decode(data)
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    delimiter = _delimiter(text)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for filled, rows in groupby(_rows(text, delimiter), key=any):
        if filled:
            builder.rows(rows)
    kind = TSV_MEDIA_TYPE if delimiter == "\t" else MEDIA_TYPE
    encoding = decoded.encoding if decoded.encoding != "utf-8" else None
    return builder.parsed(media_type=kind, metadata={"encoding": encoding})


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    # One open quote can make a single cell of all that follows; the module's own limit is for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        for cells in csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, skipinitialspace=True):
            yield [one_line(cell) for cell in cells]
    except csv.Error as error:
        raise ReadError(f"the table is damaged: {error}") from error


def _delimiter(text: str) -> str:
    """csv.Sniffer takes letters for delimiters and quadratic time on some inputs; this counts cells instead."""
    lines = [line for line in text[:_SAMPLE_CHARS].split("\n")[:_SAMPLE_LINES] if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
        except csv.Error:
            continue
        common = max(set(widths), key=lambda width: (widths.count(width), width), default=1)
        score = (common > 1) * (widths.count(common) / max(1, len(widths))) * min(common, 10) ** 0.5
        if score > best_score:
            best, best_score = delimiter, score
    return best


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read, suffixes=(".csv",)),
    Format(media_type=TSV_MEDIA_TYPE, read=read, suffixes=(".tsv", ".tab")),
)
