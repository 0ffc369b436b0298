"""A made-up collection of any size for measuring an index: Zipf text and clustered vectors, the same for the same seed.

Text: words drawn with a probability of rank^-1.07 from a vocabulary of 200,000, none of which the analyser changes;
80 to 160 of them are a chunk, 120 on average and about 90 of them distinct, and 10 chunks a document with a title of
five words.

Vectors: a cluster's centre plus a spread around it, both with components that fall as rank^-0.5, all turned by one
random rotation. The square root of the number of chunks is the number of clusters. SPREAD and QUESTION_SPREAD are set
so that one-bit codes find no more of a question's ten nearest than with real questions: of 5,183 vectors, the nearest
50, 100, 200, 400 by code hold 0.873, 0.954, 0.990, 0.998 of the ten here, and 0.887, 0.955, 0.985, 0.995 of those of
SciFact's questions among its documents embedded by all-MiniLM-L6-v2.

Everything comes in blocks of 1,000 documents, each made from the seed and its number alone: any block can be had
again at any time, and no more than one is in memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ragagent.protocols import Entry
from ragagent.text.language import telling_words
from ragagent.types import Chunk, Document, Span, Vector, digest

WORDS = (80, 160)
"""The fewest and the most words of a chunk."""
TITLE_WORDS = 5
CHUNKS_OF_DOCUMENT = 10
BLOCK_DOCUMENTS = 1_000
BLOCK_CHUNKS = BLOCK_DOCUMENTS * CHUNKS_OF_DOCUMENT
VOCABULARY = 200_000
COMMON = 64
"""The most frequent words, which take the place of stop words: no question asks for one."""
SHARES = 10_000
"""Each document has its number modulo this in its metadata, under "share"."""
SPREAD = 1.4
QUESTION_SPREAD = 1.3
QUESTION_WORDS = 6

_ZIPF = 1.07
_FALL = 0.5
_TABLE_BITS = 22
# Without l, g and t, and with these vowels alone, no English suffix is ever made, so no two words have one stem.
_CONSONANTS = "bdfhkmnprvwz"
_VOWELS = "aiou"

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The documents of one block: word numbers of titles (int32[documents, 5]) and chunks (int32[chunks, 160]).

    A chunk shorter than 160 words has -1 after its end.
    """

    first_document: int
    titles: Ids
    words: Ids
    vectors: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Words out of one chunk, and a vector near that of the same chunk."""

    text: str
    vector: Vector


@dataclass(frozen=True)
class Collection:
    """`chunks` chunks, a multiple of 10, made from `seed`. Blocks take about 0.15 s each and 30 MB."""

    chunks: int
    seed: int = 0
    dimension: int = 384

    def __post_init__(self) -> None:
        if self.chunks < CHUNKS_OF_DOCUMENT or self.chunks % CHUNKS_OF_DOCUMENT:
            raise ValueError(f"{self.chunks} chunks: must be a multiple of {CHUNKS_OF_DOCUMENT}")

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return self.chunks // CHUNKS_OF_DOCUMENT

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last may be shorter."""
        return math.ceil(self.documents / BLOCK_DOCUMENTS)

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every word, the most frequent first."""
        return list(itertools.islice(invented(), VOCABULARY))

    def block(self, number: int) -> Block:
        """Block `number`, from 0."""
        first = number * BLOCK_DOCUMENTS
        documents = min(BLOCK_DOCUMENTS, self.documents - first)
        random = np.random.default_rng((self.seed, 1, number))
        chunks = documents * CHUNKS_OF_DOCUMENT
        drawn = self._table[random.integers(0, 1 << _TABLE_BITS, documents * TITLE_WORDS + chunks * WORDS[1])]
        titles, body = np.split(drawn, [documents * TITLE_WORDS])
        words = body.reshape(chunks, WORDS[1])
        words[np.arange(WORDS[1]) >= random.integers(WORDS[0], WORDS[1] + 1, (chunks, 1))] = -1
        return Block(
            first_document=first,
            titles=titles.reshape(documents, TITLE_WORDS),
            words=words,
            vectors=self._vectors(random, chunks),
        )

    def entries(self, block: Block) -> list[Entry]:
        """The documents of `block`, ready to be written."""
        return [self._entry(block, number) for number in range(len(block.titles))]

    def questions(self, count: int) -> list[Question]:
        """Questions to chunks spread over the whole collection, in a random order."""
        random = np.random.default_rng((self.seed, 2))
        chosen = random.integers(0, self.chunks, count)
        made: dict[int, Question] = {}
        for number in sorted({int(chunk) // BLOCK_CHUNKS for chunk in chosen}):
            block = self.block(number)
            for at in np.flatnonzero(chosen // BLOCK_CHUNKS == number).tolist():
                made[at] = self._question(random, block, int(chosen[at]) % BLOCK_CHUNKS)
        return [made[at] for at in range(count)]

    def _question(self, random: np.random.Generator, block: Block, chunk: int) -> Question:
        telling = np.unique(block.words[chunk])
        telling = telling[telling >= COMMON]
        asked = random.choice(telling, min(QUESTION_WORDS, len(telling)), replace=False)
        noise = (random.standard_normal(self.dimension, np.float32) * self._fall) @ self._rotation
        near = block.vectors[chunk] + np.float32(QUESTION_SPREAD) * noise
        return Question(text=" ".join(self.vocabulary[word] for word in asked), vector=_normalised(near))

    def _vectors(self, random: np.random.Generator, count: int) -> Vector:
        clusters = random.integers(0, len(self._centres), count)
        plain = random.standard_normal((count, self.dimension), np.float32)
        plain *= np.float32(SPREAD) * self._fall
        plain += self._centres[clusters]
        return _normalised(plain @ self._rotation)

    def _entry(self, block: Block, number: int) -> Entry:
        vocabulary, start = self.vocabulary, number * CHUNKS_OF_DOCUMENT
        rows = block.words[start : start + CHUNKS_OF_DOCUMENT].tolist()
        texts = [" ".join([vocabulary[word] for word in row if word >= 0]) for row in rows]
        place = block.first_document + number
        document = Document(
            uri=f"made:{place}",
            title=" ".join(vocabulary[word] for word in block.titles[number]),
            text="\n".join(texts),
            metadata={"share": place % SHARES},
        )
        vectors = block.vectors[start : start + CHUNKS_OF_DOCUMENT]
        return Entry(document=document, chunks=tuple(_chunks(document.id, texts)), vectors=vectors)

    @cached_property
    def _table(self) -> Ids:
        """The word of each of 2^22 equal shares of probability."""
        shares = np.arange(1, VOCABULARY + 1) ** -_ZIPF
        edges = np.cumsum(shares) / shares.sum()
        middles = (np.arange(1 << _TABLE_BITS) + 0.5) / (1 << _TABLE_BITS)
        return np.minimum(np.searchsorted(edges, middles), VOCABULARY - 1).astype(np.int32)

    @cached_property
    def _fall(self) -> Vector:
        scale = np.arange(1, self.dimension + 1, dtype=np.float32) ** np.float32(-_FALL)
        return np.asarray(scale / np.linalg.norm(scale), np.float32)

    @cached_property
    def _rotation(self) -> Vector:
        square = np.random.default_rng((self.seed, 3)).standard_normal((self.dimension, self.dimension))
        return np.ascontiguousarray(np.linalg.qr(square)[0], np.float32)

    @cached_property
    def _centres(self) -> Vector:
        """float32[clusters, d], not rotated yet."""
        random = np.random.default_rng((self.seed, 4))
        drawn = random.standard_normal((max(1, math.isqrt(self.chunks)), self.dimension), np.float32)
        return _normalised(drawn * self._fall)


def invented() -> Iterator[str]:
    """Made-up words, shorter ones first, in a fixed order without end."""
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    telling = telling_words()
    for length in itertools.count(1):
        for parts in itertools.product(syllables, repeat=length):
            # With "de" and "no" in them some texts would be taken for Spanish, and their words stemmed.
            if (word := "".join(parts)) not in telling:
                yield word


def chunk_id(document_id: str, text: str) -> str:
    """The id of a chunk of the collection."""
    return digest(document_id, text, "0")


def _chunks(document_id: str, texts: list[str]) -> Iterator[Chunk]:
    start = 0
    for position, text in enumerate(texts):
        span = Span(start, start + len(text))
        yield Chunk(id=chunk_id(document_id, text), document_id=document_id, span=span, text=text, position=position)
        start = span.end + 1


def _normalised(vectors: Vector) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
