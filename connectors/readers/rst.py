"""reStructuredText: docutils' tree of the document, with nothing included and nothing fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode

MEDIA_TYPE = "text/x-rst"
MAX_CHARS = 1_000_000
"""docutils needs up to a second for 20,000 characters; longer texts are read as plain text."""

MAX_RUN_CHARS = 3_000
"""Longer runs of lines get an empty line put in: docutils needs quadratic time for the marks within a paragraph."""

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "syntax_highlight": "none",
    "smart_quotes": False,
    "doctitle_xform": False,
    "line_length_limit": MAX_RUN_CHARS,
}
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_ROLE = re.compile(r":[\w:.+-]{1,60}:`([^`]{1,500})`")
_TARGET = re.compile(r"\s*<[^<>]{1,300}>$")
_OPTIONS = re.compile(r"(?:[ \t]+:[\w-]{1,60}:[^\n]*\n)*")
_EMPTY_DIRECTIVES = ("toctree", "raw", "include", "contents", "image", "csv-table", "automodule", "autoclass")
_SKIPPED = frozenset(
    {"comment", "substitution_definition", "target", "raw", "pending", "image", "meta", "docinfo", "decoration"}
)


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Sections as headings, lists, tables, literal blocks, quotes; of directives that docutils lacks their content."""
    from docutils.core import publish_doctree

    whole = clean(decode(data).text)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    if len(whole) > MAX_CHARS:
        for part in _EMPTY_LINE.split(whole):
            builder.add("paragraph", part)
        return builder.parsed(media_type=MEDIA_TYPE, notes=[f"read as plain text: longer than {MAX_CHARS} characters"])
    text = "\n".join(_bounded(whole))
    tree = publish_doctree(text, settings_overrides=_SETTINGS)
    _Walk(builder).run(tree, 1)
    return builder.parsed(media_type=MEDIA_TYPE)


def _bounded(text: str) -> Iterator[str]:
    """The lines of `text`, long ones and long runs of them broken; tables are parsed cell by cell and stay whole."""
    run = 0
    table = False
    for line in text.split("\n"):
        for start in range(0, max(1, len(line)), MAX_RUN_CHARS):
            part = line[start : start + MAX_RUN_CHARS]
            if not part.strip():
                run = 0
            elif run == 0:
                table = part.lstrip().startswith(("+-", "==="))
            run += len(part)
            if run > MAX_RUN_CHARS and not table:
                yield ""
                run = len(part)
            yield part


class _Walk:
    """One pass over the tree; its depth is bounded by that of docutils' own recursion."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder

    def run(self, node: Any, level: int) -> None:
        for child in node.children:
            self._node(child, level)

    def _node(self, node: Any, level: int) -> None:
        kind = node.tagname
        if kind in _SKIPPED:
            return
        if kind in {"title", "subtitle", "rubric"}:
            self._builder.add("heading", one_line(_text(node)), level=min(level, 6))
        elif kind in {"literal_block", "doctest_block", "math_block"}:
            self._builder.add("code", node.astext())
        elif kind in {"bullet_list", "enumerated_list", "definition_list", "field_list", "option_list"}:
            self._builder.add("list", "\n".join(_lines(node, 0)), level=1)
        elif kind == "table":
            self._table(node)
        elif kind == "block_quote":
            self._builder.add("quote", "\n".join(_text(child) for child in node.children))
        elif kind == "system_message":
            self._unknown(node)
        elif kind == "section":
            for child in node.children:
                self._node(child, level + (child.tagname == "section"))
        elif kind in {"paragraph", "line_block", "caption", "term"} or not node.children:
            self._builder.add("paragraph", _text(node))
        else:
            self.run(node, level)

    def _table(self, node: Any) -> None:
        for title in node.findall(lambda one: one.tagname == "title"):
            self._builder.add("paragraph", _text(title))
        rows = node.findall(lambda one: one.tagname == "row")
        self._builder.rows([one_line(_text(entry)) for entry in line.children] for line in rows)

    def _unknown(self, node: Any) -> None:
        """The content of a directive that only Sphinx knows; docutils hands it back in its complaint."""
        for block in node.findall(lambda one: one.tagname == "literal_block"):
            first, _, rest = block.astext().partition("\n")
            name, _, argument = first.partition("::")
            rest = dedent(_OPTIONS.sub("", rest, count=1)).strip("\n")
            if "code" in name:
                self._builder.add("code", rest)
            elif not any(word in name for word in _EMPTY_DIRECTIVES):
                self._builder.add("paragraph", f"{argument.strip()}\n{_plain(rest)}")


def _text(node: Any) -> str:
    """Readable text; a role that only Sphinx knows leaves what it marks."""
    if node.tagname == "paragraph":
        return _plain(" ".join(node.astext().split("\n")))
    return _plain(node.astext())


def _plain(text: str) -> str:
    return _ROLE.sub(lambda match: _TARGET.sub("", match[1]).lstrip("~!") or match[1], text)


def _lines(node: Any, depth: int) -> Iterator[str]:
    number = node.get("start", 1) if node.tagname == "enumerated_list" else None
    for item in node.children:
        mark = "- " if number is None else f"{number}. "
        number = None if number is None else number + 1
        for part in item.children:
            if part.tagname.endswith("_list"):
                yield from _lines(part, depth + 1)
            elif part.tagname == "definition":
                yield from ("  " * (depth + 1) + one_line(_text(one)) for one in part.children)
            elif text := one_line(_text(part)):
                yield "  " * depth + mark + text
                mark = "  "


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".rst", ".rest")),)
