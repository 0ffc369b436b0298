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
from ragagent.errors import ConfigError

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
    foreign = (one.read for one in plugged_in() if one.media_type == media_type)
    return READERS.get(media_type) or next(foreign, None)


@cache
def plugged_in() -> tuple[Format, ...]:
    """The formats of other distributions, which claim what none of ours does; loaded when a file is first read.

    Raises ConfigError for an entry point that is no module of formats.
    """
    return tuple(one for entry in importlib.metadata.entry_points(group=ENTRY_POINTS) for one in _formats(entry))


def _formats(entry: importlib.metadata.EntryPoint) -> tuple[Format, ...]:
    try:
        return tuple(entry.load().FORMATS)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the entry point {entry.name} = {entry.value} of {ENTRY_POINTS} names no module with FORMATS ({error}); "
            "mend or uninstall the distribution it comes from"
        ) from error
