"""How well a way of cutting finds what answers a question, at a fixed number of tokens given to the reader.

The chunks of each way are embedded, indexed and searched as a knowledge base does it; passages are taken in the order
of rank, each piece of text once, and the last one is cut, until the budget is spent. So ways with large and small
chunks are compared on what a model would read, and not on numbers of hits.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.eval import datasets
from ragagent.index.embedded import EmbeddedIndex
from ragagent.ingest import chunking
from ragagent.ingest.ruler import Ruler
from ragagent.protocols import Embedder, Entry
from ragagent.retrieve import expand
from ragagent.settings import ChunkingSettings
from ragagent.types import Chunk, Document, Hit, Span

Place = tuple[str, Span]
MOST_HITS = 100
_BATCH = 64
_TOP = 5
_PHRASE_WORDS = 25
_FIGURE = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+%?|\d+%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question and what answers it, as spans with the ids of their documents.

    All `excerpts` are to be found, and the share of their characters counts. Of `answers` each is to be found whole, in
    any one of its places.
    """

    text: str
    excerpts: tuple[Place, ...] = ()
    answers: tuple[tuple[Place, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Documents by id and the questions on them."""

    name: str
    documents: Mapping[str, Document]
    questions: tuple[Asked, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one way of cutting found of a set: `recall` for each question by budget, and the set's own figures.

    `top` are recall, precision and IoU of the characters of the best five passages, whatever their size.
    """

    settings: ChunkingSettings
    chunks: int
    mean_tokens: float
    recall: Mapping[int, tuple[float, ...]]
    top: Mapping[str, tuple[float, ...]]


@dataclass(slots=True)
class _Taken:
    """The text that is taken so far, by document id, as disjoint spans."""

    spans: dict[str, list[Span]] = field(default_factory=dict)

    def add(self, document_id: str, span: Span) -> list[Span]:
        """Takes a span in; returns what of it was not there yet."""
        there = self.spans.setdefault(document_id, [])
        fresh, at = [], span.start
        for one in sorted(there):
            if one.end <= at or one.start >= span.end:
                continue
            if one.start > at:
                fresh.append(Span(at, one.start))
            at = max(at, one.end)
        if at < span.end:
            fresh.append(Span(at, span.end))
        there.extend(fresh)
        return fresh

    def covered(self, document_id: str, span: Span) -> int:
        """How many characters of a span are taken."""
        return sum(
            max(0, min(one.end, span.end) - max(one.start, span.start)) for one in self.spans.get(document_id, ())
        )

    def size(self) -> int:
        """How many characters are taken."""
        return sum(one.end - one.start for spans in self.spans.values() for one in spans)


def load(folder: Path, *, most_questions: int | None = None, most_documents: int | None = None) -> Set:
    """A question set as questions on spans; documents `article#n` are joined to articles, a folder of files is read.

    Excerpts count as they stand. Of answers without a place, every place in the named documents is one alternative;
    of answers in sentences (of filings), the figures in them are what has to be found, each in any of its places. With
    `most_questions` and `most_documents` a part of the set is taken, evenly.
    """
    asked = datasets.questions(folder)
    found, places = _documents(folder)
    found = {key: found[key] for key in _evenly(list(found), most_documents)}
    places = {key: place for key, place in places.items() if place[0] in found}
    questions = [one for question in asked if (one := _asked(question, found, places)) is not None]
    return Set(name=folder.name, documents=found, questions=tuple(_evenly(questions, most_questions)))


def measure(data: Set, settings: ChunkingSettings, embedder: Embedder, budgets: Sequence[int] = (400, 1000)) -> Outcome:
    """Cuts, embeds, indexes and asks. Cost: embedding every chunk once, in a temporary folder."""
    cut = {
        key: chunking.chunk(one, embedder.tokenizer, settings, embed=embedder.embed_documents)
        for key, one in data.documents.items()
    }
    rulers = {key: Ruler(embedder.tokenizer.offsets(one.text)) for key, one in data.documents.items()}
    with tempfile.TemporaryDirectory(prefix="ragagent-chunking-") as place:
        built_with = {"embedder": embedder.fingerprint}
        with EmbeddedIndex.open(place, fingerprint=built_with, dimension=embedder.dimension) as index:
            for entries in _entries(data, cut, embedder):
                index.write(entries)
            found = [passages for part in _parts(data.questions) for passages in _search(index, part, embedder)]
    wide = [_widened(passages, cut, data, settings) for passages in found]
    recall = {
        budget: tuple(
            _recall(question, _within(passages, rulers, budget))
            for question, passages in zip(data.questions, wide, strict=True)
        )
        for budget in budgets
    }
    sizes = [rulers[key].cost(*chunk.span) for key, chunks in cut.items() for chunk in chunks]
    return Outcome(
        settings=settings,
        chunks=len(sizes),
        mean_tokens=float(np.mean(sizes)),
        recall=recall,
        top=_top(data.questions, wide),
    )


def _evenly(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most so many of `items`, from all along."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def _documents(folder: Path) -> tuple[dict[str, Document], dict[str, Place]]:
    """The documents by id, and where each document of the set stands in them."""
    source = datasets.source(folder)
    if isinstance(source, Path):
        from ragagent.connectors.readers import read_document

        read = {file.name: read_document(file) for file in sorted(source.iterdir())}
        return read, {key: (key, Span(0, len(one.text))) for key, one in read.items()}
    parts: dict[str, list[Document]] = {}
    for one in source or ():
        parts.setdefault(one.id.partition("#")[0], []).append(one)
    found: dict[str, Document] = {}
    places: dict[str, Place] = {}
    for key, pieces in parts.items():
        text = ""
        for piece in pieces:
            text += "\n\n" if text else ""
            places[piece.id] = (key, Span(len(text), len(text) + len(piece.text)))
            text += piece.text
        found[key] = Document(id=key, title=pieces[0].title, text=text, uri=f"{folder.name}:{key}")
    return found, places


def _asked(question: datasets.Question, documents: Mapping[str, Document], places: Mapping[str, Place]) -> Asked | None:
    """The question with its places; None where there is nothing to find (impossible, yes or no, no figures)."""
    where = [places[key] for key in question.document_ids if key in places]
    if question.impossible or not where:
        return None
    if question.excerpts:
        return Asked(text=question.text, excerpts=tuple((where[0][0], one.span) for one in question.excerpts))
    wanted: list[Sequence[str]] = [question.answers]
    if any(len(answer.split()) > _PHRASE_WORDS for answer in question.answers):
        wanted = [[one] for one in sorted({figure for text in question.answers for figure in _FIGURE.findall(text)})]
    answers = tuple(found for texts in wanted if (found := tuple(_standing(texts, where, documents))))
    return Asked(text=question.text, answers=answers) if answers else None


def _standing(texts: Sequence[str], where: Sequence[Place], documents: Mapping[str, Document]) -> Iterator[Place]:
    """Every place of the longest of `texts` that stands somewhere in those parts of documents."""
    for text in sorted({one for one in texts if one.lower() not in {"yes", "no"}}, key=len, reverse=True):
        found = [
            (key, Span(*match.span()))
            for key, span in where
            for match in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", documents[key].text[: span.end])
            if match.start() >= span.start
        ]
        if found:
            yield from found
            return


def _entries(data: Set, cut: Mapping[str, Sequence[Chunk]], embedder: Embedder) -> Iterator[list[Entry]]:
    for key, document in data.documents.items():
        texts = tuple(chunking.embedding_text(document.title, chunk) for chunk in cut[key])
        yield [Entry(document=document, chunks=tuple(cut[key]), vectors=embedder.embed_documents(texts), texts=texts)]


def _parts(questions: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
    for begin in range(0, len(questions), _BATCH):
        yield questions[begin : begin + _BATCH]


def _search(index: EmbeddedIndex, questions: Sequence[Asked], embedder: Embedder) -> list[list[Hit]]:
    vectors = [embedder.embed_query(one.text) for one in questions]
    return index.search_many([one.text for one in questions], vectors, k=MOST_HITS, mode="hybrid")


def _widened(
    hits: Sequence[Hit], cut: Mapping[str, Sequence[Chunk]], data: Set, settings: ChunkingSettings
) -> list[Place]:
    """The passages in the order of rank, as the strategy gives them to the reader."""
    wide = expand.expanded(hits, chunks=lambda key: cut[key], document=data.documents.get, settings=settings)
    return [(hit.document_id, hit.chunk.span) for hit in wide]


def _within(passages: Sequence[Place], rulers: Mapping[str, Ruler], budget: int) -> _Taken:
    """The best passages that hold `budget` tokens together, the last one cut."""
    taken = _Taken()
    left = budget
    for key, span in passages:
        for fresh in _Taken(spans={key: list(taken.spans.get(key, ()))}).add(key, span):
            piece = next(rulers[key].cut(*fresh, left)) if rulers[key].cost(*fresh) > left else fresh
            taken.add(key, piece)
            left -= rulers[key].cost(*piece)
            if left <= 0:
                return taken
    return taken


def _recall(question: Asked, taken: _Taken) -> float:
    """The share of the excerpts' characters, or of the answers, that is taken."""
    if question.excerpts:
        total = sum(span.end - span.start for _, span in question.excerpts)
        return sum(taken.covered(*place) for place in question.excerpts) / total
    found = [any(taken.covered(*place) == place[1].end - place[1].start for place in one) for one in question.answers]
    return sum(found) / len(found)


def _top(questions: Sequence[Asked], passages: Sequence[Sequence[Place]]) -> dict[str, tuple[float, ...]]:
    """Recall, precision and IoU of the five best passages; of questions with excerpts alone."""
    found: dict[str, list[float]] = {"recall": [], "precision": [], "iou": []}
    for question, places in zip(questions, passages, strict=True):
        if not question.excerpts:
            continue
        taken, gold = _Taken(), _Taken()
        for place in places[:_TOP]:
            taken.add(*place)
        for place in question.excerpts:
            gold.add(*place)
        shared = sum(taken.covered(key, span) for key, spans in gold.spans.items() for span in spans)
        found["recall"].append(shared / gold.size())
        found["precision"].append(shared / max(1, taken.size()))
        found["iou"].append(shared / (gold.size() + taken.size() - shared))
    return {name: tuple(values) for name, values in found.items() if values}
