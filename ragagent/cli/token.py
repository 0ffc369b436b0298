"""`ragagent token create|list|revoke`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragagent.cli.context import DEFAULT_KB, Context, json_option, kb_option
from ragagent.cli.output import console, echo_json
from ragagent.errors import IndexStateError

if TYPE_CHECKING:
    from ragagent.serve.http.tokens import Token, Tokens


@click.group()
def token() -> None:
    """Make, list and revoke the tokens of `ragagent serve`."""


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write", "agent", "admin"]),
    default=["read"],
    show_default=True,
    help="What it allows: read and ask, upload and remove, run agents, everything; repeatable.",
)
@click.option(
    "--principal",
    multiple=True,
    metavar="PRINCIPAL",
    help="Whom it looks for: user:NAME, group:NAME; repeatable. Without it the owner, who sees everything.",
)
@click.option("--days", type=float, help="How long it lasts. Default: until it is revoked.")
@kb_option
@json_option
@click.pass_obj
def create(
    context: Context,
    name: str,
    scopes: tuple[str, ...],
    principal: tuple[str, ...],
    days: float | None,
    kb: Path | None,
    as_json: bool,
) -> None:
    """Make a token, called NAME, and print it: this is the only time that it is shown.

    \b
    ragagent token create "Ann's laptop" --principal user:ann --principal group:law --scope read --scope write
    ragagent token create prometheus --scope admin --days 90
    """
    made, text = _tokens(context, kb).create(name, scopes=scopes, principal=principal or None, days=days)
    if as_json:
        echo_json({**_shown(made), "token": text})
        return
    click.echo(text)
    click.echo(f"token {made.id}: {', '.join(made.scopes)}; it is not shown again", err=True)


@token.command("list")
@kb_option
@json_option
@click.pass_obj
def list_tokens(context: Context, kb: Path | None, as_json: bool) -> None:
    """List the tokens there ever were, without the tokens themselves.

    \b
    ragagent token list
    """
    rows = [_shown(one) for one in _tokens(context, kb).list()]
    if as_json:
        echo_json(rows)
        return
    out = console()
    for row in rows:
        until = "" if row["expires_at"] is None else f", until {_day(row['expires_at'])}"
        who = ", ".join(row["principal"]) if row["principal"] is not None else "owner"
        out.print(f"{row['id']}  {row['state']:<8} {row['name']}  ({', '.join(row['scopes'])}; {who}{until})")
    out.print(f"{len(rows)} tokens", style="dim")


@token.command()
@click.argument("identifier", metavar="ID")
@kb_option
@json_option
@click.pass_obj
def revoke(context: Context, identifier: str, kb: Path | None, as_json: bool) -> None:
    """End a token, named by its id, at once; it stays listed.

    \b
    ragagent token revoke abcdefgh
    """
    ended = _tokens(context, kb).revoke(identifier)
    if as_json:
        echo_json(_shown(ended))
    else:
        click.echo(f"revoked {ended.id} ({ended.name})")


def _tokens(context: Context, kb: Path | None) -> Tokens:
    from ragagent.index.embedded import stored_fingerprint
    from ragagent.serve.http.tokens import Tokens

    context.choose(kb=kb)
    context.require_owner("the tokens")
    folder = context.kb or DEFAULT_KB
    if stored_fingerprint(folder) is None:
        raise IndexStateError(f"{folder}: no knowledge base here; make one with: ragagent ingest FOLDER --kb {folder}")
    return Tokens(folder)


def _shown(one: Token) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "scopes": list(one.scopes),
        "principal": None if one.principal is None else list(one.principal),
        "state": one.state(time.time()),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
    }


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
