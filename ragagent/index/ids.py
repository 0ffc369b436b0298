"""Chunk ids in a segment: those that are digests in hexadecimal take half the room, and are spelled out when asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.bytes_]

_DIGITS = b"0123456789abcdef"
_NONE = 255
_VALUES = np.full(256, _NONE, np.uint8)
_VALUES[list(_DIGITS)] = np.arange(16, dtype=np.uint8)
_PAIRS = np.array([f"{value:02x}".encode() for value in range(256)], "S2").view(np.uint16)


class Packed:
    """Ids of one length, two digits a byte: uint8[n, length / 2]. Indexed as an array of bytes[n] would be."""

    def __init__(self, digits: npt.NDArray[np.uint8]) -> None:
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, places: Any) -> Ids:
        """bytes[m]: the ids at an array of places, a mask or a slice."""
        pairs = np.take(_PAIRS, self.digits[places])
        return np.asarray(pairs.view(f"S{2 * self.digits.shape[1]}")[:, 0])


def packed(ids: Ids) -> npt.NDArray[np.uint8] | None:
    """The digits of `ids`, or None where one of them is not in lower-case hexadecimal or shorter than the others."""
    length = ids.dtype.itemsize
    if not len(ids) or length % 2:
        return None
    values = _VALUES[np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), length)]
    if (values == _NONE).any():
        return None
    return np.asarray(values[:, ::2] << 4 | values[:, 1::2])
