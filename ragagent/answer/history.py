"""What was said before in a conversation, as the model reads it: append-only, so that no prefix is read twice."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragagent.retrieve import pack
from ragagent.text import columns, unicode
from ragagent.types import Chunk, Message, Passage, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The messages before a question, and for each document the spans of it that stand in them.

    `ahead` are passages that were read in advance, and stand first in the next message whatever it asks.
    """

    messages: tuple[Message, ...] = ()
    shown: Mapping[str, Sequence[Span]] = field(default_factory=dict, hash=False)
    ahead: tuple[Passage, ...] = ()

    def unread(self, passages: Sequence[Passage]) -> tuple[Passage, ...]:
        """What the next message shows: `ahead`, and what of `passages` stands neither there nor in the messages.

        A table comes whole, for its rows need their header.
        """
        ahead = spans(self.ahead)
        found = [
            _without(passage, (*self.shown.get(passage.document_id, ()), *ahead.get(passage.document_id, ())))
            for passage in passages
        ]
        rest = [passage for passage in found if passage is not None]
        if not self.ahead:
            return tuple(rest)
        return tuple(replace(passage, number=number) for number, passage in enumerate([*self.ahead, *rest], 1))


NOTHING = Past()


def kept(passages: Sequence[Passage], cited: Mapping[str, Sequence[Span]]) -> tuple[Passage, ...]:
    """The passages that a span of `cited` (by document) touches: what stays of a turn once room is short."""
    return tuple(
        passage
        for passage in passages
        if any(
            piece.start < span.end and span.start < piece.end
            for piece in passage.pieces
            for span in cited.get(passage.document_id, ())
        )
    )


def spans(passages: Sequence[Passage]) -> dict[str, tuple[Span, ...]]:
    """The pieces of `passages` by document."""
    found: dict[str, tuple[Span, ...]] = {}
    for passage in passages:
        found[passage.document_id] = (*found.get(passage.document_id, ()), *passage.pieces)
    return found


def around(passage: Passage, chunks: Sequence[Chunk], past: Past) -> list[Passage]:
    """What of the chunks that `passage` was taken from is unread; nothing of tables, which read as they are asked."""
    near = [
        chunk
        for chunk in chunks
        if any(piece.start < chunk.span.end and chunk.span.start < piece.end for piece in passage.pieces)
    ]
    whole = [replace(passage, text=unicode.shown(chunk.text), pieces=(chunk.span,)) for chunk in near]
    return [one for one in past.unread(whole) if columns.labelled(one.text, "") == one.text]


def _without(passage: Passage, shown: Sequence[Span]) -> Passage | None:
    """`passage` without the characters of `shown`; None where nothing but white space is left."""
    left = [rest for piece in passage.pieces for rest in _rest(piece, shown)]
    if columns.labelled(passage.text, "") != passage.text:
        return passage if left else None
    parts = [
        (Span(piece.start + cut.start - inside.start, piece.start + cut.end - inside.start), cut)
        for piece, inside in zip(passage.pieces, pack.piece_ranges(passage), strict=True)
        for rest in _rest(piece, shown)
        if (cut := _trimmed(passage.text, rest, inside.start - piece.start))
    ]
    if not parts:
        return None
    text = passage.text[parts[0][1].start : parts[0][1].end]
    for (_, before), (_, after) in itertools.pairwise(parts):
        text += "\n" if "\n" in passage.text[before.end : after.start] else " "
        text += passage.text[after.start : after.end]
    return replace(passage, text=text, pieces=tuple(piece for piece, _ in parts))


def _rest(piece: Span, shown: Sequence[Span]) -> list[Span]:
    """What of `piece` no span of `shown` covers, in order."""
    found, at = [], piece.start
    for span in sorted(shown):
        if span.end <= at or span.start >= piece.end:
            continue
        if span.start > at:
            found.append(Span(at, span.start))
        at = span.end
    return [*found, Span(at, piece.end)] if at < piece.end else found


def _trimmed(text: str, rest: Span, shift: int) -> Span | None:
    """The range of `text` at `rest` moved by `shift`, without white space at its ends; None where nothing is left."""
    start, end = rest.start + shift, rest.end + shift
    whole = text[start:end]
    start, end = start + len(whole) - len(whole.lstrip()), end - (len(whole) - len(whole.rstrip()))
    return Span(start, end) if start < end else None
