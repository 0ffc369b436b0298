"""What a reader returns, and the builder that keeps its text and its spans together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NoReturn

from ragagent.errors import EmptyDocument, TooLarge
from ragagent.types import Block, BlockKind, Metadata, Scalar, Span

# Newlines in one form, spaces in one width, and nothing that cannot be seen, said or searched for. The joiners
# U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_REMOVED = [*range(0x09), *range(0x0E, 0x20), 0x7F, *range(0x80, 0x85), *range(0x86, 0xA0)]
_REMOVED += [0xAD, 0x200B, 0x2060, 0xFEFF, 0xFFFC, 0xFFFE, 0xFFFF]
_CLEAN: dict[int, str | None] = dict.fromkeys(_REMOVED)
_CLEAN |= dict.fromkeys([0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029], "\n")
_CLEAN |= dict.fromkeys([0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F], " ")
_CLEAN |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_BLANK_LINES = re.compile(r"\n{3,}")
_SEPARATORS = re.compile(r"[\s_]+|(?<=[a-z0-9])-(?=[a-zA-Z0-9])")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file inside a file: an attachment, a member of an archive, a message of a mailbox.

    `path` is where it stands inside, as it is written there; it is only a name, nothing is ever written to it. `open`
    takes the most bytes wanted and returns the content; it raises TooLarge when there is more, and ReadError when it
    cannot be had, and is called before the next member is asked for. `metadata` is what its container says of it.
    """

    path: str
    open: Callable[[int], bytes]
    media_type: str = ""
    metadata: Metadata = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The text of a file, its blocks as spans over that text, and what the format says about itself.

    `inside` gives the files inside, one at a time; `notes` say what was left out or done in an unusual way.
    """

    text: str
    media_type: str
    blocks: tuple[Block, ...] = ()
    title: str = ""
    metadata: Metadata = field(default_factory=dict, hash=False)
    inside: Callable[[], Iterable[Member]] = tuple
    notes: tuple[str, ...] = ()


def clean(text: str) -> str:
    """`text` with plain newlines and spaces, no control characters, and no blanks at the end of a line."""
    text = text.replace("\r\n", "\n").translate(_CLEAN)
    # Line by line: a pattern for blanks before a newline needs quadratic time on a long run of blanks.
    lines = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines)


def one_line(text: str) -> str:
    """`text` with every run of white space as one space, and none outside."""
    return _SPACES.sub(" ", text.translate(_CLEAN)).strip()


def row(cells: list[str]) -> str:
    """A table row as readable text: `a | b`; empty cells at the end are left out. `cells_of` is its inverse."""
    cells = [cell.replace(" | ", " ¦ ") for cell in cells]
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return " | ".join(cells[:end])


def cells_of(line: str) -> list[str]:
    """The cells of a line of a table block, without empty ones at the end: the grid a table's text was made from."""
    line = " " + line if line.startswith("| ") else line
    return [cell.strip() for cell in line.split(" | ")]


def readable(name: str) -> str:
    """A title from a file name: `2023-annual_report.pdf` becomes `2023 annual report`."""
    return " ".join(_SEPARATORS.sub(" ", PurePath(name).stem).split()) or name


class TextBuilder:
    """Collects the blocks of a document in reading order; blocks are parted by an empty line."""

    def __init__(self, *, max_chars: int) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self.first_heading = ""

    @property
    def chars(self) -> int:
        """The length of the text so far."""
        return self._length

    def add(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        """Appends a block of clean text; text without a visible character is left out. Raises TooLarge."""
        text = clean(text)
        text = text.strip("\n") if kind == "code" else text.strip()
        if not text.strip():
            return
        start = self._append(text)
        self._blocks.append(Block(kind=kind, span=Span(start, start + len(text)), level=level))
        if kind == "heading" and not self.first_heading:
            self.first_heading = one_line(text)

    def extend(self, part: Parsed, *, deeper: int = 0) -> None:
        """Appends the blocks of another text, its headings `deeper` levels down; its pages are left out."""
        for block in sorted((one for one in part.blocks if one.kind != "page"), key=lambda one: one.span):
            level = min(6, block.level + deeper) if block.kind == "heading" else block.level
            self.add(block.kind, block.span.of(part.text), level=level)

    def rows(self, rows: Iterable[list[str]]) -> None:
        """Appends a table; its text is bounded while it is gathered, so rows may come without end. Raises TooLarge."""
        lines: list[str] = []
        length = self._length
        for cells in rows:
            line = row(cells)
            if line.strip():
                lines.append(line)
                length += len(line) + 1
                if length > self._max_chars:
                    self._too_large()
        self.add("table", "\n".join(lines))

    @contextmanager
    def page(self, number: int) -> Iterator[None]:
        """What is added inside belongs to the page; a page without text leaves no block."""
        first = len(self._blocks)
        yield
        added = [block for block in self._blocks[first:] if block.kind != "page"]
        if added:
            span = Span(added[0].span.start, added[-1].span.end)
            self._blocks.append(Block(kind="page", span=span, number=number))

    def parsed(
        self,
        *,
        media_type: str,
        title: str = "",
        metadata: dict[str, Scalar] | None = None,
        inside: Callable[[], Iterable[Member]] = tuple,
        notes: Iterable[str] = (),
    ) -> Parsed:
        """Everything added so far. Raises EmptyDocument when that is nothing."""
        if not self._parts:
            raise EmptyDocument("there is no text in it")
        return Parsed(
            text="".join(self._parts),
            blocks=tuple(self._blocks),
            title=one_line(title)[:300] or self.first_heading[:300],
            media_type=media_type,
            metadata={key: value for key, value in (metadata or {}).items() if value not in (None, "")},
            inside=inside,
            notes=tuple(notes),
        )

    def _append(self, text: str) -> int:
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        if self._length > self._max_chars:
            self._too_large()
        return start

    def _too_large(self) -> NoReturn:
        raise TooLarge(f"it has more than {self._max_chars} characters of text (setting ingest.max_text_chars)")
