"""Does a filter cost less than 10 ms, however many documents it lets through, and is it exactly what brute force finds?

    python -m ragagent.eval.perf.filters --chunks 100000

Random expressions that let through about a half, a hundredth and a ten-thousandth of the documents, each asked once:
no two searches have the same filter. Before anything is timed, the documents that every expression lets through are
held against plain Python over the metadata (given as it is and as it is written), the sparse hits against an
unfiltered ranking with the others struck out, and the dense hits against exact scores; where few are let through they
must be equal, else their recall is reported.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.eval.perf import measure
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.types import Chunk, Document, Span, Vector
from ragagent.where import And, Eq, Exists, Expression, In, Not, Or, Prefix, Range, written

SHARES = (0.5, 0.01, 0.0001)
DIMENSION = 384
WORDS = 40
K = 10
EXACT_DOCUMENTS = 64
"""Up to so many that are let through are scored by their stored vectors, whatever the size of the collection."""
_VOCABULARY = 20_000
_BATCH = 2000
_FIRST_DAY = datetime.date(2010, 1, 1)
_TEAMS = tuple(f"team/{area}/{number:02}" for area in ("law", "tax", "sea") for number in range(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Documents of one chunk each: metadata, words as text, and vectors float32[n, 384]."""

    metadata: tuple[dict[str, Any], ...]
    texts: tuple[str, ...]
    vectors: Vector

    def uri(self, number: int) -> str:
        return f"made:{number:07}"

    def entries(self, numbers: range) -> Iterator[Entry]:
        for number in numbers:
            text = self.texts[number]
            document = Document(uri=self.uri(number), text=text, metadata=self.metadata[number])
            chunk = Chunk(id=f"c{number:07}", document_id=document.id, span=Span(0, len(text)), text=text)
            yield Entry(document=document, chunks=(chunk,), vectors=self.vectors[number : number + 1])


def library(chunks: int, seed: int) -> Library:
    """The same for the same seed; words by Zipf's law, vectors in clusters."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    words = (numbers.zipf(1.2, (chunks, WORDS)) - 1) % _VOCABULARY
    centres = numbers.standard_normal((max(chunks // 100, 1), DIMENSION))
    vectors = centres[numbers.integers(0, len(centres), chunks)] + numbers.standard_normal((chunks, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Library(
        metadata=tuple(_metadata(rng) for _ in range(chunks)),
        texts=tuple(" ".join(f"w{word}x" for word in row) for row in words.tolist()),
        vectors=vectors.astype(np.float32),
    )


def _metadata(rng: random.Random) -> dict[str, Any]:
    day = _FIRST_DAY + datetime.timedelta(days=rng.randrange(5000))
    given = {
        "year": day.year,
        "day": day.isoformat(),
        "weight": round(rng.random(), 6),
        "number": rng.randrange(10**9),
        "team": rng.choice(_TEAMS),
        "tags": rng.sample(["red", "green", "blue", "black", "white"], rng.randrange(4)),
        "draft": rng.random() < 0.5,
    }
    if rng.random() < 0.3:
        given["note"] = rng.choice(["", 'a" or 1==1 or "', "seen"])
    return given


# --- expressions


def expressions(share: float, count: int, known: Sequence[Mapping[str, Any]], seed: int) -> list[Expression]:
    """Different ones that let through between half and twice `share` of the documents, by a sample of them."""
    rng = random.Random(seed)
    sample = known[:: max(len(known) // 2000, 1)]
    found: list[Expression] = []
    while len(found) < count:
        wide = _wide(rng)
        base = sum(holds(wide, one) for one in sample) / len(sample)
        if base < share or (share == SHARES[0] and base > 0.7):
            continue
        # A uniform key cuts what another condition leaves to the share that is asked for.
        width = share / base
        low = rng.uniform(0, 1 - width)
        cut = rng.choice(
            [Range("weight", ge=low, lt=low + width), Range("number", gt=int(low * 10**9), le=(low + width) * 10**9)]
        )
        whole: Expression = wide if base < 2 * share else And((wide, cut))
        never = And((Exists("note"), Not(Exists("note"))))
        forms: list[Expression] = [whole, Not(Not(whole)), Or((whole, never))]
        found.append(rng.choice(forms))
    return found


def _wide(rng: random.Random) -> Expression:
    day = (_FIRST_DAY + datetime.timedelta(days=rng.randrange(1, 4999))).isoformat()
    forms: list[Expression] = [
        Eq("draft", rng.random() < 0.5),
        Not(In("team", tuple(rng.sample(_TEAMS, 12)))),
        Or((Prefix("team", "team/law"), Range("day", ge=day))),
        Range("day", **{rng.choice(["ge", "gt", "le", "lt"]): day}),
        Range("year", ge=rng.randrange(2010, 2018)),
        Or((In("tags", ("red", "blue")), Not(Exists("note")))),
        And((Exists("team"), Not(Eq("note", 'a" or 1==1 or "')))),
    ]
    return rng.choice(forms)


def holds(part: Expression, fields: Mapping[str, Any]) -> bool:
    """Whether a document of that metadata is let through, said plainly."""
    if isinstance(part, And):
        return all(holds(one, fields) for one in part.parts)
    if isinstance(part, Or):
        return any(holds(one, fields) for one in part.parts)
    if isinstance(part, Not):
        return not holds(part.part, fields)
    value = fields.get(part.key, [])
    values = value if isinstance(value, list) else [value]
    if isinstance(part, Exists):
        return bool(values)
    if isinstance(part, Prefix):
        return any(one.startswith(part.prefix) for one in values)
    if isinstance(part, Range):
        return any(_within(one, part) for one in values)
    wanted = part.values if isinstance(part, In) else (part.value,)
    return any(one in wanted for one in values)


def _within(value: Any, part: Range) -> bool:
    bounds = part.bounds()
    return bool(
        ("ge" not in bounds or value >= bounds["ge"])
        and ("gt" not in bounds or value > bounds["gt"])
        and ("le" not in bounds or value <= bounds["le"])
        and ("lt" not in bounds or value < bounds["lt"])
    )


# --- checks


def checked(index: EmbeddedIndex, made: Library, wheres: Sequence[Expression], rng: random.Random) -> dict[str, float]:
    """Holds the hits of every filter to brute force; returns the shares let through and the recall of dense search."""
    shares, recalls = [], []
    for where in wheres:
        allowed = np.array([holds(where, fields) for fields in made.metadata])
        shares.append(float(allowed.mean()))
        text, vector = _question(made, rng)
        # Every chunk with the word, in the order of score: what is not let through is struck out.
        ranking = index.search(text, None, k=len(made.texts), mode="sparse")
        expected = [hit.uri for hit in ranking if allowed[_number(hit.uri)]]
        for form in (where, written(where)):
            found = index.search(text, None, k=len(made.texts), mode="sparse", where=form)
            assert [hit.uri for hit in found] == expected, form
        hits = index.search("", vector, k=K, mode="dense", where=where)
        assert len(hits) == min(K, int(allowed.sum())), (len(hits), int(allowed.sum()), where)
        assert all(allowed[_number(hit.uri)] for hit in hits), where
        exact = _nearest(made, vector, allowed)
        same = len(exact & {_number(hit.uri) for hit in hits}) / len(exact) if exact else 1.0
        assert same == 1 or allowed.sum() > EXACT_DOCUMENTS, where
        recalls.append(same)
    return {"share": float(np.mean(shares)), "dense_recall": float(np.mean(recalls))}


def _number(uri: str) -> int:
    return int(uri.partition(":")[2])


def _nearest(made: Library, vector: Vector, allowed: npt.NDArray[np.bool_]) -> set[int]:
    stored = made.vectors.astype(np.float16)
    places = np.flatnonzero(allowed)
    near = places[np.argsort(-(made.vectors[places] @ vector), kind="stable")[: 4 * K]]
    scores = stored[near].astype(np.float64) @ vector.astype(np.float64)
    return set(near[np.argsort(-scores, kind="stable")[:K]].tolist())


def _question(made: Library, rng: random.Random) -> tuple[str, Vector]:
    """A word that is neither frequent nor unique, and a vector near one that is there."""
    vector = made.vectors[rng.randrange(len(made.texts))] + np.float32(0.05) * made.vectors[rng.randrange(100)]
    return f"w{rng.randrange(200, 2000)}x", (vector / np.linalg.norm(vector)).astype(np.float32)


# --- the program


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, checks, times, and prints one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--filters", type=int, default=60, help="how many are timed at each selectivity")
    parser.add_argument("--checked", type=int, default=12, help="how many of them are held to brute force before")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    made = library(given.chunks, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        with _open(Path(folder) / "kb") as index:
            for start in range(0, given.chunks, _BATCH):
                index.write(list(made.entries(range(start, min(start + _BATCH, given.chunks)))))
        # Opened anew, so that nothing is warm but what the searches themselves make warm.
        with _open(Path(folder) / "kb") as index:
            sys.stdout.write(_measured(index, made, given) + "\n")
    return 0


def _open(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "made up"}, dimension=DIMENSION)


def _measured(index: EmbeddedIndex, made: Library, given: argparse.Namespace) -> str:
    rng = random.Random(given.seed)
    sets = {share: expressions(share, given.filters, made.metadata, given.seed) for share in SHARES}
    agreed = {f"{share:g}": checked(index, made, wheres[: given.checked], rng) for share, wheres in sets.items()}
    timings = {}
    asked: dict[float, Sequence[Expression | None]] = {1.0: [None] * given.filters, **sets}
    for share, wheres in asked.items():
        search = functools.partial(_search, index, made, rng)
        timing = measure.each(f"{share:g}", search, wheres)
        timings[timing.name] = timing
    return measure.line(
        "Hybrid search under a filter that no search had before, by the share of documents it lets through",
        timings,
        chunks=len(made.texts),
        equal_to_brute_force=agreed,
    )


def _search(index: EmbeddedIndex, made: Library, rng: random.Random, where: Expression | None) -> object:
    text, vector = _question(made, rng)
    return index.search(f"{text} w{rng.randrange(50, 500)}x", vector, k=K, mode="hybrid", where=where)


if __name__ == "__main__":
    sys.exit(main())
