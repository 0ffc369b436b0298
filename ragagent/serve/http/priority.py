"""Who goes first where the processors are busy: searches, then what shares the interpreter with them, then the models.

A priority is that of the thread that sets it; threads and processes that are started from there inherit it: the
language model's process starts with the first answer, those in which files are read with the first ingest, and the
engine keeps the threads of whoever embeds documents first. Ingests come before the models although nobody waits for
them: while one of their threads holds the interpreter and is not on a processor, every search waits.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_INGESTS, _ANSWERS, _EMBEDDING = 10, 15, 19
_SWITCH_S = 0.0005


def of_ingests() -> None:
    """Puts this thread behind those that search."""
    _lowered(_INGESTS)


def of_answers() -> None:
    """Puts this thread behind those that search and ingest."""
    _lowered(_ANSWERS)


def of_embedding() -> None:
    """Puts this thread behind all others."""
    _lowered(_EMBEDDING)


@contextlib.contextmanager
def quick_turns() -> Iterator[None]:
    """Within the block a thread that waits for the interpreter gets it after half a millisecond instead of five.

    A search waits for it dozens of times.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _lowered(to: int) -> None:
    if sys.platform != "linux":  # elsewhere the number of a thread would be taken for that of a process
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(to, os.getpriority(os.PRIO_PROCESS, thread)))
