"""Starting costs nothing that is not used: counted by the modules that get loaded, not by the clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENGINES = (
    "torch",
    "faiss",
    "llama_cpp",
    "langgraph",
    "mcp",
    "onnxruntime",
    "openvino",
    "sentence_transformers",
    "numpy",
)


def loaded_engines(code: str) -> list[str]:
    report = f"{code}\nimport sys; print('LOADED', *[name for name in {ENGINES!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.rsplit("LOADED", 1)[1].split()


def test_importing_ragagent_loads_no_engine() -> None:
    assert loaded_engines("import ragagent") == []


@pytest.mark.parametrize("arguments", ["--help", "--version", "ask --help", "ingest --help", "search --help"])
def test_help_loads_no_engine(arguments: str) -> None:
    code = f"""
from ragagent.cli import main
try:
    main({arguments.split()!r})
except SystemExit as error:
    assert error.code == 0
"""
    assert [name for name in loaded_engines(code) if name != "numpy"] == []
