"""Jupyter notebooks (.ipynb): Markdown cells as Markdown, code cells as code, and what they printed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers import markdown
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder
from ragagent.connectors.readers.structured import load_json
from ragagent.errors import EmptyDocument, ReadError
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import Scalar

MEDIA_TYPE = "application/x-ipynb+json"
MAX_OUTPUT_CHARS = 20_000
"""More than this of one output is a log rather than a result."""

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The cells in order; of an output its plain text, of an error its name and message. Pictures are left out."""
    notebook = load_json(decode(data).text)
    cells = _cells(notebook)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for cell in cells:
        source = _joined(cell.get("source", cell.get("input")))
        if cell.get("cell_type") == "markdown":
            with contextlib.suppress(EmptyDocument):
                builder.extend(markdown.read(source.encode("utf-8", "replace"), name=name, limits=limits))
        elif cell.get("cell_type") == "heading":
            builder.add("heading", source, level=1)
        else:
            builder.add("code" if cell.get("cell_type") == "code" else "paragraph", source)
        for text in _outputs(cell):
            builder.add("code", _COLOURS.sub("", text[:MAX_OUTPUT_CHARS]))
    return builder.parsed(media_type=MEDIA_TYPE, metadata=_metadata(notebook) | {"cells": len(cells)})


def _cells(notebook: Any) -> list[dict[str, Any]]:
    """The cells of any version of the format; before version 4 they stood in worksheets."""
    if not isinstance(notebook, dict):
        raise ReadError("it is no notebook")
    sheets = notebook.get("worksheets")
    places = [notebook, *(sheets if isinstance(sheets, list) else [])]
    lists = [place.get("cells") for place in places if isinstance(place, dict)]
    if not any(isinstance(one, list) for one in lists):
        raise ReadError("the notebook has no cells")
    return [cell for one in lists if isinstance(one, list) for cell in one if isinstance(cell, dict)]


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        if output.get("output_type") in {"error", "pyerr"}:
            yield f"{_joined(output.get('ename'))}: {_joined(output.get('evalue'))}"
        elif isinstance(data, dict):
            yield _joined(data.get("text/plain") or data.get("text/markdown"))
        else:
            yield _joined(output.get("text"))


def _joined(source: Any) -> str:
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def _metadata(notebook: dict[str, Any]) -> dict[str, Scalar]:
    metadata = notebook.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = kernel.get("language") if isinstance(kernel, dict) else None
    return {"language": language if isinstance(language, str) else None}


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".ipynb",)),)
