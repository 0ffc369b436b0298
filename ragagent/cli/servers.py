"""`ragagent agent tools|allow|forbid|resources|read|prompt|signin|signout`: the servers of an mcp.json."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragagent.cli.context import DEFAULT_KB, Context, json_option, kb_option
from ragagent.cli.output import echo_json, printable
from ragagent.errors import ConfigError

if TYPE_CHECKING:
    from ragagent.tools.mcp_tools import Servers

_Function = TypeVar("_Function", bound=Callable[..., Any])


def mcp_option(*, required: bool = False) -> Callable[[_Function], _Function]:
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option("--mcp", type=file, required=required, help="An mcp.json of servers whose tools may be used.")


@click.command()
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def tools(context: Context, mcp: Path, kb: Path | None, as_json: bool) -> None:
    """List the tools that the servers of an mcp.json offer, and which of them are allowed. Starts the servers.

    \b
    ragagent agent tools --mcp mcp.json
    """
    context.choose(kb=kb)
    with contextlib.closing(servers_of(context, mcp)) as servers:
        offers = [offer for name in servers.names for offer in servers.offers(name)]
    if as_json:
        echo_json(offers)
        return
    for offer in offers:
        effects = f" ({', '.join(offer.effects)})" if offer.state == "allowed" else ""
        click.echo(printable(f"{offer.state:<8} {offer.server} {offer.tool.name}{effects}: {offer.tool.description}"))


@click.command()
@click.argument("server")
@click.argument("names", nargs=-1, required=True, metavar="TOOL...")
@click.option("--effects", metavar="LIST", help="What they do, with commas between. Default: everything.")
@mcp_option(required=True)
@kb_option
@click.pass_obj
def allow(
    context: Context, server: str, names: tuple[str, ...], effects: str | None, mcp: Path, kb: Path | None
) -> None:
    """Allow tools of a server, as they are described now; a changed description has to be allowed anew.

    \b
    ragagent agent allow notes search_notes --mcp mcp.json
    """
    from ragagent.types import EFFECTS

    context.choose(kb=kb)
    chosen = [effect for effect in EFFECTS if effect in (effects or "").split(",")]
    if effects is not None and len(chosen) != len(effects.split(",")):
        raise ConfigError(f"--effects {effects}: it takes of {', '.join(EFFECTS)}")
    with contextlib.closing(servers_of(context, mcp)) as servers:
        servers.allow(server, names, None if effects is None else chosen)
    click.echo(f"allowed {', '.join(names)} of {server}")


@click.command()
@click.argument("server")
@click.argument("names", nargs=-1, required=True, metavar="TOOL...")
@mcp_option(required=True)
@kb_option
@click.pass_obj
def forbid(context: Context, server: str, names: tuple[str, ...], mcp: Path, kb: Path | None) -> None:
    """Take tools of a server out again.

    \b
    ragagent agent forbid notes delete_note --mcp mcp.json
    """
    context.choose(kb=kb)
    servers_of(context, mcp).forbid(server, names)


@click.command()
@click.argument("server")
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def resources(context: Context, server: str, mcp: Path, kb: Path | None, as_json: bool) -> None:
    """List the resources of a server.

    \b
    ragagent agent resources notes --mcp mcp.json
    """
    context.choose(kb=kb)
    with contextlib.closing(servers_of(context, mcp)) as servers:
        found = servers.connection(server).resources()
    if as_json:
        echo_json(found)
        return
    for one in found:
        click.echo(printable(f"{one.uri}  {one.name}{f': {one.description}' if one.description else ''}"))


@click.command()
@click.argument("server")
@click.argument("uri")
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def read(context: Context, server: str, uri: str, mcp: Path, kb: Path | None, as_json: bool) -> None:
    """Show the resource of a server that has this address.

    \b
    ragagent agent read notes note://today --mcp mcp.json
    """
    context.choose(kb=kb)
    with contextlib.closing(servers_of(context, mcp)) as servers:
        text = servers.connection(server).read(uri)
    _text(text, as_json)


@click.command()
@click.argument("server")
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def prompt(
    context: Context, server: str, name: str, values: tuple[str, ...], mcp: Path, kb: Path | None, as_json: bool
) -> None:
    """Show a prompt of a server with its arguments filled in. `ragagent agent tools` lists them.

    \b
    ragagent agent prompt notes summary day=Monday --mcp mcp.json
    """
    context.choose(kb=kb)
    if wrong := [one for one in values if "=" not in one]:
        raise ConfigError(f"{wrong[0]!r}: an argument of a prompt is written KEY=VALUE")
    arguments = {key: value for key, _, value in (one.partition("=") for one in values)}
    with contextlib.closing(servers_of(context, mcp)) as servers:
        text = servers.connection(server).prompt(name, arguments)
    _text(text, as_json)


def _text(text: str, as_json: bool) -> None:
    if as_json:
        echo_json({"text": text})
    else:
        click.echo(printable(text))


@click.command()
@click.argument("server")
@click.option("--scope", default="", help="Scopes to ask for besides what the server asks for, with spaces between.")
@click.option("--keyring", is_flag=True, help="Keep the sign-in in the keyring of the system (extra keyring).")
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def signin(context: Context, server: str, scope: str, keyring: bool, mcp: Path, kb: Path | None, as_json: bool) -> None:
    """Sign in to a server that asks for it. Shows the page to open; it comes back to a port of this machine.

    \b
    ragagent agent signin notes --mcp mcp.json
    """
    from ragagent.tools.mcp_signin import Browser

    def shown(url: str) -> None:
        click.echo(f"Open this page and sign in:\n{printable(url)}", err=True)
        click.launch(url)

    context.choose(kb=kb)
    servers = servers_of(context, mcp)
    signed = servers.sign_in(server, Browser(open=shown, scope=scope, keyring=keyring))
    if as_json:
        echo_json({"server": server, "signed_in": signed})
        return
    click.echo(f"signed in to {server}" if signed else f"{server} asks for no sign-in")


@click.command()
@click.argument("server")
@mcp_option(required=True)
@kb_option
@json_option
@click.pass_obj
def signout(context: Context, server: str, mcp: Path, kb: Path | None, as_json: bool) -> None:
    """Forget the sign-in to a server.

    \b
    ragagent agent signout notes --mcp mcp.json
    """
    context.choose(kb=kb)
    there = servers_of(context, mcp).sign_out(server)
    if as_json:
        echo_json({"server": server, "signed_out": there})
        return
    click.echo(f"signed out of {server}" if there else f"there was no sign-in to {server}")


def servers_of(context: Context, mcp: Path, *, ask: bool = False) -> Servers:
    """The servers of an mcp.json; with `ask` what they want to know is asked at the terminal, where there is one."""
    from ragagent.app.agent import opened_servers
    from ragagent.cli.asking import at_terminal

    context.require_owner("using the tools of servers")
    there = ask and sys.stdin.isatty() and sys.stdout.isatty()
    return opened_servers(context.kb or DEFAULT_KB, mcp, os.environ, ask=at_terminal if there else None)


COMMANDS = (tools, allow, forbid, resources, read, prompt, signin, signout)
