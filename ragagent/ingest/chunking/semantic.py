"""Where the subject changes: places between sentences, ranked by how far apart the two sides are for the embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ragagent.ingest.chunking import structure
from ragagent.ingest.chunking.atoms import Atoms
from ragagent.ingest.chunking.pieces import BLOCK, Run
from ragagent.types import Vector

Embed = Callable[[Sequence[str]], Vector]

_SIDE = 3
"""So many sentences on each side are compared: single ones differ from their neighbours by chance."""
_PARAGRAPH = 0.1
"""What the beginning of a paragraph adds to the distance."""


def runs(atoms: Atoms, min_tokens: int, embed: Embed) -> list[Run]:
    """As by structure, but a section that has to be cut is cut where what follows is furthest from what went before.

    Costs an embedding of every sentence of such sections. A place is ranked by three sentences on each side and
    nothing else, so an edit moves the boundaries near it and no others.
    """
    long = [run for run in structure.sections(atoms) if atoms.cost(*run) > atoms.room]
    texts = [atoms.text[atom.start : atom.end] for first, last in long for atom in atoms.all[first:last]]
    vectors = embed(texts) if texts else np.zeros((0, 1), np.float32)
    at = 0
    for first, last in long:
        atoms.prefer(_distances(atoms, first, vectors[at : at + last - first]))
        at += last - first
    return structure.runs(atoms, min_tokens)


def _distances(atoms: Atoms, first: int, vectors: Vector) -> dict[int, float]:
    """For each atom of a section but its first: half of one less the cosine of both sides, more at a paragraph."""
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
    places = np.arange(1, len(vectors))
    before = sums[places] - sums[np.maximum(places - _SIDE, 0)]
    after = sums[np.minimum(places + _SIDE, len(vectors))] - sums[places]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = np.einsum("nd,nd->n", before, after) / np.maximum(norms, 1e-12)
    return {
        first + place: float((1 - cosine) / 2) + (_PARAGRAPH if atoms.all[first + place].strength >= BLOCK else 0.0)
        for place, cosine in zip(places.tolist(), cosines.tolist(), strict=True)
    }
