"""The threads that scan for this process: as few as it has cores, two at most, however many searches it runs.

The thread that asks is one of them and does its share: a system that wakes two threads while that one goes to sleep
often puts both on its core. (A scan of a million codes by two others took 3.7 ms, by itself and another 1.9.)
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

THREADS = min(2, os.cpu_count() or 1)


def each(task: Callable[[_T], _R], items: Sequence[_T], *, parallel: bool) -> list[_R]:
    """What `task` gives for each item, in order; in every thread if `parallel`. A task must not wait for another."""
    if not parallel or THREADS < 2 or len(items) < 2:
        return [task(item) for item in items]
    found: dict[int, _R] = {}
    # Whoever is free takes the next one: the interpreter's lock guards the iterator.
    rest = iter(range(len(items)))

    def work() -> None:
        for number in rest:
            found[number] = task(items[number])

    others = [_pool().submit(work) for _ in range(THREADS - 1)]
    work()
    for other in others:
        # One that has not begun by now, because its thread is busy with another search, is not needed.
        if not other.cancel():
            other.result()
    return [found[number] for number in range(len(items))]


def begun(task: Callable[[], _R], *, parallel: bool) -> Callable[[], _R]:
    """A function that gives what `task` gives, which runs in another thread from now on if `parallel`, else when asked.

    If that thread is still busy with other searches then, it is done by who asks. The task must not wait for another.
    """
    if not parallel or THREADS < 2:
        return task
    other = _pool().submit(task)
    return lambda: task() if other.cancel() else other.result()


def turn() -> contextlib.AbstractContextManager[object]:
    """A turn to search: as many at once as there are cores, for more would only hand the interpreter's lock around.

    (Eight threads made 146 searches a second of 100,000 chunks without it, one of them by itself 300.) Nobody may wait
    for a turn who has one.
    """
    return _turns()


@functools.cache
def _turns() -> threading.Semaphore:
    return threading.Semaphore(os.cpu_count() or 1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS - 1, thread_name_prefix="search")


# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pool.cache_clear)
os.register_at_fork(after_in_child=_turns.cache_clear)
