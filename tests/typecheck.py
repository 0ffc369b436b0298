"""Runs mypy over the package as it is installed: the five folders under one name."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    # Links give mypy the installed shape; an editable install's import hooks are invisible to it.
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "ragagent"
        package.mkdir()
        for entry in (ROOT / "ragagent").iterdir():
            (package / entry.name).symlink_to(entry)
        for folder in ("connectors", "prompts", "eval"):
            (package / folder).symlink_to(ROOT / folder)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), "-p", "ragagent"]
        return subprocess.run(command, cwd=name, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
