"""What an index was built with, what of it differs from what is wanted, and how much work the difference is.

    key            is                                              a change of it asks for
    embedder_name  a name by which the embedder can be opened      nothing
    analyser       how texts become terms                          analyse: postings and segments
    embedder       what makes the vectors                          embed: vectors too
    dimension      components of a vector                          embed
    tokenizer      how the embedder counts texts, by its behaviour chunk: chunks too, and vectors of new texts
    chunker        where documents are cut, by its settings        chunk
    readers        how bytes become texts                          parse: documents are read from their sources again

Each kind of work includes the ones above it, except that a vector is made only where the embedder has not seen the
text. A key that an index never recorded does not differ, with one exception: who changes the embedder of an index
that does not know its tokenizer has to cut its documents again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EMBEDDER, NAME, DIMENSION = "embedder", "embedder_name", "dimension"
TOKENIZER, CHUNKER, ANALYSER, READERS = "tokenizer", "chunker", "analyser", "readers"


class Work(enum.IntEnum):
    """What a change asks for; a greater one includes the smaller ones."""

    NOTHING = 0
    ANALYSE = 1
    EMBED = 2
    CHUNK = 3
    PARSE = 4

    @property
    def words(self) -> str:
        """In words, for people."""
        return _WORDS[self]


_WORDS = {
    Work.NOTHING: "nothing to do",
    Work.ANALYSE: "re-analyse: the terms of every chunk",
    Work.EMBED: "re-embed: a new vector for every chunk",
    Work.CHUNK: "re-chunk: documents are cut again; texts that this embedder knows keep their vectors",
    Work.PARSE: "re-parse: documents are read from their sources and cut again",
}

_WORK: Mapping[str, Work] = {
    NAME: Work.NOTHING,
    ANALYSER: Work.ANALYSE,
    EMBEDDER: Work.EMBED,
    DIMENSION: Work.EMBED,
    TOKENIZER: Work.CHUNK,
    CHUNKER: Work.CHUNK,
    READERS: Work.PARSE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs. `stored` is None where the index never recorded it."""

    key: str
    stored: str | None
    wanted: str
    work: Work


def changes(stored: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[Change, ...]:
    """What differs, in the order of keys; what is not in `wanted` is left as it is.

    A key that the table does not name asks for new vectors: nothing is known of it.
    """
    found = [
        Change(key=key, stored=stored.get(key), wanted=value, work=_WORK.get(key, Work.EMBED))
        for key, value in sorted(wanted.items())
        if key in stored and stored[key] != value
    ]
    differs = {change.key for change in found}
    if EMBEDDER in differs and TOKENIZER in wanted and TOKENIZER not in stored:
        found.append(Change(key=TOKENIZER, stored=None, wanted=wanted[TOKENIZER], work=Work.CHUNK))
    return tuple(found)


def work(found: Iterable[Change]) -> Work:
    """The work that all of those changes ask for together."""
    return max((change.work for change in found), default=Work.NOTHING)


def alike(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Whether the same texts have the same chunks and vectors under both; their terms may be others.

    As in `changes`, a key that one of them never recorded does not differ.
    """
    keys = {EMBEDDER, DIMENSION, TOKENIZER, CHUNKER} & first.keys() & second.keys()
    return all(first[key] == second[key] for key in keys)


def after(stored: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """What an index is built with once everything that is wanted is done."""
    return {**stored, **wanted}
