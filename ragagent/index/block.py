"""A block: some chunks with all that search needs of them, in arrays. A segment is a block in two files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import codes, ids, postings, segments
from ragagent.index.codes import Codes
from ragagent.index.ids import Packed
from ragagent.index.postings import Postings
from ragagent.index.vectors import Loaded

DENSE = "dense"
SPARSE = "sparse"
SUFFIXES = (DENSE, SPARSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """n chunks in ascending order of row.

    `rows`, `documents` and `embeddings` int64[n] are rows of the database, `ids` bytes[n] the chunk ids in UTF-8,
    `lengths` uint32[n, 2] the number of terms in each field and `terms` their sums. `vectors` is where exact search
    keeps what it has read from the database.
    """

    rows: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.int64]
    ids: npt.NDArray[np.bytes_] | Packed
    lengths: npt.NDArray[np.uint32]
    terms: tuple[int, int]
    postings: Postings
    codes: Codes
    vectors: Loaded = field(default_factory=Loaded)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The places of those of `rows` that are here, in their order, and for each of `rows` whether it is."""
        places = np.searchsorted(self.rows, rows)
        inside = places < len(self)
        inside[inside] = self.rows[places[inside]] == rows[inside]
        return places[inside], inside


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
        """The part after the chunks at `rows` are gone; other rows, and those gone before, make no difference.

        Costs what the number of rows costs, and a copy of `live`.
        """
        gone = np.unique(self.block.find(rows)[0])
        gone = gone[self.live[gone]]
        if not len(gone):
            return self
        live = self.live.copy()
        live[gone] = False
        head, body = self.block.lengths[gone].sum(axis=0, dtype=np.int64).tolist()
        return Part(
            block=self.block,
            live=live,
            count=self.count - len(gone),
            terms=(self.terms[0] - head, self.terms[1] - body),
            segment=self.segment,
        )

    def within(self, mask: npt.NDArray[np.bool_]) -> Part:
        """The part without the chunks that are not in `mask`, bool[n]."""
        live = self.live & mask
        count = int(np.count_nonzero(live))
        if count == self.count:
            return self
        head, body = self.block.lengths.sum(axis=0, dtype=np.int64, where=live[:, None]).tolist()
        return Part(block=self.block, live=live, count=count, terms=(head, body), segment=self.segment)


def empty(dimension: int) -> Block:
    """No chunks at all."""
    none = np.zeros(0, np.int64)
    return Block(
        rows=none,
        documents=none,
        embeddings=none,
        ids=np.zeros(0, np.bytes_),
        lengths=np.zeros((0, 2), np.uint32),
        terms=(0, 0),
        postings=postings.build([]),
        codes=codes.empty(dimension),
    )


def total(lengths: npt.NDArray[np.uint32]) -> tuple[int, int]:
    """The sums of `lengths` by field."""
    head, body = lengths.sum(axis=0, dtype=np.int64).tolist()
    return head, body


def whole(block: Block, segment: int | None = None) -> Part:
    """A part with every chunk live."""
    return Part(block=block, live=np.ones(len(block), np.bool_), count=len(block), terms=block.terms, segment=segment)


def merged(parts: Sequence[Part], dimension: int) -> Block:
    """One block of the live chunks of `parts`, which must be in ascending order of row; there may be none."""
    keep = [(part.block, part.live) for part in parts] or [(empty(dimension), np.zeros(0, np.bool_))]
    lengths = np.concatenate([block.lengths[live] for block, live in keep])
    return Block(
        rows=np.concatenate([block.rows[live] for block, live in keep]),
        documents=np.concatenate([block.documents[live] for block, live in keep]),
        embeddings=np.concatenate([block.embeddings[live] for block, live in keep]),
        ids=np.concatenate([block.ids[live] for block, live in keep]),
        lengths=lengths,
        terms=total(lengths),
        postings=postings.merge([(block.postings, live) for block, live in keep]),
        codes=codes.joined([block.codes.take(live) for block, live in keep]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The files of a block: their digests by suffix, and their size in bytes."""

    dense: str
    sparse: str
    size: int


def write(folder: Path, block: Block) -> Written:
    """Writes the block's two files, synced and named. Raises OSError."""
    dense, first = segments.write(folder, DENSE, _dense(block))
    sparse, second = segments.write(folder, SPARSE, _sparse(block))
    return Written(dense=dense, sparse=sparse, size=first + second)


def files(folder: Path, dense: str, sparse: str) -> tuple[Path, Path]:
    """Where the files of those digests lie."""
    return segments.path(folder, dense, DENSE), segments.path(folder, sparse, SPARSE)


def read(folder: Path, dense: str, sparse: str, dimension: int) -> Block | None:
    """Maps the block whose files have those digests; None when either is missing or altered."""
    first, second = files(folder, dense, sparse)
    if not (segments.intact(first, dense) and segments.intact(second, sparse)):
        return None
    try:
        return _block(segments.map_arrays(first), segments.map_arrays(second), dimension)
    except (OSError, ValueError, KeyError):
        # Unlinked by a merge between the check and the mapping.
        return None


def _dense(block: Block) -> dict[str, npt.NDArray[Any]]:
    return {
        "rows": block.rows,
        "documents": block.documents,
        "embeddings": block.embeddings,
        **_ids(block.ids[:]),
        "bits": block.codes.bits,
        "nibbles": block.codes.nibbles,
    }


def _ids(every: npt.NDArray[np.bytes_]) -> dict[str, npt.NDArray[Any]]:
    digits = ids.packed(every)
    return {"ids": every} if digits is None else {"digits": digits}


def _sparse(block: Block) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {"lengths": block.lengths, "totals": np.array(block.terms, np.int64)}
    return arrays | {f"postings.{name}": array for name, array in block.postings.arrays().items()}


def _block(dense: Mapping[str, npt.NDArray[Any]], sparse: Mapping[str, npt.NDArray[Any]], dimension: int) -> Block:
    stored = Codes(dense["bits"], dense["nibbles"])
    if stored.bits.shape[1:] != codes.empty(dimension).bits.shape[1:]:
        raise ValueError("codes of vectors of another dimension")
    head, body = sparse["totals"].tolist()
    named = {name.removeprefix("postings."): array for name, array in sparse.items() if name.startswith("postings.")}
    return Block(
        rows=dense["rows"],
        documents=dense["documents"],
        embeddings=dense["embeddings"],
        ids=Packed(dense["digits"]) if "digits" in dense else dense["ids"],
        lengths=sparse["lengths"],
        terms=(head, body),
        postings=Postings.from_arrays(named),
        codes=stored,
    )
