"""`ragagent mcp`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import Context, embedder_option, kb_option, model_option


@click.command()
@kb_option
@model_option
@embedder_option
@click.pass_obj
def mcp(context: Context, kb: Path | None, model: str | None, embedder: str | None) -> None:
    """Serve search, ask and list_documents to an MCP client over standard input and output.

    Nothing but the protocol is written to standard output.
    """
    from ragagent.serve.mcp import serve_stdio

    context.choose(kb=kb, model=model, embedder=embedder)
    with context.open(create=True, llm=True) as knowledge_base:
        serve_stdio(knowledge_base)
