"""The commands of the command line, one by one."""

from __future__ import annotations

from collections.abc import Iterator

import click


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, by its whole name below `name`."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for one in command.list_commands(context):
            inner = command.get_command(context, one)
            assert inner is not None
            yield from leaves(inner, f"{name} {one}".strip())
