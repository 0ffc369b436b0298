"""`ragagent status`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import Context, json_option, kb_option
from ragagent.cli.output import console, echo_json


@click.command()
@kb_option
@json_option
@click.pass_obj
def status(context: Context, kb: Path | None, as_json: bool) -> None:
    """Count what the knowledge base holds and say what it was built with.

    \b
    ragagent status
    ragagent status --kb archive --json
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        facts = knowledge_base.status()
        path = knowledge_base.path
    if as_json:
        echo_json(facts)
        return
    out = console()
    if context.principal is not None:
        out.print(f"{path}: {facts.documents} documents, {facts.chunks} chunks that {context.principal} may read")
        return
    out.print(f"{path}: {facts.documents} documents, {facts.chunks} chunks, {facts.size_bytes / 1e6:.1f} MB")
    out.print(f"  {facts.segments} segments and a tail of {facts.tail_chunks} chunks, {facts.dimension} dimensions")
    for key, value in facts.fingerprint.items():
        out.print(f"  {key}: {value}", style="dim")
    for finding in facts.findings:
        out.print(f"  ! {finding}", style="yellow")
