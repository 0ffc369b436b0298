"""What commands write: text for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ragagent.jsonable import jsonable

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A terminal writer that leaves plain text alone when it does not write to a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def echo_json(value: Any, *, line: bool = False) -> None:
    """Prints records as JSON in their own characters: indented, or as one `line`."""
    click.echo(json.dumps(jsonable(value), ensure_ascii=False, indent=None if line else 2))


def printable(text: str, *, but: str = "\n\t") -> str:
    """Foreign text as a terminal can show it: no codes that move the cursor or hide things, save those in `but`."""
    from ragagent.text import hidden

    return "".join(one if one.isprintable() or one in but else "\ufffd" for one in hidden.without(text))
