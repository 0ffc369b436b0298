"""`ragagent config show`."""

from __future__ import annotations

import click

from ragagent import settings as settings_module
from ragagent.cli.context import Context, json_option
from ragagent.cli.output import console, echo_json


@click.group()
def config() -> None:
    """Show the settings in force and where they come from."""


@config.command()
@json_option
@click.pass_obj
def show(context: Context, as_json: bool) -> None:
    """Print every setting, its value and the origin of the value.

    \b
    ragagent config show
    ragagent --config work.toml config show --json
    """
    values = settings_module.values(context.settings)
    origins = context.loaded.origins
    for key in settings_module.SECRET_KEYS:
        values[key] = "(set)" if values[key] else None
    if as_json:
        echo_json({key: {"value": value, "origin": origins[key]} for key, value in values.items()})
        return
    out = console()
    width = max(map(len, values))
    for key, value in values.items():
        origin = origins[key]
        out.print(f"{key:<{width}}  {value!s:<32}  {origin}", style="dim" if origin == "default" else "bold")
