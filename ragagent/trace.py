"""Timed, named events to a sink that the application injects; nothing happens, and nothing is paid, without one."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragagent.protocols import Sink


class Trace:
    """Hands events to a sink. An event is flat: `name`, `at` (Unix seconds), `seconds`, and what the stage adds."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink

    @contextlib.contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
        """Times a block; what the block puts into the yielded mapping becomes part of the event."""
        if self._sink is None:
            yield {}
            return
        event: dict[str, Any] = {"name": name, "at": time.time(), **attributes}
        begin = time.perf_counter()
        try:
            yield event
        except BaseException as error:
            event["error"] = type(error).__name__
            raise
        finally:
            event["seconds"] = round(time.perf_counter() - begin, 6)
            self._sink(event)


class JsonLines:
    """A sink that appends one JSON object a line to a file; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __call__(self, event: Any) -> None:
        line = json.dumps(event, ensure_ascii=False, default=str)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def open_telemetry() -> Sink:
    """A sink that turns each event into an OpenTelemetry span of the globally configured tracer."""
    from opentelemetry import trace

    tracer = trace.get_tracer("ragagent")

    def sink(event: Any) -> None:
        begin = int(event["at"] * 1e9)
        span = tracer.start_span(event["name"], start_time=begin)
        for key, value in event.items():
            if key not in {"name", "at"} and isinstance(value, str | bool | int | float):
                span.set_attribute(f"ragagent.{key}", value)
        span.end(end_time=begin + int(event["seconds"] * 1e9))

    return sink
