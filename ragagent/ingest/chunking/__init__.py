"""Documents to passages: by the tokens of the embedder, with exact offsets, in one of several named ways.

    structure   along headings, blocks and sentences (`structure.py`): the default
    tokens      windows of so many tokens, whatever stands there (`plain.py`)
    sentences   each sentence by itself; retrieval puts its neighbours around it (`plain.py`)
    semantic    as structure, but long sections are cut where the subject changes for the embedder (`semantic.py`)
    code        as structure, but source code is cut between the definitions of its syntax tree (`code.py`)
    parents     as structure, in small chunks; retrieval gives the passage of `parent_tokens` around them

The text is tokenised once; every size is a difference of positions in that one tokenisation.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence

from ragagent.errors import ConfigError
from ragagent.ingest.chunking import plain, semantic, structure
from ragagent.ingest.chunking.atoms import CONTEXT_CHARS, Atoms
from ragagent.ingest.chunking.pieces import HEADING_CHARS, Run
from ragagent.ingest.chunking.semantic import Embed
from ragagent.ingest.ruler import Ruler
from ragagent.protocols import Tokenizer
from ragagent.settings import ChunkingSettings
from ragagent.text import unicode
from ragagent.types import Chunk, Document, Span, digest

FINGERPRINT = "chunking-2"
"""Changes when the same document may be cut in other places."""


def fingerprint(settings: ChunkingSettings) -> str:
    """Names the way of cutting: equal fingerprints and tokenisers cut equal documents alike."""
    sizes = f"{settings.max_tokens}:{settings.min_tokens}:{settings.overlap_tokens}"
    return f"{FINGERPRINT}:{settings.strategy}:{sizes}"


def settings_of(named: str) -> ChunkingSettings | None:
    """The settings that a fingerprint names; None when this version of the chunker is not the one that it names."""
    version, *rest = named.split(":")
    if version != FINGERPRINT or len(rest) != 4:
        return None
    strategy, *sizes = rest
    most, least, overlap = map(int, sizes)
    return ChunkingSettings(strategy=strategy, max_tokens=most, min_tokens=least, overlap_tokens=overlap)  # type: ignore[arg-type]


def chunk(
    document: Document, tokenizer: Tokenizer, settings: ChunkingSettings, *, embed: Embed | None = None
) -> tuple[Chunk, ...]:
    """The passages of `document` in reading order.

    Laws, of every strategy: `document.text[span] == chunk.text`, without outer white space; every other character is
    in a chunk; a chunk has at most `max_tokens` tokens, what is repeated before it included, and CHARS_PER_TOKEN
    times as many characters. With `overlap_tokens`, a chunk that does not begin a section repeats up to so many tokens
    before it. By structure, a chunk ends at the end of a section, else of a block, else of a sentence or table row;
    words are cut only when one alone is too long. A table or code block that fits is not cut; of one that does not,
    each part carries the caption and the header last in its `headings`. A section shorter than `min_tokens` goes with
    the next one. `embed` is needed by `semantic` alone.
    """
    overlap = min(settings.overlap_tokens, settings.max_tokens // 2)
    ruler = Ruler(tokenizer.offsets(document.text))
    atoms = Atoms(document, ruler, settings.max_tokens - overlap, by_syntax=settings.strategy == "code")
    if not atoms.all:
        return ()
    if settings.strategy == "tokens":
        spans = plain.windows(document.text, ruler, settings.max_tokens, overlap)
        return tuple(_chunks(document, [(span, _headings_at(atoms, span.start)) for span in spans]))
    runs = _runs(atoms, settings, embed)
    if overlap:
        runs = [structure.overlapping(atoms, run, overlap, settings.max_tokens) for run in runs]
    return tuple(_chunks(document, [(atoms.span(run), atoms.headings(run)) for run in runs]))


def embedding_text(title: str, piece: Chunk) -> str:
    """What is embedded for a chunk: the document's title and the last headings on one line, then the text.

    The line has at most 150 characters; what the chunk begins with, or the title says already, is not said again. The
    caption and header of a table that the chunk is a part of stand between, on lines of their own. All of it is in the
    form in which it is searched (`ragagent.text.unicode`).
    """
    begins = " ".join(piece.text[: 2 * HEADING_CHARS].split()).casefold()
    headings = [one for one in piece.headings if "\n" not in one]
    context = "".join(f"{one.strip()[:CONTEXT_CHARS]}\n" for one in piece.headings if "\n" in one)
    parts: list[str] = []
    for part in (title, *headings[-2:]):
        words = " ".join(part.split())
        known = [*(one.casefold() for one in parts), begins]
        if words and not any(one.startswith(words.casefold()) for one in known):
            parts.append(words[: HEADING_CHARS // 2 - 2])
    line = " > ".join(parts)[:HEADING_CHARS].rstrip()
    return unicode.searched(f"{line}\n{context}{piece.text}" if line else f"{context}{piece.text}")


def _runs(atoms: Atoms, settings: ChunkingSettings, embed: Embed | None) -> list[Run]:
    if settings.strategy == "sentences":
        return plain.sentences(atoms)
    if settings.strategy != "semantic":
        return structure.runs(atoms, settings.min_tokens)
    if embed is None:
        raise ConfigError("chunking.strategy = 'semantic' needs an embedder: pass its embed_documents as embed=")
    return semantic.runs(atoms, settings.min_tokens, embed)


def _headings_at(atoms: Atoms, start: int) -> tuple[str, ...]:
    """The headings over the place where a window begins."""
    index = bisect.bisect_right(atoms.all, start, key=lambda atom: atom.start) - 1
    return atoms.all[max(0, index)].headings


def _chunks(document: Document, pieces: Sequence[tuple[Span, tuple[str, ...]]]) -> Iterator[Chunk]:
    pages = [block for block in document.blocks if block.kind == "page"]
    pages.sort(key=lambda block: block.span)
    begins = [block.span.start for block in pages]
    seen: Counter[str] = Counter()
    for position, (span, headings) in enumerate(pieces):
        text = span.of(document.text)
        content = digest(document.id, *headings, "\0", text)
        page = bisect.bisect_right(begins, span.start) - 1
        on_page = page >= 0 and span.start < pages[page].span.end
        yield Chunk(
            id=digest(content, str(seen[content])),
            document_id=document.id,
            span=span,
            text=text,
            headings=headings,
            page=pages[page].number if on_page else None,
            position=position,
        )
        seen[content] += 1
