"""The index measures itself: how much of what an exact search finds does its dense search find?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ragagent.index import dense
from ragagent.index.vectors import Stored
from ragagent.index.view import View
from ragagent.types import Vector

QUESTIONS = 64
COUNT = 10
_AWAY = 0.8
"""Half of the questions are stored vectors, half are moved by so much: a cosine of 0.78, as between a question and its
passage."""
_PAGE = 4096


def estimated(view: View, stored: Stored) -> float | None:
    """The share of the 10 nearest, by an exact scan, that dense search finds; None where it is exact anyway.

    Questions are stored vectors from all over the collection, the same ones for the same view. Reads every stored
    vector: about 8 s a million.
    """
    if dense.plan(view.chunks, view.chunks, COUNT).exact:
        return None
    questions = _questions(view, stored)
    found = dense.search_many(view.parts, questions, COUNT, [part.live for part in view.parts], stored)
    edges = _edges(view, stored, questions)
    # By score, so that it does not matter which of several equal ones is found; rounding in float32 is allowed for.
    hits = [np.count_nonzero(one.ranking.scores >= edge - 1e-6) for one, edge in zip(found, edges, strict=True)]
    return float(sum(hits)) / (COUNT * len(questions))


def _questions(view: View, stored: Stored) -> Vector:
    embeddings = np.concatenate([part.block.embeddings[part.live] for part in view.parts])
    chosen = embeddings[np.linspace(0, len(embeddings) - 1, QUESTIONS).astype(np.int64)]
    vectors = stored.read(chosen).astype(np.float32)
    away = np.random.default_rng(0).standard_normal(vectors.shape, np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1::2] += (_AWAY * length * away / np.linalg.norm(away, axis=1, keepdims=True))[1::2]
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _edges(view: View, stored: Stored, questions: Vector) -> npt.NDArray[np.float32]:
    """float32[q]: the score of the last of the exact best, for each question."""
    best = np.full((len(questions), COUNT), -np.inf, np.float32)
    for embeddings in _pages(view):
        scores = questions @ stored.read(embeddings).astype(np.float32).T
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, both.shape[1] - COUNT, axis=1)[:, -COUNT:]
    return np.asarray(best.min(axis=1))


def _pages(view: View) -> Iterator[npt.NDArray[np.int64]]:
    for part in view.parts:
        live = part.block.embeddings[part.live]
        for at in range(0, len(live), _PAGE):
            yield live[at : at + _PAGE]
