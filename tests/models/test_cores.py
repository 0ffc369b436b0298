"""Counting cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ragagent.models.cores import available_cores

NARROWED = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from ragagent.models.cores import available_cores
print(available_cores())
"""


def test_there_is_at_least_one_and_no_more_than_the_machine_has() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system with CPU affinity")
def test_a_process_bound_to_one_processor_has_one() -> None:
    import ragagent

    root = os.path.dirname(os.path.dirname(ragagent.__file__))
    command = [sys.executable, "-P", "-c", NARROWED, root]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
