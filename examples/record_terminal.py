"""Runs commands on the example documents and keeps what the terminal shows as a picture for the pages.

python examples/record_terminal.py docs/images/terminal.svg
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

DOCUMENTS = Path(__file__).parent / "documents"
WIDTH = 100
COMMANDS = (
    "ragagent ingest documents/",
    'ragagent ask "What does a lost key cost?"',
    'ragagent ask "What is the phone number of the mayor?"',
    'ragagent search "chestnut tree" -k 1 --explain',
)
# The picture asks no other host for a font.
_PLAIN = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main(target: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "documents").symlink_to(DOCUMENTS.resolve())
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(_shown(command, folder)))
    svg = console.export_svg(title="ragagent", code_format=_PLAIN)
    Path(target).write_text(svg, encoding="utf-8")


def _shown(command: str, folder: str) -> str:
    """What a command prints, with the folder it runs in left out."""
    program = str(Path(sys.executable).parent / "ragagent")
    environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    done = subprocess.run(
        [program, *shlex.split(command)[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return (
        done.stdout.replace(f"file://{DOCUMENTS.resolve()}", "file:///.../documents").replace(folder, "").strip() + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
