"""The messages between an application and its model process: JSON objects, each preceded by its length.

The application sends `load`, `chat`, `sample`, `score`, `count`, `prompt` and `cancel`; the process answers with
`ready`, `delta`, `done`, `samples`, `score`, `count`, `prompt` and `failed`, and reports with `alive` how much work it
has done so far. Every message but `alive` carries the `id` of its request.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

MOST_SAMPLES = 8
"""Answers that one prompt can have written side by side."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Everything the model process has to know to load a model. `gpu_layers` -1 means as many as fit."""

    path: str
    context_tokens: int
    batch_tokens: int
    threads: int
    gpu_layers: int
    kv_cache: str
    rope_scaling: str
    rope_scale: float
    lora: tuple[tuple[str, float], ...] = ()
    cache_bytes: int = 0
    cache_folder: str = ""
    cache_disk_bytes: int = 0
    special_kernels: bool = True
    """Whether weights may be laid out for the processor's matrix instructions; False is slower and always works."""


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Writes one message. Raises ValueError when it is over the size limit, BrokenPipeError when nobody reads."""
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES}")
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end of the stream, also when it ends inside a message."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes is over the limit of {MAX_MESSAGE_BYTES}")
    data = stream.read(length)
    if len(data) < length:
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("a message must be a JSON object")
    return message
