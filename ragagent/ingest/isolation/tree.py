"""The processes that a process has started, and theirs: how much memory they take, and how they all end.

Linux alone tells this; elsewhere a process is taken to have started none, and to take no memory that anyone knows of.
"""

from __future__ import annotations

import contextlib
import os
import signal

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROUNDS = 20
"""A process that starts others while it is being ended is given up after so many rounds."""


def below(pid: int) -> list[int]:
    """The processes below `pid`, without it; those whose parent has ended count where it is their reaper."""
    found, left = [], [pid]
    while left:
        children = _children(left.pop())
        found += children
        left += children
    return found


def resident_bytes(pid: int) -> tuple[int, int]:
    """The memory that `pid` and all below it have resident, shared pages counted for each, and how many they are."""
    pids = [pid, *below(pid)]
    return sum(map(_resident, pids)), len(pids)


def end(pid: int) -> None:
    """Kills a process, its group, and all below it; one that still starts others cannot run away."""
    _signal(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        found = below(pid)
        for one in found:
            _signal(one, signal.SIGSTOP)
        if len(below(pid)) == len(found):
            break
    for one in below(pid):
        _signal(one, signal.SIGKILL)
    end_group(pid)
    _signal(pid, signal.SIGKILL)


def end_group(pid: int) -> None:
    """Kills what is left of the group that a process leads, or has led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
