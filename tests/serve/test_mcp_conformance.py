"""The official conformance suite, where `make conformance` has fetched it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "conformance"


def test_every_scored_scenario_of_both_revisions_passes() -> None:
    if not (PACKAGES / "node_modules" / "@modelcontextprotocol" / "conformance").is_dir():
        pytest.skip("the conformance suite is not here; make conformance fetches it (npm)")
    program = Path(__file__).parent / "mcp_conformance.py"
    done = subprocess.run(
        [sys.executable, str(program), str(PACKAGES)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "server, 2026-07-28: 37 of 37" in done.stdout
    assert "server, 2025-11-25: 30 of 30" in done.stdout
