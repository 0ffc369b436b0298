"""Quotes that cannot be invented: a grammar that admits only runs of the evidence, and where a quote stands."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragagent.retrieve import compress, pack
from ragagent.types import Citation, Document, Evidence, Grammar, Passage, Span

NOT_FOUND = "NOT FOUND"
MAX_QUOTE_CHARS = 300
MAX_ANSWER_CHARS = 400
MAX_CLAIMS = 3

_CHUNK = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One claim as the model wrote it, with the quote it gave for it ("" for none)."""

    text: str
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a quote stands: in the passage, and in the document."""

    passage: Passage
    start: int
    end: int
    span: Span


def grammar(evidence: Evidence) -> Grammar:
    """A grammar of answers whose every quote is a run of words of one piece of one passage, or NOT FOUND.

    A quote begins and ends at a word boundary, stays in one line and has at most MAX_QUOTE_CHARS characters.
    """
    lines = [line for passage in evidence.passages for piece in pack.piece_texts(passage) for line in _lines(piece)]
    runs = [
        f"RUN_{number}: %regex {json.dumps({'substring_chunks': _CHUNK.findall(line)})}"
        for number, line in enumerate(lines)
    ]
    choice = " | ".join(f"RUN_{number}" for number in range(len(lines)))
    return Grammar(
        kind="lark",
        source="\n".join(
            [
                f'start: "{NOT_FOUND}" | claim{{1,{MAX_CLAIMS}}}',
                'claim: TEXT "\\n> " QUOTE "\\n"',
                f"TEXT: /[^\\s>][^\\n]{{0,{MAX_ANSWER_CHARS - 1}}}/",
                f"QUOTE: ({choice}) & /[^\\s\\p{{P}}]|[^\\s].{{0,{MAX_QUOTE_CHARS - 2}}}[^\\s]/",
                *runs,
            ]
        ),
    )


def parse(text: str) -> list[Draft]:
    """The claims of what a model wrote; none when it wrote that it found nothing. Lenient: JSON is read as well."""
    drafts: list[Draft] = []
    said: list[str] = []
    for line in text.strip().splitlines():
        if line.lstrip().startswith(">"):
            drafts.append(Draft(text=" ".join(said), quote=_unquoted(line.lstrip().removeprefix(">"))))
            said = []
        elif line.strip():
            said.append(line.strip())
    if said:
        drafts.append(Draft(text=" ".join(said), quote=""))
    return [draft for draft in drafts if not is_refusal(draft.text)][:MAX_CLAIMS]


def is_refusal(text: str) -> bool:
    """Whether a model's text says that nothing was found."""
    return not text.strip() or text.strip().strip(".*\"'").upper().startswith(NOT_FOUND)


def find(quote: str, evidence: Evidence, near: str = "") -> Place | None:
    """Where `quote` stands in the evidence: exactly, else with white space and quotation marks seen as equal.

    Of several places the one whose surroundings share most terms with `near` is taken; then the first.
    """
    places = [place for passage in evidence.passages for place in _places(quote, passage)]
    wanted = set(compress.terms(near))

    def shared(place: Place) -> int:
        around = place.passage.text[max(0, place.start - 150) : place.end + 150]
        return len(wanted.intersection(compress.terms(around)))

    return max(places, key=shared, default=None)


def citation(place: Place, document: Callable[[str], Document | None]) -> Citation:
    """The document's own words at `place`; verified when the document as it is now has them there."""
    passage, quote = place.passage, place.passage.text[place.start : place.end]
    source = document(passage.document_id)
    verified = source is not None and place.span.of(source.text) == quote
    return Citation(
        quote=quote,
        document_id=passage.document_id,
        uri=passage.uri,
        title=passage.title,
        span=place.span if verified else None,
        verified=verified,
        chunk_id=passage.chunk_id,
        page=source.page_at(place.span.start) if source is not None else None,
    )


def _lines(piece: str) -> list[str]:
    return [line.strip() for line in piece.splitlines() if line.strip()]


def _unquoted(text: str) -> str:
    """A quote without the quotation marks a model may put around it."""
    text = text.strip()
    if len(text) > 1 and text[0] in "\"“'«" and text[-1] in "\"”'»":
        return text[1:-1].strip()
    return text


def _places(quote: str, passage: Passage) -> list[Place]:
    """Every place of a quote in a passage: exact ones, else those of the normalised text."""
    exact = _all(quote, passage.text)
    ranges = [(at, at + len(quote)) for at in exact] if exact else _loosely(quote, passage.text)
    found = []
    for start, end in ranges:
        span = pack.locate(passage, start, end)
        if span is not None:
            found.append(Place(passage=passage, start=start, end=end, span=span))
    return found


def _all(part: str, text: str) -> list[int]:
    found: list[int] = []
    at = text.find(part) if part else -1
    while at >= 0 and len(found) < 100:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _loosely(quote: str, text: str) -> list[tuple[int, int]]:
    """Ranges of `text` that read as `quote` does but for white space and the kinds of quotation marks and dashes."""
    folded, offsets = _folded(text)
    wanted, _ = _folded(quote)
    return [(offsets[at], offsets[at + len(wanted) - 1] + 1) for at in _all(wanted, folded)] if wanted else []


_FOLD = str.maketrans({**dict.fromkeys("“”„«»‟", '"'), **dict.fromkeys("‘’‚‛′", "'"), **dict.fromkeys("‐‑‒–—−", "-")})


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text without white space and with marks made one kind, and the offset each character came from."""
    kept = [(char, at) for at, char in enumerate(text) if not char.isspace() and unicodedata.category(char) != "Cf"]
    return "".join(char for char, _ in kept).translate(_FOLD), [at for _, at in kept]
