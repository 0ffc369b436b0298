"""Rich text (.rtf): its paragraphs and the rows of its tables."""

from __future__ import annotations

import re
from itertools import groupby

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/rtf"
_TITLE = re.compile(r"\{\\title\s([^{}\\]{1,300})\}")
_AUTHOR = re.compile(r"\{\\author\s([^{}\\]{1,300})\}")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """A paragraph for each line; lines that striprtf ends with a bar are the rows of a table."""
    from striprtf.striprtf import rtf_to_text

    source = data.decode("latin-1")
    text = clean(rtf_to_text(source, errors="replace"))
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for is_row, lines in groupby(text.split("\n"), key=lambda line: line.endswith("|")):
        if is_row:
            builder.rows([one_line(cell) for cell in line[:-1].split("|")] for line in lines)
        else:
            for line in lines:
                builder.add("paragraph", line)
    title, author = _TITLE.search(source[:20_000]), _AUTHOR.search(source[:20_000])
    metadata = {"author": one_line(author[1]) if author else None}
    return builder.parsed(media_type=MEDIA_TYPE, title=title[1] if title else "", metadata={**metadata})


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, magic=(b"{\\rtf",)),)
