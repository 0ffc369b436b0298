"""A reading process: reads the files that it is asked for through its standard input, one after another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import BinaryIO

from ragagent.errors import OverLimit, ReadError
from ragagent.ingest.isolation import confine, tree, wire
from ragagent.settings import IngestSettings

_FILES, _GROWTH_BYTES = 2000, 384 << 20
"""After so many files, or having grown by so much, a process asks to be replaced: libraries keep what they once had."""


def main(parent: int) -> None:
    """Runs until the input ends."""
    # Whatever a library prints must not get into the messages.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    confine.confine(parent)
    from ragagent.connectors import readers  # noqa: F401  # so that the first file need not wait for it

    Worker(sys.stdin.buffer, output).run()


class Worker:
    """Answers the requests of `source` in `sink`."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._pid = os.getpid()
        self._begun_with, _ = tree.resident_bytes(self._pid)

    def run(self) -> None:
        self._send([wire.packed({"op": "ready", "peak_bytes": confine.peak_bytes()})])
        for done in range(1, sys.maxsize):
            message = self._receive()
            if message is None:
                break
            self._answer(*message)
            grown = tree.resident_bytes(self._pid)[0] - self._begun_with
            worn = done >= _FILES or grown > _GROWTH_BYTES
            self._send([wire.packed({"op": "end", "worn": worn, "peak_bytes": confine.peak_bytes()})])
        # Without the interpreter's own leave: a library's threads or handlers could hold it.
        os._exit(0)

    def _answer(self, header: wire.Header, body: bytes) -> None:
        from ragagent.connectors import readers

        fetched, settings = wire.asked(header, body)
        del body
        confine.limit((settings.file_memory_mb << 20) + self._begun_with, settings.file_seconds)
        try:
            messages = wire.answer(readers.read(fetched, settings=settings))
        except (ReadError, MemoryError) as error:
            messages = iter([wire.failed(_reason(error, settings))])
        finally:
            self._end_what_was_started()
        self._send(messages)

    def _end_what_was_started(self) -> None:
        """Ends all that a reader has started and left, and waits until it is gone."""
        while os.getpid() == self._pid:
            for pid in tree.below(self._pid):
                tree.end(pid)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _receive(self) -> tuple[wire.Header, bytes] | None:
        lengths = self._source.read(wire.LENGTHS.size)
        if len(lengths) < wire.LENGTHS.size:
            return None
        header, body = wire.LENGTHS.unpack(lengths)
        return wire.unpacked(self._source.read(header)), self._source.read(body)

    def _send(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        # A reader that has forked may come back twice.
        if os.getpid() != self._pid:
            os._exit(0)
        try:
            for message in messages:
                for part in message:
                    self._sink.write(part)
            self._sink.flush()
        except BrokenPipeError:
            os._exit(0)


def too_much_memory(megabytes: int) -> str:
    """Why a file was given up."""
    return f"reading it needs more than {megabytes} MB of memory (setting ingest.file_memory_mb)"


def _reason(error: ReadError | MemoryError, settings: IngestSettings) -> ReadError:
    of_memory = error if isinstance(error, MemoryError) else error.__cause__
    if isinstance(of_memory, MemoryError):
        return OverLimit(too_much_memory(settings.file_memory_mb))
    return error if isinstance(error, ReadError) else ReadError(str(error))
