"""What a server asks in the middle of a call, at the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ragagent.cli.output import printable
from ragagent.errors import ToolError

if TYPE_CHECKING:
    from ragagent.tools.mcp_asking import Field, Form


def at_terminal(form: Form) -> Mapping[str, Any] | None:
    """What somebody at the terminal answers; None when they do not want to."""
    click.echo(f"The server {form.server!r} asks, in its own words: {printable(form.message, but='')}")
    if form.url:
        click.echo(f"It asks you to open {form.url}")
        return {} if click.confirm("Did you, and shall it go on?") else None
    if not click.confirm("Do you want to answer? What you say goes to this server"):
        return None
    return {field.name: value for field in form.fields if (value := _answer(field)) is not None}


def _answer(field: Field) -> Any:
    """The value of a field; None where it may be left out and is."""
    options = ", ".join(f"{value} ({title})" if title != value else value for value, title in field.options)
    said = " - ".join(part for part in (field.title, field.description, options) if part)
    while True:
        typed = click.prompt(printable(said, but=""), default=_default(field), show_default=field.default is not None)
        if not typed:
            if field.default is not None or not field.required:
                return field.default
            click.echo("It has to be answered.")
            continue
        try:
            return field.checked(_value(field, typed))
        except (ToolError, ValueError) as error:
            click.echo(printable(str(error), but=""))


def _default(field: Field) -> str:
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        return "yes" if field.default else "no"
    return ", ".join(field.default) if isinstance(field.default, list) else str(field.default)


def _value(field: Field, typed: str) -> Any:
    match field.kind:
        case "yes or no":
            if typed.lower() not in {"yes", "y", "no", "n"}:
                raise ValueError("say yes or no")
            return typed.lower().startswith("y")
        case "integer":
            return int(typed)
        case "number":
            return float(typed)
        case "some of":
            return [one.strip() for one in typed.split(",") if one.strip()]
        case _:
            return typed
