"""The threads that scan for this process: as few as it has cores, two at most, however many searches it runs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

THREADS = min(2, os.cpu_count() or 1)


def each(task: Callable[[_T], _R], items: Sequence[_T], *, parallel: bool) -> list[_R]:
    """What `task` gives for each item, in order; in the workers if `parallel`. A task must not wait for another."""
    if parallel and THREADS > 1 and len(items) > 1:
        return list(_pool().map(task, items))
    return [task(item) for item in items]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="search")


# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pool.cache_clear)
