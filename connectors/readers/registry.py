"""The formats that are read: every module of them stands here once, and says itself what it reads."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import cache

from ragagent.connectors.readers import (
    archive,
    asciidoc,
    delimited,
    doc,
    docx,
    epub,
    html,
    image,
    iwork,
    latex,
    mail,
    markdown,
    notebook,
    opendocument,
    outlook,
    pdf,
    plain,
    ppt,
    pptx,
    rst,
    rtf,
    source,
    spreadsheet,
    structured,
    subtitles,
    xml,
)
from ragagent.connectors.readers.format import Format, Reader

ENTRY_POINTS = "ragagent.readers"

MODULES = (
    plain,
    markdown,
    html,
    pdf,
    docx,
    doc,
    pptx,
    ppt,
    spreadsheet,
    opendocument,
    iwork,
    mail,
    outlook,
    epub,
    rtf,
    delimited,
    structured,
    xml,
    notebook,
    subtitles,
    rst,
    asciidoc,
    latex,
    source,
    image,
    archive,
)
"""Where two of them claim the same bytes, the earlier one reads them."""

FORMATS: tuple[Format, ...] = tuple(one for module in MODULES for one in module.FORMATS)
READERS: Mapping[str, Reader] = {one.media_type: one.read for one in FORMATS}
SUFFIXES: Mapping[str, str] = {suffix: one.media_type for one in FORMATS for suffix in one.suffixes}


def reader_of(media_type: str) -> Reader | None:
    """The reader of a media type: one of ours, else one of another distribution, else None."""
    return READERS.get(media_type) or _plugged_in().get(media_type)


@cache
def _plugged_in() -> Mapping[str, Reader]:
    """Readers of other distributions by media type; loaded when a file first needs one."""
    return {entry.name: entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
