"""CRC-32 checksums of rows: a bit that flipped in the database is found before it becomes a wrong record.

A row's checksum covers what makes it up, its own number and what binds it to others, so a row that is sound but stands
in the wrong place is found as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ragagent.types import Chunk, Vector

CRC_BYTES = 4


def row(*fields: str | int | None) -> int:
    """The checksum of a row's fields, each framed so that none can pass into its neighbour."""
    return zlib.crc32(repr(fields).encode("utf-8", "surrogatepass"))


def bound(checksum: int, number: int) -> int:
    """A checksum that covers the number of the row as well."""
    return zlib.crc32(number.to_bytes(8, "little", signed=True), checksum)


def chunk(one: Chunk, embedding: int, number: int) -> int:
    """The checksum of a chunk with its text, its document's id, its row's number and that of its embedding. 1 GB/s."""
    fields = (one.id, one.document_id, *one.span, one.page, one.headings, one.position, embedding)
    return bound(zlib.crc32(one.text.encode("utf-8", "surrogatepass"), row(repr(fields))), number)


def piece(document: int, start: int, text: str) -> int:
    """The checksum of one piece of a document's text."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"), row(document, start))


def terms(key: tuple[int, int, str, int], terms: str, counts: bytes) -> int:
    """The checksum of a chunk's terms in the tail; the key is its row, its document's, its id, its embedding's."""
    return zlib.crc32(counts, zlib.crc32(terms.encode("utf-8", "surrogatepass"), row(*key)))


def packed(vectors: Vector, first: int = 1) -> list[bytes]:
    """Vectors as they are stored at the rows from `first` on, from float32[n, d]: float16 components, then a checksum.

    2 d + 4 bytes each.
    """
    data = np.ascontiguousarray(vectors, "<f2").tobytes()
    size = len(data) // max(len(vectors), 1)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [b""] * len(vectors)
    return [with_checksum(one, number) for number, one in enumerate(pieces, first)]


def with_checksum(components: bytes, number: int) -> bytes:
    """The stored form of a vector's components at that row of the table."""
    return components + _of_vector(components, number)


def _of_vector(components: bytes, number: int) -> bytes:
    # The row's number is where the checksum begins, which costs nothing.
    return zlib.crc32(components, number & 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")


def damaged(stored: Sequence[bytes], rows: Sequence[int], dimension: int) -> list[int]:
    """The places of vectors that are not what was written at those rows. About 0.5 us each at 384 components."""
    size = 2 * dimension
    return [
        place
        for place, (blob, number) in enumerate(zip(stored, rows, strict=True))
        if len(blob) != size + CRC_BYTES or _of_vector(blob[:size], number) != blob[size:]
    ]


def unpacked(stored: Sequence[bytes], dimension: int) -> npt.NDArray[np.float16]:
    """float16[n, d] of stored vectors that `damaged` has passed; one that is not sound is none to give here."""
    size = 2 * dimension + CRC_BYTES
    whole = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), size)
    return np.ascontiguousarray(whole[:, : 2 * dimension]).view("<f2").astype(np.float16, copy=False)
