"""`ragagent search`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import Context, embedder_option, json_option, kb_option
from ragagent.cli.output import console, echo_json
from ragagent.errors import ConfigError
from ragagent.types import Hit
from ragagent.where import Where, both, from_json

_SHOWN_CHARACTERS = 400


@click.command()
@click.argument("query")
@click.option("-k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "sparse"]), default="hybrid", show_default=True)
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="KEY=VALUE|JSON",
    help="Only documents with this value, or that an expression holds for; repeatable.",
)
@click.option("--explain", is_flag=True, help="Show each stage's rank, score and arithmetic.")
@kb_option
@embedder_option
@json_option
@click.pass_obj
def search(
    context: Context,
    query: str,
    k: int,
    mode: str,
    filters: tuple[str, ...],
    explain: bool,
    kb: Path | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """Find the passages that fit a query.

    \b
    ragagent search "notice period" -k 5 --explain
    ragagent search "notice period" --where team=law --where '{"key": "year", "ge": 2020, "lt": 2024}'
    """
    context.choose(kb=kb, embedder=embedder)
    with context.open(embedder=mode != "sparse") as knowledge_base:
        hits = knowledge_base.search(query, k=k, mode=mode, where=parse_filters(filters))  # type: ignore[arg-type]
    if as_json:
        echo_json(hits)
    elif not hits:
        click.echo("nothing found")
    else:
        for hit in hits:
            _print(hit, explain=explain)


def parse_filters(filters: tuple[str, ...]) -> Where | None:
    """`KEY=VALUE` pairs and JSON as one filter that holds where all do; a key given twice accepts both values."""
    pairs: dict[str, list[str]] = {}
    found: list[Where] = []
    for one in filters:
        key, separator, value = one.partition("=")
        if one.lstrip().startswith("{"):
            found.append(from_json(one))
        elif separator:
            pairs.setdefault(key, []).append(value)
        else:
            raise ConfigError(f"--where {one}: write it as KEY=VALUE, or as a filter in JSON")
    return both([*found, *([pairs] if pairs else [])])


def _print(hit: Hit, *, explain: bool) -> None:
    out = console()
    page = f", page {hit.page}" if hit.page is not None else ""
    out.print(f"{hit.rank}. {hit.title}{page}  ({hit.score:.4f})", style="bold")
    out.print(f"   {hit.uri}  characters {hit.chunk.span.start}-{hit.chunk.span.end}", style="dim")
    text = " ".join(hit.text.split())
    out.print(f"   {text[:_SHOWN_CHARACTERS]}{'…' if len(text) > _SHOWN_CHARACTERS else ''}")
    if hit.also and not explain:
        out.print(f"   also in {', '.join(hit.also)}", style="dim")
    if explain:
        for line in hit.explain().splitlines()[1:]:
            out.print(f"   {line.strip()}", style="cyan")
    out.print()
