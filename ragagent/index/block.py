"""A block: some chunks with all that search needs of them, in arrays. A segment is a block in two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import postings, segments
from ragagent.index.dense import DenseVectors
from ragagent.index.postings import Postings, Terms

DENSE = "faiss"
SPARSE = "postings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """n chunks in ascending order of row.

    `rows` int64[n] and `documents` int64[n] are rows of the database, `ids` bytes[n] the chunk ids in UTF-8, `lengths`
    uint32[n, 2] the number of terms in each field.
    """

    rows: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    ids: npt.NDArray[np.bytes_]
    lengths: npt.NDArray[np.uint32]
    postings: Postings
    dense: DenseVectors

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A block as one snapshot sees it.

    `live` bool[n] says which of its chunks are still there, `count` how many those are, and `terms` how many terms they
    have in each field. `segment` is the id of the segment it was read from; none for the tail.
    """

    block: Block
    live: npt.NDArray[np.bool_]
    count: int
    terms: tuple[int, int]
    segment: int | None = None

    def without(self, rows: npt.NDArray[np.int64]) -> Part:
        """The part after the chunks at `rows` are gone; rows of other parts make no difference."""
        places = np.searchsorted(self.block.rows, rows)
        inside = places < len(self.block)
        places, rows = places[inside], rows[inside]
        gone = places[self.block.rows[places] == rows]
        if not len(gone):
            return self
        live = self.live.copy()
        live[gone] = False
        return _part(self.block, live, self.segment)


def whole(block: Block, segment: int | None = None) -> Part:
    """A part with every chunk live."""
    return _part(block, np.ones(len(block), np.bool_), segment)


def _part(block: Block, live: npt.NDArray[np.bool_], segment: int | None) -> Part:
    head, body = block.lengths[live].sum(axis=0, dtype=np.int64).tolist()
    return Part(block=block, live=live, count=int(np.count_nonzero(live)), terms=(head, body), segment=segment)


def merged(parts: Sequence[Part]) -> Block:
    """One block of the live chunks of `parts`, which must be in ascending order of row."""
    keep = [(part.block, part.live) for part in parts]
    return Block(
        rows=np.concatenate([block.rows[live] for block, live in keep]),
        documents=np.concatenate([block.documents[live] for block, live in keep]),
        ids=np.concatenate([block.ids[live] for block, live in keep]),
        lengths=np.concatenate([block.lengths[live] for block, live in keep]),
        postings=postings.merge([(block.postings, live) for block, live in keep]),
        dense=DenseVectors(np.concatenate([block.dense.vectors[live] for block, live in keep])),
    )


def write(folder: Path, block: Block) -> tuple[str, str, int]:
    """Writes the block's two files, synced and named; returns their digests (dense, sparse) and their size in bytes."""
    dense, sparse = segments.aside(folder, DENSE), segments.aside(folder, SPARSE)
    block.dense.write(dense)
    segments.write_arrays(sparse, _arrays(block))
    size = dense.stat().st_size + sparse.stat().st_size
    return segments.settled(folder, dense, DENSE), segments.settled(folder, sparse, SPARSE), size


def read(folder: Path, dense: str, sparse: str, dimension: int) -> Block | None:
    """Maps the block whose files have those digests; None when either is missing or altered."""
    files = segments.path(folder, dense, DENSE), segments.path(folder, sparse, SPARSE)
    if not (segments.intact(files[0], dense) and segments.intact(files[1], sparse)):
        return None
    try:
        return _block(segments.map_arrays(files[1]), DenseVectors.read(files[0], dimension))
    except (OSError, ValueError, KeyError):
        # Unlinked by a merge between the check and the mapping.
        return None


def _arrays(block: Block) -> dict[str, npt.NDArray[Any]]:
    return {
        "rows": block.rows,
        "documents": block.documents,
        "ids": block.ids,
        "lengths": block.lengths,
        "terms": block.postings.terms.blob,
        "offsets": block.postings.terms.offsets,
        "starts": block.postings.starts,
        "chunks": block.postings.chunks,
        "counts": block.postings.counts,
    }


def _block(arrays: dict[str, npt.NDArray[Any]], dense: DenseVectors) -> Block:
    return Block(
        rows=arrays["rows"],
        documents=arrays["documents"],
        ids=arrays["ids"],
        lengths=arrays["lengths"],
        postings=Postings(
            terms=Terms(arrays["terms"], arrays["offsets"]),
            starts=arrays["starts"],
            chunks=arrays["chunks"],
            counts=arrays["counts"],
        ),
        dense=dense,
    )
