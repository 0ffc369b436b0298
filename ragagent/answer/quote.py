"""Quotes that cannot be invented: a grammar that admits only runs of the evidence, and where a run stands."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ragagent.retrieve import compress, pack
from ragagent.text import unicode
from ragagent.text.sentences import sentences
from ragagent.types import Citation, Document, Evidence, Grammar, Passage, Span, digest

NOT_FOUND = "NOT FOUND"
MAX_RUN_CHARS = 200
MAX_QUOTE_CHARS = 400
MAX_CLAIMS = 3

Documents = Callable[[str], Document | None]
"""A document by its id, or None."""

_MAX_PLACES = 100
_NEAR_CHARS = 200
# Scripts without spaces between words: every character may begin or end a run.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff]"
)
_INNER = "'’.,-_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run stands: `passage.text[start:end]`, within one piece."""

    passage: Passage
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.passage.text[self.start : self.end]


def answers(evidence: Evidence) -> Grammar:
    """A grammar of one to three lines, each a run of words of one line of a passage, or else NOT FOUND."""
    start = f'start: "{NOT_FOUND}" | RUN ("\\n" RUN){{0,{MAX_CLAIMS - 1}}}'
    return _lark([start, *_runs(evidence)])


def items(evidence: Evidence, most: int) -> Grammar:
    """A grammar of one to `most` lines, each "- " and a run of words of one line of a passage, or else NOT FOUND."""
    start = f'start: "{NOT_FOUND}" | "- " RUN ("\\n- " RUN){{0,{most - 1}}}'
    return _lark([start, *_runs(evidence)])


def strings(name: str, evidence: Evidence) -> Iterator[str]:
    """The terminal `name`: runs of words of the evidence that stand in a JSON text as they are."""
    yield from _runs(evidence)
    yield f'{name}: RUN & /[^"\\\\]+/'


def yes() -> Grammar:
    """A grammar of Yes alone: what it brings back is how likely the model is to say so."""
    return _lark(['start: "Yes"'])


def sentence_choice(evidence: Evidence) -> Grammar:
    """A grammar of one whole sentence of the evidence, or NOT FOUND."""
    found = dict.fromkeys(place.text for passage in evidence.passages for place in units(passage))
    return _lark([f'start: "{NOT_FOUND}" | SENTENCE', "SENTENCE: " + " | ".join(json.dumps(text) for text in found)])


def units(passage: Passage) -> list[Place]:
    """The sentences and table rows of a passage, in order, each within one piece."""
    return [
        Place(passage=passage, start=span.start, end=span.end)
        for piece in pack.piece_ranges(passage)
        for span in sentences(passage.text, piece)
    ]


def find(run: str, evidence: Evidence, near: str = "") -> Place | None:
    """Where `run` stands in the evidence: exactly, else, where no passage has it so, as `_loosely` reads it.

    Of several places the one whose sentence shares most terms with `near` is taken; of equals the first.
    """
    run = run.strip()
    places = _places(evidence, lambda text: _exactly(run, text)) or _places(evidence, lambda text: _loosely(run, text))
    wanted = set(compress.question_terms(near))

    def shared(place: Place) -> int:
        return len(wanted.intersection(compress.terms(widened(place).text)))

    return max(places, key=shared, default=None)


def widened(place: Place) -> Place:
    """The sentences that `place` touches; where they are longer than a quote may be, as many words around it."""
    touched = [unit for unit in units(place.passage) if unit.start < place.end and place.start < unit.end]
    start = min([place.start, *(unit.start for unit in touched)])
    end = max([place.end, *(unit.end for unit in touched)])
    if end - start <= MAX_QUOTE_CHARS:
        return Place(passage=place.passage, start=start, end=end)
    room = max(0, MAX_QUOTE_CHARS - (place.end - place.start)) // 2
    near = Span(max(start, place.start - room), min(end, place.end + room))
    return _whole_words(place, near, Span(start, end))


def citation(place: Place, document: Documents) -> Citation:
    """The document's own words at `place`; `verified` when the document as it is now has them there.

    Words with hidden characters are cited as they stand, though the model was shown marks in their place. Of the copies
    that the passage stands for, those are named that have these words; each is read for it.
    """
    passage, quote = place.passage, place.text
    span = pack.locate(passage, place.start, place.end)
    source = document(passage.document_id)
    words = span.of(source.text) if source is not None and span is not None else ""
    verified = bool(words) and unicode.shown(words) == unicode.shown(quote)
    quote = words if verified else quote
    return Citation(
        quote=quote,
        document_id=passage.document_id,
        uri=passage.uri,
        title=passage.title,
        span=span if verified else None,
        verified=verified,
        chunk_id=passage.chunk_id,
        page=source.page_at(span.start) if source is not None and span is not None and verified else None,
        also=tuple(uri for uri in passage.also if _says(document(digest(uri)), quote)),
    )


def _says(copy: Document | None, quote: str) -> bool:
    """Whether a document has the words of `quote`, white space aside: a passage may be folded for others of its words.

    One that cannot be looked up, as its id is not made of its uri, is taken to: it was found to say the same.
    """
    return copy is None or " ".join(quote.split()) in " ".join(copy.text.split())


def _lark(lines: Sequence[str]) -> Grammar:
    return Grammar(kind="lark", source="\n".join(lines))


def _runs(evidence: Evidence) -> Iterator[str]:
    """The terminal RUN: words in a row of one line of the evidence, neither beginning nor ending with white space."""
    lines = dict.fromkeys(
        line.strip()
        for passage in evidence.passages
        for piece in pack.piece_ranges(passage)
        for line in piece.of(passage.text).splitlines()
        if line.strip()
    )
    names = []
    for number, line in enumerate(lines):
        names.append(f"LINE_{number}")
        yield f"LINE_{number}: %regex {json.dumps({'substring_chunks': chunks(line)})}"
    yield f"RUN: ({' | '.join(names)}) & /[^\\s\\p{{P}}]|[^\\s].{{0,{MAX_RUN_CHARS - 2}}}[^\\s]/"


def chunks(line: str) -> list[str]:
    """`line` cut where a run may begin or end: around words, numbers, signs and white space.

    An accent or a joiner stays with the character it belongs to, a mark inside a number or a word with the word.
    """
    found: list[str] = []
    for at, char in enumerate(line):
        if found and (
            _clings(char) or found[-1].endswith("\u200d") or _goes_on(found[-1], char, line[at + 1 : at + 2])
        ):
            found[-1] += char
        else:
            found.append(char)
    return found


def _clings(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf", "Sk"}


def _goes_on(chunk: str, char: str, following: str) -> bool:
    """Whether `char` belongs to the same word, number or white space as the chunk before it."""
    if chunk[-1].isspace() or char.isspace():
        return chunk[-1].isspace() and char.isspace()
    if not chunk[0].isalnum() or _UNSPACED.match(char) or _UNSPACED.match(chunk[0]):
        return False
    inner = char in _INNER and chunk[-1] not in _INNER and following.isalnum()
    return char.isalnum() or (inner and not _UNSPACED.match(following))


def _places(evidence: Evidence, ranges: Callable[[str], Sequence[tuple[int, int]]]) -> list[Place]:
    """Every place within one piece among the ranges of each passage's text."""
    return [
        Place(passage=passage, start=start, end=end)
        for passage in evidence.passages
        for start, end in ranges(passage.text)
        if pack.locate(passage, start, end) is not None
    ]


def _exactly(run: str, text: str) -> list[tuple[int, int]]:
    return [(at, at + len(run)) for at in _all(run, text)]


def _all(part: str, text: str) -> list[int]:
    found: list[int] = []
    at = text.find(part) if part else -1
    while at >= 0 and len(found) < _MAX_PLACES:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _loosely(run: str, text: str) -> list[tuple[int, int]]:
    """Ranges of `text` that read as `run` does but for white space and the kinds of quotation marks and dashes."""
    folded, offsets = _folded(text)
    wanted, _ = _folded(run)
    return [(offsets[at], offsets[at + len(wanted) - 1] + 1) for at in _all(wanted, folded)]


_SAME = str.maketrans({**dict.fromkeys("“”„«»‟″", '"'), **dict.fromkeys("‘’‚‛′", "'"), **dict.fromkeys("‐‑‒–—−", "-")})


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text without white space and invisible marks, of one kind of marks, and where each character came from."""
    kept = [(char, at) for at, char in enumerate(text) if not char.isspace() and unicodedata.category(char) != "Cf"]
    return "".join(char for char, _ in kept).translate(_SAME), [at for _, at in kept]


def _whole_words(place: Place, near: Span, limits: Span) -> Place:
    """`near` without the parts of words at its ends; never less than `place`."""
    text = place.passage.text
    start, end = near
    if start > limits.start:
        while start < place.start and not text[start - 1].isspace():
            start += 1
    if end < limits.end:
        while end > place.end and not text[end].isspace():
            end -= 1
    trimmed = text[start:end]
    start += len(trimmed) - len(trimmed.lstrip())
    return Place(passage=place.passage, start=min(start, place.start), end=max(start + len(trimmed.strip()), place.end))
