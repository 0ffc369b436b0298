"""A document as pieces that are cut no further than needed: sentences, rows, lines, whole tables and code blocks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragagent.ingest.chunking import code
from ragagent.ingest.chunking.pieces import BLOCK, HEADING_CHARS, SECTION, SENTENCE, WITHIN, Atom, Run, lines, stripped
from ragagent.ingest.ruler import Ruler, cost_of
from ragagent.text import tables
from ragagent.text.sentences import sentences
from ragagent.types import Block, Document, Span

CONTEXT_CHARS = 600
_EMPTY_LINE = re.compile(r"\n\s*\n")
_WORD = re.compile(r"\S+")
_HASHED_CHARS = 64


class Atoms:
    """The atoms of one text, none over `room`, with the cost of any run of them."""

    def __init__(self, document: Document, ruler: Ruler, room: int, *, by_syntax: bool = False) -> None:
        """`by_syntax`: source code is taken apart by its syntax tree."""
        self.text = document.text
        self.room = room
        found = _atoms(document, ruler, room, by_syntax and code.is_code(document))
        self.all = [piece for atom in found for piece in _fitting(document.text, atom, ruler, room)]
        self._first, self._last = ruler.positions([atom.start for atom in self.all], [atom.end for atom in self.all])
        self._ranks: dict[int, int] = {}

    def cost(self, first: int, last: int) -> int:
        """The size of the atoms from `first` up to, and without, `last`, with what has to be repeated before them."""
        size = cost_of(self._last[last - 1] - self._first[first], self.all[last - 1].end - self.all[first].start)
        return size + self.all[first].context_tokens

    def place(self, index: int) -> int:
        """The number of tokens before an atom."""
        return self._first[index]

    def rank(self, index: int) -> int:
        """How good a place to cut stands before an atom, the lower the better: by its strength, then by its text."""
        if index not in self._ranks:
            self._ranks[index] = ((SECTION - self.all[index].strength) << 32) + self._hashed(index)
        return self._ranks[index]

    def prefer(self, distances: Mapping[int, float]) -> None:
        """Ranks places by how far apart what stands before and after them is (0 near, 1 far), before all else."""
        for index, distance in distances.items():
            # In few steps, so that a rounding error of an embedding does not move a boundary.
            step = 63 - max(0, min(63, round(distance * 63)))
            within = 64 if self.all[index].strength == WITHIN else 0
            self._ranks[index] = ((step + within) << 32) + self._hashed(index)

    def headings(self, run: Run) -> tuple[str, ...]:
        """The headings that stand over all of a run, and last the context that its first row needs."""
        first = self.all[run[0]]
        common = first.headings
        for atom in self.all[run[0] + 1 : run[1]]:
            if atom.strength == SECTION:
                common = tuple(ours for ours, theirs in zip(common, atom.headings, strict=False) if ours == theirs)
        return (*common, first.context) if first.context else common

    def span(self, run: Run) -> Span:
        """Where a run stands in the text."""
        return Span(self.all[run[0]].start, self.all[run[1] - 1].end)

    def _hashed(self, index: int) -> int:
        start = self.all[index].start
        words = " ".join(self.text[start : start + _HASHED_CHARS].split())
        return zlib.crc32(words.encode("utf-8", "surrogatepass"))


def regions(document: Document) -> Iterator[Block]:
    """The blocks in order, without overlap; what stands between them as paragraphs."""
    position, length = 0, len(document.text)
    blocks = [block for block in document.blocks if block.kind != "page"]
    for block in sorted(blocks, key=lambda block: block.span):
        start, end = max(position, block.span.start), min(length, block.span.end)
        if start < end:
            yield from _paragraphs(document.text, position, start)
            yield Block(kind=block.kind, span=Span(start, end), level=block.level)
            position = end
    yield from _paragraphs(document.text, position, length)


def _atoms(document: Document, ruler: Ruler, room: int, by_syntax: bool) -> Iterator[Atom]:
    path: list[tuple[int, str]] = []
    blocks = list(regions(document))
    if by_syntax and not document.blocks:
        blocks = [Block(kind="code", span=Span(0, len(document.text)))]
    for index, block in enumerate(blocks):
        if block.kind == "heading":
            level = max(1, block.level)
            path = [entry for entry in path if entry[0] < level]
            path.append((level, " ".join(block.span.of(document.text).split())[:HEADING_CHARS]))
        headings = tuple(title for _, title in path)
        if by_syntax and block.kind == "code":
            yield from code.atoms(document.text, block.span, document.media_type, headings)
            continue
        for atom in _pieces(document.text, block, ruler, room, _beside(document.text, blocks, index)):
            yield replace(atom, headings=headings)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands around a block: the caption above a table, and whether the next block is to stay with this one."""

    caption: Span | None
    held: bool


def _pieces(text: str, block: Block, ruler: Ruler, room: int, beside: _Beside) -> Iterator[Atom]:
    if block.kind == "heading":
        for span in stripped(text, *block.span):
            yield Atom(span.start, span.end, SECTION, holds=True)
    elif block.kind == "table":
        yield from _table(text, block.span, ruler, room, beside)
    else:
        parts = _parts(text, block, ruler, room)
        strength = BLOCK
        for span in parts:
            yield Atom(span.start, span.end, strength, holds=beside.held)
            strength = SENTENCE


def _parts(text: str, block: Block, ruler: Ruler, room: int) -> list[Span]:
    """Code and captions whole where they fit, other text by sentences."""
    whole = stripped(text, *block.span)
    unbroken = block.kind == "code" or (whole and tables.is_caption(whole[0].of(text)))
    if whole and unbroken and ruler.cost(*whole[0]) <= room:
        return whole
    return lines(text, block.span) if block.kind == "code" else sentences(text, block.span)


def _table(text: str, span: Span, ruler: Ruler, room: int, beside: _Beside) -> Iterator[Atom]:
    """The table as one where it fits with its caption, else its rows, with its header to be repeated."""
    whole = stripped(text, *span)
    if not whole:
        return
    start = beside.caption.start if beside.caption else whole[0].start
    if ruler.cost(start, whole[0].end) <= room:
        yield Atom(whole[0].start, whole[0].end, BLOCK, holds=beside.held)
        return
    rows = lines(text, span)
    top = tables.header_lines([row.of(text) for row in rows])
    header = Span(rows[0].start, rows[top - 1].end) if top else None
    context, tokens = _context(text, beside.caption, header, ruler, room)
    for index, row in enumerate(rows):
        strength = BLOCK if index == 0 else SENTENCE
        needs = index >= max(top, 1)
        yield Atom(
            row.start,
            row.end,
            strength,
            holds=index < top or (beside.held and row == rows[-1]),
            context=context if needs else "",
            context_tokens=tokens if needs else 0,
        )


def _context(text: str, caption: Span | None, header: Span | None, ruler: Ruler, room: int) -> tuple[str, int]:
    """The caption and the header of a table, as many lines as a third of the room holds, and their tokens."""
    kept: list[str] = []
    tokens = 0
    for span in (caption, header):
        for line in lines(text, span) if span else ():
            cost = ruler.cost(*line) + 1
            if tokens + cost > room // 3 or sum(map(len, kept)) + line.end - line.start > CONTEXT_CHARS:
                return "\n".join(["", *kept]) if kept else "", tokens
            kept.append(line.of(text))
            tokens += cost
    return "\n".join(["", *kept]) if kept else "", tokens


def _caption(text: str, blocks: Sequence[Block], index: int) -> Span | None:
    """The caption above a table: a short paragraph right before it."""
    if blocks[index].kind != "table" or not index:
        return None
    before = blocks[index - 1]
    if before.kind not in {"paragraph", "quote"}:
        return None
    found = stripped(text, *before.span)
    short = found and found[0].end - found[0].start <= tables.MAX_CAPTION_CHARS
    return found[0] if found and (short or tables.is_caption(found[0].of(text))) else None


def _beside(text: str, blocks: Sequence[Block], index: int) -> _Beside:
    caption = _caption(text, blocks, index)
    following = blocks[index + 1] if index + 1 < len(blocks) else None
    if following is None:
        return _Beside(caption=caption, held=False)
    if blocks[index].kind != "table":
        return _Beside(caption=caption, held=_caption(text, blocks, index + 1) is not None)
    below = caption is None and following.kind == "paragraph" and tables.is_caption(following.span.of(text).strip())
    return _Beside(caption=caption, held=below)


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    for match in _EMPTY_LINE.finditer(text, start, end):
        if not text[start : match.start()].isspace() and start < match.start():
            yield Block(kind="paragraph", span=Span(start, match.start()))
        start = match.end()
    if start < end:
        yield Block(kind="paragraph", span=Span(start, end))


def _fitting(text: str, atom: Atom, ruler: Ruler, room: int) -> Iterator[Atom]:
    """The atom, or its words when it is too long, or pieces of a word that is too long by itself."""
    room -= atom.context_tokens
    # Cheap first: no tokeniser makes more tokens than UTF-8 has bytes.
    if 4 * (atom.end - atom.start) <= room or ruler.cost(atom.start, atom.end) <= room:
        yield atom
        return
    strength = atom.strength
    for match in _WORD.finditer(text, atom.start, atom.end):
        for span in ruler.cut(match.start(), match.end(), room):
            yield replace(atom, start=span.start, end=span.end, strength=strength, holds=False)
            strength = WITHIN
