"""The examples of docs/plug-ins.md, installed and run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "plug-ins.md").read_text("utf-8")
_FILE = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_a_format_of_another_distribution_is_read_by_every_command(tmp_path: Path, minilm: Path) -> None:
    sources, site, kb = tmp_path / "sources", tmp_path / "site", tmp_path / "kb"
    sources.mkdir()
    for name, text in _FILE.findall(PAGE):
        (sources / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", str(site), str(sources)], check=True)
    (tmp_path / "board.minutes").write_text("TOPIC: The roof\nIt leaks above the stairs.\nTOPIC: The fence\nGreen.\n")
    (tmp_path / "wrong.minutes").write_text("Nothing was said.\n")
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "ragagent", "--kb", str(kb), *arguments, "--json"]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)

    (report,) = run("ingest", str(tmp_path / "board.minutes"))
    assert (report["added"], report["failures"]) == (1, [])
    (report,) = run("ingest", str(tmp_path / "wrong.minutes"))
    assert "these are no minutes" in json.dumps(report["failures"])
    hits = run("search", "where does it leak?")
    assert (hits[0]["title"], hits[0]["metadata"]["topics"]) == ("The roof", 2)


def test_the_parts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = [code for code in _BLOCK.findall(PAGE) if "FORMATS" not in code]
    assert len(blocks) == 6
    for number, code in enumerate(blocks):
        exec(compile(code, f"docs/plug-ins.md, block {number + 1}", "exec"), names)
    said = capsys.readouterr().out
    assert said.startswith("Opening hours #1")
    assert "titles first" in said
    assert said.endswith("4\n")
