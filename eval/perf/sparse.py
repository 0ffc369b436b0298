"""How fast is the sparse search beside rank-bm25 and bm25s with numba, on the same chunks in one run?

Chunks are of 120 words on average, drawn from 200,000 words by Zipf's law. A question is 6 words of one such chunk,
without the commonest (`--stop-words`), which the analyser drops from questions too. Before anything is timed, the ten
best of some questions must be those of the plain formula, and the other side's scores must agree: rank-bm25's to 1e-9
(both in the Okapi form), bm25s's to 1e-4 (its scores are float32; both in the Lucene form).

bm25s is given its matrix ready-made: filling it one chunk after another, as it does, takes minutes at a million, and
only its search is timed here. Ours searches segments of 250,000 chunks with live statistics, none of it precomputed.

    python -m ragagent.eval.perf.sparse --chunks 100000 --against rank-bm25
    python -m ragagent.eval.perf.sparse --chunks 1000000 --against bm25s
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragagent.eval.perf.measure import Timing, line, peak_rss_bytes
from ragagent.index import acceleration, block, codes, loading, postings, scan, sparse
from ragagent.index.block import Block, Part
from ragagent.index.codes import Codes
from ragagent.index.dictionary import Terms
from ragagent.index.ranking import Ranking
from ragagent.settings import RetrievalSettings

QUESTION = "How fast is the sparse search beside rank-bm25 and bm25s with numba, on the same chunks in one run?"
OURS, NUMPY = "ragagent", "ragagent without numba"
VOCABULARY = 200_000
SHORTEST, LONGEST = 80, 160
TERMS = 6
SEGMENT = 250_000
_DIMENSION = 8

Search = Callable[[list[str]], Sequence[float]]
"""From terms to the scores of the best ten."""


@dataclass(frozen=True, slots=True)
class Text:
    """Some chunks as words: posting by posting the chunk, the word and how often; the length of each chunk."""

    chunks: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    rng = np.random.default_rng(arguments.seed)
    sizes = [min(SEGMENT, arguments.chunks - at) for at in range(0, arguments.chunks, SEGMENT)]
    texts = [_text(rng, size) for size in sizes]
    questions = [_question(rng, texts[0], arguments.stop_words) for _ in range(arguments.questions)]
    form: Literal["okapi", "lucene"] = "okapi" if arguments.against == "rank-bm25" else "lucene"
    before = peak_rss_bytes()
    parts = _parts(texts)
    ours = _ours(parts, RetrievalSettings(bm25=form))
    searches = {arguments.against: _others(arguments.against, texts), **ours}
    tolerance = 1e-9 if form == "okapi" else 1e-4
    _check(texts, questions[: arguments.checked], searches, form, tolerance)
    slow = arguments.slow_questions if arguments.against == "rank-bm25" else arguments.questions
    timings = _timed(searches, questions[:slow])
    figures = {"chunks": arguments.chunks, "postings": sum(len(text.words) for text in texts)}
    size = sum(array.nbytes for part in parts for array in part.block.postings.arrays().values())
    print(
        line(
            QUESTION,
            timings,
            baseline=arguments.against,
            form=form,
            terms=TERMS,
            stop_words=arguments.stop_words,
            postings_bytes=size,
            rss_before_bytes=before,
            **figures,
            all_questions=_alone(ours, questions),
        )
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--against", choices=["rank-bm25", "bm25s"], default="rank-bm25")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--slow-questions", type=int, default=15, help="as many for rank-bm25")
    parser.add_argument("--checked", type=int, default=10, help="questions compared with the plain formula")
    parser.add_argument(
        "--stop-words", type=int, default=100, help="so many of the commonest words are never asked for"
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _text(rng: np.random.Generator, size: int) -> Text:
    lengths = rng.integers(SHORTEST, LONGEST + 1, size)
    shares = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    words = np.searchsorted(shares, rng.random(int(lengths.sum())) * shares[-1])
    keys = np.repeat(np.arange(size) * VOCABULARY, lengths) + words
    keys.sort()
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    times = np.diff(np.append(firsts, len(keys)))
    return Text(keys[firsts] // VOCABULARY, keys[firsts] % VOCABULARY, times, lengths)


def _question(rng: np.random.Generator, text: Text, stop_words: int) -> list[str]:
    chunk = int(rng.integers(len(text.lengths)))
    words = text.words[np.searchsorted(text.chunks, chunk) : np.searchsorted(text.chunks, chunk + 1)]
    words = words[words >= stop_words]
    return [_name(word) for word in rng.permutation(words)[:TERMS].tolist()]


def _name(word: int) -> str:
    return f"w{word}"


def _parts(texts: Sequence[Text]) -> list[Part]:
    parts, row = [], 1
    for number, text in enumerate(texts):
        size = len(text.lengths)
        rows = np.arange(row, row + size)
        used, places = np.unique(text.words, return_inverse=True)
        terms, order = Terms.of([_name(word).encode() for word in used.tolist()])
        counts = np.zeros((len(text.words), 2), np.uint16)
        counts[:, 1] = text.times
        lengths = np.zeros((size, 2), np.uint32)
        lengths[:, 1] = text.lengths
        none = codes.empty(_DIMENSION)
        made = Block(
            rows=rows,
            documents=rows,
            embeddings=rows,
            ids=np.char.mod("%09d", rows).astype(np.bytes_),
            lengths=lengths,
            terms=block.total(lengths),
            postings=postings.assembled(
                terms=terms, numbers=order[places], chunks=text.chunks, counts=counts, size=size
            ),
            codes=Codes(*(np.zeros((size, one.shape[1]), np.uint8) for one in (none.bits, none.nibbles))),
        )
        parts.append(block.whole(made, number))
        row += size
    return parts


def _ours(parts: list[Part], settings: RetrievalSettings) -> dict[str, Search]:
    masks = [None] * len(parts)
    loops = loading.load()
    ways: dict[str, acceleration.Search] = {NUMPY: scan.best}
    if loops is not None:
        ways = {OURS: partial(acceleration.compiled, loops.search), **ways}

    def by(way: acceleration.Search) -> Search:
        return lambda terms: _scores(sparse.Scorer(parts, [(term,) for term in terms], settings).best(10, masks, way))

    return {name: by(way) for name, way in ways.items()}


def _scores(found: Ranking) -> Sequence[float]:
    scores: list[float] = found.scores.tolist()
    return scores


def _others(name: str, texts: Sequence[Text]) -> Search:
    return _rank_bm25(texts) if name == "rank-bm25" else _bm25s(texts)


def _rank_bm25(texts: Sequence[Text]) -> Search:
    from rank_bm25 import BM25Okapi

    names = [_name(word) for word in range(VOCABULARY)]
    corpus = [
        [names[word] for word in words]
        for text in texts
        for words in np.split(np.repeat(text.words, text.times), np.cumsum(text.lengths)[:-1])
    ]
    engine = BM25Okapi(corpus)

    def search(terms: list[str]) -> Sequence[float]:
        scores = engine.get_scores(terms)
        best: list[float] = np.sort(scores[np.argpartition(scores, -10)[-10:]])[::-1].tolist()
        return best

    return search


def _bm25s(texts: Sequence[Text]) -> Search:
    import bm25s

    chunks, words, times, lengths = _joined(texts)
    order = np.argsort(words, kind="stable")
    chunks, words, times = chunks[order], words[order], times[order]
    frequencies = np.bincount(words, minlength=VOCABULARY)
    idf = np.log(1 + (len(lengths) - frequencies + 0.5) / (frequencies + 0.5))
    norms = 1.5 * (0.25 + 0.75 * lengths / lengths.mean())
    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numba")
    engine.scores = {
        "data": (idf[words] * times / (times + norms[chunks])).astype(np.float32),
        "indices": chunks.astype(np.int32),
        "indptr": np.append(0, np.cumsum(frequencies)).astype(np.int64),
        "num_docs": len(lengths),
    }
    engine.vocab_dict = {_name(word): word for word in range(VOCABULARY)}
    engine.nonoccurrence_array = None

    def search(terms: list[str]) -> Sequence[float]:
        scores: list[float] = engine.retrieve([terms], k=10, show_progress=False).scores[0].tolist()
        return scores

    return search


def _joined(texts: Sequence[Text]) -> tuple[npt.NDArray[np.int64], ...]:
    bases = np.cumsum([0, *(len(text.lengths) for text in texts)])
    return (
        np.concatenate([text.chunks + base for text, base in zip(texts, bases, strict=False)]),
        np.concatenate([text.words for text in texts]),
        np.concatenate([text.times for text in texts]),
        np.concatenate([text.lengths for text in texts]),
    )


def _check(
    texts: Sequence[Text], questions: Sequence[list[str]], searches: dict[str, Search], form: str, tolerance: float
) -> None:
    for terms in questions:
        expected = _plain(texts, terms, form)
        for name, search in searches.items():
            allowed = tolerance if name not in (OURS, NUMPY) else 1e-9
            if not np.allclose(search(terms), expected, rtol=0, atol=allowed):
                raise AssertionError(f"{name} gives {search(terms)} for {terms}, the formula {expected}")


def _plain(texts: Sequence[Text], terms: list[str], form: str) -> list[float]:
    """The best ten scores by the formula, over every chunk."""
    chunks, words, times, lengths = _joined(texts)
    scores, average = np.zeros(len(lengths)), float(lengths.mean())
    for term in terms:
        mine = words == int(term[1:])
        tf, length = times[mine], lengths[chunks[mine]]
        idf = _idf(form, len(lengths), int(mine.sum()), words)
        top = tf * 2.5 if form == "okapi" else tf
        scores[chunks[mine]] += idf * top / (tf + 1.5 * (0.25 + 0.75 * length / average))
    best: list[float] = np.sort(scores)[::-1][:10].tolist()
    return best


def _idf(form: str, chunks: int, frequency: int, words: npt.NDArray[np.int64]) -> float:
    if form == "lucene":
        return math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5))
    idf = math.log(chunks - frequency + 0.5) - math.log(frequency + 0.5)
    if idf >= 0:
        return idf
    known = np.bincount(words)
    known = known[known > 0]
    return 0.25 * float((np.log(chunks - known + 0.5) - np.log(known + 0.5)).mean())


def _timed(searches: dict[str, Search], questions: Sequence[list[str]]) -> dict[str, Timing]:
    """Every question is asked of all, in turns, the order turned by one each time."""
    names = list(searches)
    for name in names:
        searches[name](questions[0])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn, terms in enumerate(questions):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            begin = time.perf_counter()
            searches[name](terms)
            seconds[name].append(time.perf_counter() - begin)
    return {name: Timing(name=name, seconds=tuple(seconds[name])) for name in names}


def _alone(ours: dict[str, Search], questions: Sequence[list[str]]) -> dict[str, Any]:
    """Ours on all questions, where the other side was too slow to be asked them all."""
    return {name: timing.summary() for name, timing in _timed(ours, questions).items()}


if __name__ == "__main__":
    main()
