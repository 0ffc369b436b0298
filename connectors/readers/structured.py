"""JSON, and JSON lines: every value beside the path that leads to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.errors import ReadError
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode

MEDIA_TYPE = "application/json"
LINES_MEDIA_TYPE = "application/x-ndjson"
MAX_DEPTH = 200
_TABLE_COLUMNS = 50
_LONG_CHARS = 300
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Lines of `path: value`, a paragraph for each object below the top; lists of flat records become tables."""
    text = decode(data).text
    builder = TextBuilder(max_chars=limits.max_text_chars)
    _add(builder, load_json(text))
    return builder.parsed(media_type=MEDIA_TYPE)


def read_lines(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """One record a line: a table where all are flat and alike, else a paragraph for each."""
    records: list[Any] = []
    for number, line in enumerate(decode(data).text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(load_json(line))
            except ReadError as error:
                raise ReadError(f"line {number}: {error}") from error
    builder = TextBuilder(max_chars=limits.max_text_chars)
    _add(builder, records)
    return builder.parsed(media_type=LINES_MEDIA_TYPE, metadata={"records": len(records)})


def load_json(text: str) -> Any:
    """The value of a JSON text that is not too deep for a recursive parser."""
    depth = 0
    for match in _BRACKETS.finditer(_STRING.sub("", text)):
        depth += 1 if match[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ReadError(f"the JSON is nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, parse_int=str, parse_float=str)
    except ValueError as error:
        raise ReadError(f"the JSON is damaged: {error}") from error


def _add(builder: TextBuilder, value: Any) -> None:
    if isinstance(value, list) and _is_table(value):
        keys = list(value[0])
        builder.rows([keys, *([_scalar(record.get(key)) for key in keys] for record in value)])
    elif isinstance(value, list):
        for item in value:
            _record(builder, item)
    else:
        _record(builder, value)


def _record(builder: TextBuilder, value: Any) -> None:
    """The values of one record; long texts become paragraphs of their own behind their path."""
    lines: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, list) and _is_table(inner):
                builder.add("paragraph", "\n".join(lines))
                builder.add("heading", one_line(key), level=2)
                _add(builder, inner)
                lines = []
            else:
                lines.extend(_lines(inner, one_line(key)))
    else:
        lines.extend(_lines(value, ""))
    builder.add("paragraph", "\n".join(lines))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{path}.{one_line(key)}".lstrip(".")[-_LONG_CHARS:])
    elif isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        yield f"{path}: {', '.join(map(_scalar, value))}" if path else ", ".join(map(_scalar, value))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _lines(item, f"{path}[{place}]")
    else:
        text = str(value).strip() if isinstance(value, str) and "\n" in value else _scalar(value)
        yield f"{path}: {text}" if path else text


def _is_table(value: list[Any]) -> bool:
    """Whether a list holds flat records with the same few keys and short values."""
    if len(value) < 2 or not isinstance(value[0], dict) or not 0 < len(value[0]) <= _TABLE_COLUMNS:
        return False
    keys = value[0].keys()
    return all(isinstance(one, dict) and one.keys() == keys and all(map(_is_short, one.values())) for one in value)


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= _LONG_CHARS


def _scalar(value: Any) -> str:
    if value is None or value is True or value is False:
        return json.dumps(value)
    return one_line(str(value))


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read, suffixes=(".json",)),
    Format(media_type=LINES_MEDIA_TYPE, read=read_lines, suffixes=(".jsonl", ".ndjson")),
)
