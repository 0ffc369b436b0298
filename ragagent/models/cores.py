"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Physical cores in the process's affinity, and no more than a container's CPU quota; at least 1.

    Two hardware threads of one core count once: matrix products gain nothing from the second.
    """
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = len({_siblings(cpu) for cpu in cpus})
    return max(1, min(cores, _quota() or cores))


def _siblings(cpu: int) -> str:
    """The same text for every hardware thread of one core."""
    try:
        return Path(_TOPOLOGY.format(cpu)).read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    try:
        allowance, _, period = _QUOTA.read_text(encoding="ascii").partition(" ")
        return max(1, math.ceil(int(allowance) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
