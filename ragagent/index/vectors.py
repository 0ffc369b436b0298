"""The stored vectors: float16 in the database, read by row; for small collections kept in memory and scanned by faiss.

A vector is stored with 11 significant bits for each component, so a cosine is off by at most 2**-11 (0.0005), in
practice by 0.00002. faiss sums in float32 in an order of its own; the score that counts is summed in float64 from the
stored components alone, so it does not depend on where a chunk lies or on what lies beside it.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import Corrupt
from ragagent.index import checksums, records
from ragagent.types import Vector

Half = npt.NDArray[np.float16]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_PAGE = 500
_SLACK = 32
_FEW = 512
"""So few vectors are scored one by one faster than by a scan under a mask."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The vectors of the commit that `connection` sees."""

    connection: sqlite3.Connection
    dimension: int

    def read(self, embeddings: npt.NDArray[np.int64]) -> Half:
        """float16[m, d]: the vectors at those rows of the table, in that order; rows may come twice.

        About 2 us each. Raises Corrupt when a row is missing or is not what was written.
        """
        wanted, places = np.unique(embeddings, return_inverse=True)
        rows: list[int] = wanted.tolist()
        blobs: dict[int, bytes] = {}
        for at in range(0, len(rows), _PAGE):
            page = rows[at : at + _PAGE]
            # Always as many marks, so that SQLite has the statement ready.
            page += [page[-1]] * (_PAGE - len(page) if len(rows) > _PAGE else -len(page) % 64)
            marks = ",".join("?" * len(page))
            blobs.update(self.connection.execute(f"SELECT row, vector FROM embeddings WHERE row IN ({marks})", page))
        if len(blobs) != len(rows):
            raise Corrupt(f"{len(rows) - len(blobs)} vectors are missing; restore a backup or ingest again")
        stored = [blobs[row] for row in rows]
        for place in checksums.damaged(stored, rows, self.dimension):
            raise records.damaged_embedding(self.connection, rows[place])
        return checksums.unpacked(stored, self.dimension)[places]


def scores(vectors: Half, query: Vector) -> npt.NDArray[np.float64]:
    """float64[m]: the inner product of `query` and each of `vectors`."""
    products = vectors.astype(np.float64) * query.astype(np.float64)
    return np.asarray(products.sum(axis=1))


class Loaded:
    """The vectors of one block, read when exact search first wants them. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Mask, Vectors] | None = None

    def of(self, stored: Stored, embeddings: npt.NDArray[np.int64], live: Mask) -> Vectors:
        """The vectors of a block whose chunks have those `embeddings`; only those of `live` chunks are sure to be."""
        with self._lock:
            if self._held is None:
                known, half = np.zeros(len(live), np.bool_), np.zeros((len(live), stored.dimension), np.float16)
            else:
                known, half = self._held[0], self._held[1].half
            # Another thread may search an earlier commit, in which more was live.
            missing = np.flatnonzero(live & ~known)
            if len(missing) or self._held is None:
                half = half.copy()
                half[missing] = stored.read(embeddings[missing])
                self._held = known | live, Vectors(half)
            return self._held[1]


class Vectors:
    """float16[n, d] with faiss's scan over it: 2.5 times as fast as float32, at half the memory."""

    def __init__(self, half: Half) -> None:
        import faiss

        self._faiss: Any = faiss
        self._engine = faiss.IndexScalarQuantizer(
            half.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._engine.is_trained = True
        self.half = half
        if len(half):
            self._engine.add_sa_codes(np.ascontiguousarray(half).view(np.uint8))
            # The engine's copy is the only one that stays.
            held = faiss.rev_swig_ptr(self._engine.codes.data(), half.nbytes)
            self.half = held.view(np.float16).reshape(half.shape)

    def nearest(self, query: Vector, count: int, mask: Mask | None) -> Places:
        """Places of the `count` best by inner product (all under `mask`), with everything that comes close to them.

        The right ones are among them whatever the rounding of the scan; in no order.
        """
        size = len(self.half) if mask is None else int(np.count_nonzero(mask))
        if size <= max(_FEW, count):
            return np.arange(size) if mask is None else np.flatnonzero(mask)
        tolerance = 2.4e-7 * len(query) * max(1.0, float(np.linalg.norm(query)))
        fetch = count + _SLACK
        while True:
            found, places = self._scan(query, min(fetch, size), mask)
            if fetch >= size or found[count - 1] - found[-1] > tolerance:
                return places
            fetch *= 4

    def _scan(self, query: Vector, count: int, mask: Mask | None) -> tuple[npt.NDArray[np.float32], Places]:
        # One query is one thread's work; a pool of them would only wait.
        self._faiss.omp_set_num_threads(1)
        parameters = None
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            selected = self._faiss.IDSelectorBitmap(len(mask), self._faiss.swig_ptr(bits))
            parameters = self._faiss.SearchParameters(sel=selected)
        found, places = self._engine.search(query.reshape(1, -1), count, params=parameters)
        return found[0], places[0]
