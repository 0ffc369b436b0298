"""`ragagent mcp`, and below it `ragagent mcp install`."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Literal

import click

from ragagent.cli import client_config
from ragagent.cli.context import Context, embedder_option, kb_option, model_option


@click.group(invoke_without_command=True)
@kb_option
@model_option
@embedder_option
@click.option("--http", is_flag=True, help="Serve streamable HTTP instead of standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: the address to listen at.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="With --http: the port.")
@click.option("--url", default="", help="With --http: the address that clients use, where a proxy stands before it.")
@click.option(
    "--issuer", "issuers", multiple=True, help="With --http: an authorization server whose tokens count; repeatable."
)
@click.option(
    "--owner", "owners", multiple=True, help="With --issuer: a subject of it that is the owner, not user:SUBJECT."
)
@click.option("--allow-write", is_flag=True, help="Offer the tools ingest and remove as well.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PLACE",
    help="With --allow-write: a folder, or the beginning of an address, that may be brought in from; repeatable.",
)
@click.option(
    "--confirm",
    type=click.Choice(["always", "possible", "never"]),
    default="always",
    show_default=True,
    help="Whether a person has to say yes to each write: always, where the client can ask, or never.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(500, 100_000),
    default=8000,
    show_default=True,
    help="How long a result may be, where the call names no budget of its own.",
)
@click.pass_context
def mcp(
    ctx: click.Context,
    kb: Path | None,
    model: str | None,
    embedder: str | None,
    http: bool,
    host: str,
    port: int,
    url: str,
    issuers: tuple[str, ...],
    owners: tuple[str, ...],
    allow_write: bool,
    sources: tuple[str, ...],
    confirm: Literal["always", "possible", "never"],
    max_tokens: int,
) -> None:
    """Serve the documents to MCP clients: search, ask, read, list; with --allow-write bring in and remove.

    Over standard input and output nothing but the protocol is written to standard output. docs/mcp.md has the tools,
    the resources, and what each client's config wants.

    \b
    Examples:
      ragagent mcp --kb archive
      ragagent mcp --http --port 8765
      ragagent mcp --http --issuer https://login.example.org --url https://docs.example.org/mcp
      ragagent mcp --allow-write --source ~/papers
      ragagent mcp install --client claude-desktop
    """
    if ctx.invoked_subcommand is not None:
        return
    from ragagent.serve.mcp import Limits, Writes, build_server, serve_stdio

    context = ctx.find_object(Context)
    assert context is not None
    if owners and not issuers:
        raise click.UsageError("--owner goes with --issuer")
    if (sources or confirm != "always") and not allow_write:
        raise click.UsageError("--source and --confirm go with --allow-write")
    context.choose(kb=kb, model=model, embedder=embedder)
    limits, writes = Limits(max_tokens=max_tokens), Writes(sources=sources, confirm=confirm) if allow_write else None
    if allow_write:
        context.require_owner("writing")
    with context.open(create=True, llm=True) as knowledge_base:
        if not http:
            serve_stdio(knowledge_base, limits=limits, writes=writes)
            return
        from ragagent import __version__
        from ragagent.serve.http.tokens import Tokens
        from ragagent.serve.mcp.http import Either, Place, serve
        from ragagent.serve.mcp.issuers import Issuer, Issuers

        tokens = Tokens(knowledge_base.path)
        place = Place(host=host, port=port, url=url, issuers=issuers)
        signed = Issuers([Issuer(one, place.resource, owners=owners) for one in issuers])
        server = build_server(knowledge_base, version=__version__, limits=limits, writes=writes)
        click.echo(f"MCP at {place.resource}", err=True)
        asked = bool(issuers) or tokens.any()
        serve(server, place, verifier=Either(tokens, signed) if asked else None, limits=limits)


@mcp.command()
@click.option(
    "--client",
    required=True,
    type=click.Choice(list(client_config.CLIENTS)),
    help="The program that is to use the documents.",
)
@click.option("--kb", type=click.Path(file_okay=False, path_type=Path), help="Knowledge base. Default: .ragagent")
@click.option("--name", default="ragagent", show_default=True, help="What the client calls the server.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="The config file, if it lies elsewhere."
)
@click.option("--print", "printed", is_flag=True, help="Print what belongs into the config, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def install(
    ctx: click.Context, client: str, kb: Path | None, name: str, config: Path | None, printed: bool, yes: bool
) -> None:
    """Put this server into the config of an MCP client, after showing the change.

    The config is kept beside the new one. One with comments is left as it is; --print says what to put in by hand.
    Models that are not here yet are fetched: a client does not wait for that when it starts the server.

    \b
    Examples:
      ragagent mcp install --client claude-desktop --kb archive
      ragagent mcp install --client zed --print
    """
    chosen = client_config.CLIENTS[client]
    folder = (kb or Path(".ragagent")).resolve()
    wanted = client_config.entry(chosen, sys.executable, ["-m", "ragagent", "mcp", "--kb", str(folder)])
    if printed:
        click.echo(json.dumps({chosen.key: {name: wanted}}, ensure_ascii=False, indent=2))
        return
    file = config or Path.home() / chosen.file
    before = client_config.read(file)
    after = client_config.changed(chosen, before, name, wanted)
    if before == after:
        click.echo(f"{file} says so already")
        return
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(file), str(file), lineterm="")
    click.echo("\n".join(lines))
    if not yes:
        click.confirm("Change it so?", abort=True)
    kept = client_config.write(file, after)
    click.echo(f"changed {file}" + (f"; what it was is in {kept}" if kept else ""))
    if (context := ctx.find_object(Context)) is not None:
        context.choose(kb=folder)
        context.fetch_embedder()
        context.fetch(context.settings.llm.model)
