"""The official conformance suite, where `make conformance` has fetched it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "conformance"


@pytest.mark.parametrize(
    ("side", "counts"),
    [
        ("server", ["server, 2026-07-28: 37 of 37", "server, 2025-11-25: 30 of 30"]),
        ("client", ["client, 2026-07-28: 32 of 32", "client, 2025-11-25: 18 of 18"]),
    ],
)
def test_every_scored_scenario_of_both_revisions_passes(side: str, counts: list[str]) -> None:
    if not (PACKAGES / "node_modules" / "@modelcontextprotocol" / "conformance").is_dir():
        pytest.skip("the conformance suite is not here; make conformance fetches it (npm)")
    program = Path(__file__).parent / "mcp_conformance.py"
    done = subprocess.run(
        [sys.executable, str(program), str(PACKAGES), side], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for count in counts:
        assert count in done.stdout
