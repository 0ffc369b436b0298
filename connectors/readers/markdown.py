"""Markdown as readable text: the marks go, the structure stays as blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line, row
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import BlockKind, Scalar

MEDIA_TYPE = "text/markdown"
MAX_INLINE_CHARS = 10_000
"""The marks inside a longer paragraph are left as they stand."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^([A-Za-z][\w-]*)[ \t]*:[ \t]*(\S.*)$", re.MULTILINE)
_ABSOLUTE = re.compile(r"(?:https?|ftp)://|mailto:", re.I)
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|<[/!?]?[A-Za-z][^<>]*>", re.DOTALL)


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Headings, paragraphs, lists, quotes, tables (rows as `a | b`) and code; front matter goes to the metadata."""
    from markdown_it import MarkdownIt

    text = clean(decode(data).text)
    metadata: dict[str, Scalar] = {}
    front = _FRONT_MATTER.match(text)
    if front:
        metadata = {key.lower(): value.strip("\"'") for key, value in _FIELD.findall(front[1])}
        text = text[front.end() :]
    # Blocks first, and the inside of each when it is short: link parsing needs quadratic time on brackets.
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("inline")
    references: dict[str, Any] = {}
    tokens = parser.parse(text, references)
    for token in tokens:
        if token.type == "inline" and len(token.content) <= MAX_INLINE_CHARS:
            token.children = []
            parser.inline.parse(token.content, parser, references, token.children)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    _Walk(tokens, builder).run()
    return builder.parsed(media_type=MEDIA_TYPE, title=str(metadata.pop("title", "")), metadata=metadata)


class _Walk:
    """One pass over markdown-it's flat tokens; lists and quotes are collected until their outermost end."""

    def __init__(self, tokens: Sequence[Any], builder: TextBuilder) -> None:
        self._tokens = tokens
        self._builder = builder
        self._lines: list[str] = []
        self._open: list[str] = []
        self._counters: list[int | None] = []
        self._marker = ""

    def run(self) -> None:
        tokens = iter(self._tokens)
        for token in tokens:
            if token.type == "table_open":
                self._emit("table", "\n".join(_rows(tokens)))
            elif token.type == "heading_open":
                self._heading(next(tokens), int(token.tag[1]))
            elif token.type in {"bullet_list_open", "ordered_list_open", "blockquote_open"}:
                self._enter(token)
            elif token.type in {"bullet_list_close", "ordered_list_close", "blockquote_close"}:
                self._leave()
            elif token.type == "list_item_open":
                self._item()
            elif token.type == "inline":
                self._emit("paragraph", _content(token))
            elif token.type in {"fence", "code_block"}:
                self._emit("code", token.content)
            elif token.type == "html_block":
                self._emit("paragraph", one_line(unescape(_TAG.sub(" ", token.content))))

    def _heading(self, token: Any, level: int) -> None:
        text = one_line(_content(token))
        if self._open:
            self._emit("paragraph", text)
        else:
            self._builder.add("heading", text, level=level)

    def _enter(self, token: Any) -> None:
        self._open.append(token.type)
        if token.type != "blockquote_open":
            ordered = token.type == "ordered_list_open"
            self._counters.append(int(token.attrs.get("start", 1)) if ordered else None)

    def _leave(self) -> None:
        kind = self._open.pop()
        if kind != "blockquote_open":
            self._counters.pop()
        if not self._open:
            block: BlockKind = "quote" if kind == "blockquote_open" else "list"
            self._builder.add(block, "\n".join(self._lines), level=1 if block == "list" else 0)
            self._lines = []

    def _item(self) -> None:
        number = self._counters[-1]
        self._marker = "- " if number is None else f"{number}. "
        if number is not None:
            self._counters[-1] = number + 1

    def _emit(self, kind: BlockKind, text: str) -> None:
        if not self._open:
            self._builder.add(kind, text)
            return
        indent = "  " * max(0, len(self._counters) - 1)
        for line in text.strip("\n").split("\n"):
            self._lines.append(indent + self._marker + line)
            self._marker = " " * len(self._marker)
        self._marker = "  " if self._counters else ""


def _rows(tokens: Iterator[Any]) -> Iterator[str]:
    cells: list[str] = []
    for token in tokens:
        if token.type == "table_close":
            return
        if token.type == "inline":
            cells.append(one_line(_content(token)))
        elif token.type == "tr_close":
            yield row(cells)
            cells = []


def _content(token: Any) -> str:
    return inline(token.children) if token.children is not None else str(token.content)


def inline(tokens: Sequence[Any]) -> str:
    """The readable text of inline tokens: `text (address)` for a link elsewhere; image descriptions stay, marks go."""
    parts: list[str] = []
    begun: list[tuple[int, str]] = []
    for token in tokens:
        if token.type == "link_open":
            begun.append((len(parts), str(token.attrs.get("href", ""))))
        elif token.type == "link_close" and begun:
            place, address = begun.pop()
            text = "".join(parts[place:])
            if _ABSOLUTE.match(address) and address not in text and address.removeprefix("mailto:") not in text:
                parts.append(f" ({address})" if text.strip() else address)
        if token.type in {"text", "code_inline"}:
            parts.append(token.content)
        elif token.type == "image":
            parts.append(inline(token.children or ()))
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak" or (token.type == "html_inline" and token.content.lower().startswith("<br")):
            parts.append("\n")
    return "".join(parts)


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".md", ".markdown", ".mkd", ".mdown")),)
