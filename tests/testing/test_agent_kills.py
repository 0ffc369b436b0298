from __future__ import annotations

import json
import subprocess
import sys


def test_a_run_that_is_killed_again_and_again_does_each_effect_once() -> None:
    """In a process of its own: the program forks, which only a process with one thread should do."""
    command = [sys.executable, "-m", "ragagent.testing.agent_kills", "--kills", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] == 3
