"""The worked example of docs/connector-plugin.md, installed and run as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_FILE = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of the example's sources, and an environment in which it is installed."""
    folder, target = tmp_path_factory.mktemp("notes"), tmp_path_factory.mktemp("site")
    for name, text in _FILE.findall((ROOT / "docs/connector-plugin.md").read_text("utf-8")):
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--disable-pip-version-check", "--target", str(target), str(folder)], check=True)
    return folder, {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{ROOT}"}


def _run(installed: tuple[Path, dict[str, str]], *command: str) -> subprocess.CompletedProcess[str]:
    folder, environment = installed
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_example_keeps_the_rules(installed: tuple[Path, dict[str, str]]) -> None:
    done = _run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ragagent_notes.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_its_scheme_is_known_to_the_command_line(
    installed: tuple[Path, dict[str, str]], tmp_path: Path, minilm: Path
) -> None:
    notes: list[dict[str, Any]] = [
        {"id": 1, "title": "Bees", "text": "Bees dance.", "tags": ["work"]},
        {"id": 2, "title": "Ants", "text": "Ants follow scent."},
    ]
    (tmp_path / "notes.json").write_text(json.dumps(notes))
    source = f"notes://{tmp_path}/notes.json"
    arguments = ["-m", "ragagent", "--kb", str(tmp_path / "kb"), "ingest", source, "--json"]
    done = _run(installed, *arguments, "-o", "tag=work")
    assert json.loads(done.stdout)[0]["added"] == 1, done.stderr
    done = _run(installed, *arguments)
    assert [json.loads(done.stdout)[0][key] for key in ("added", "unchanged")] == [1, 1]
    done = _run(installed, *arguments, "-o", "colour=red")
    assert (done.returncode, "known options: tag" in done.stderr) == (2, True)
