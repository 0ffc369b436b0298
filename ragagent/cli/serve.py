"""`ragagent serve`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import Context, embedder_option, kb_option, model_option


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8321, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it may be asked; repeatable."
)
@click.option(
    "--mcp",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An mcp.json of servers whose allowed tools agents of the owner may use.",
)
@click.option("--quiet", is_flag=True, help="Log no requests.")
@kb_option
@model_option
@embedder_option
@click.pass_obj
def serve(
    context: Context,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    mcp: Path | None,
    quiet: bool,
    kb: Path | None,
    model: str | None,
    embedder: str | None,
) -> None:
    """Serve the web page, the HTTP API and the OpenAI-compatible routes (docs/web.md, docs/http.md).

    Without tokens it serves this machine alone, and whoever asks is the owner, or whom --as names. Once a token was
    made (ragagent token create), everything needs one. An address that other machines can reach needs tokens.

    Ends in order on Ctrl-C and SIGTERM: what was acknowledged is kept, and an ingest goes on at the next start.

    \b
    ragagent serve
    ragagent serve --host 0.0.0.0 --allow-host docs.example.org
    """
    from ragagent.serve.http import logs, server
    from ragagent.serve.http.app import PAGE, build_app
    from ragagent.serve.http.guard import Reach, is_loopback
    from ragagent.serve.http.limits import Limits
    from ragagent.serve.http.service import Extras
    from ragagent.serve.http.tokens import Tokens

    context.choose(kb=kb, model=model, embedder=embedder)
    everybody = context.principal
    context.names = ()
    with context.open(create=True, llm=True) as knowledge_base:
        tokens = Tokens(knowledge_base.path)
        server.require_safe(host, tokens)
        limits = Limits()
        if not quiet:
            logs.to_standard_error()
        made = server.listening(host, port)
        app = build_app(
            knowledge_base,
            reach=Reach(loopback=is_loopback(host), hosts=frozenset(name.lower() for name in hosts)),
            limits=limits,
            loaded=context.loaded,
            extras=Extras(mcp=mcp, web=PAGE),
            everybody=everybody,
        )
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"serving {knowledge_base.path} at http://{shown}:{made.getsockname()[1]}/", err=True)
        if tokens.any():
            click.echo("a token is needed: ragagent token create NAME", err=True)
        server.serve(app, made, limits)
