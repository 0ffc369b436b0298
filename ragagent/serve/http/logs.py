"""One JSON line for each request: what was asked for by its route, never by its words."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("ragagent.http")


def log(event: str, **fields: Any) -> None:
    """Writes an event. `fields` hold no text of documents, questions or answers: who calls sees to that."""
    if LOGGER.isEnabledFor(logging.INFO):
        line = {"at": round(time.time(), 3), "event": event, **fields}
        LOGGER.info(json.dumps(line, ensure_ascii=True, default=str))


def fault(error: BaseException) -> str:
    """Where an unexpected error comes from, without its message: that may quote a document."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} at {' < '.join(reversed(places))}"


def to_standard_error() -> None:
    """Sends the lines to standard error, where a service manager collects them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
