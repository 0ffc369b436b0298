"""Shells complete what the command line has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ragagent.cli.completion import completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell_and_asks_the_program(shell: str) -> None:
    done = CliRunner().invoke(completion, [shell])
    assert done.exit_code == 0
    assert f"_RAGAGENT_COMPLETE={shell}_complete" in done.output


CASES = [("ragagent mc", 1, "mcp"), ("ragagent mcp --al", 2, "--allow-write")]


@pytest.mark.parametrize(("typed", "at", "offered"), CASES)
def test_what_was_typed_is_completed(typed: str, at: int, offered: str) -> None:
    asked = {"_RAGAGENT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(at)}
    program = "from ragagent.cli import main; main([])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"plain,{offered}" in done.stdout.splitlines(), done
