"""`ragagent search`."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import click

from ragagent.cli.context import Context, embedder_option, json_option, kb_option, where_option
from ragagent.cli.output import console, echo_json
from ragagent.retrieve.explanation import Explanation, why
from ragagent.settings import Rerank, Understanding
from ragagent.types import Hit, Scalar, SearchMode
from ragagent.where import Eq, In, Where, both, from_json, parse

_SHOWN_CHARACTERS = 400


@click.command()
@click.argument("query")
@click.option("-k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "sparse"]), default="hybrid", show_default=True)
@where_option
@click.option(
    "--rerank",
    type=click.Choice(get_args(Rerank)),
    help="What judges the best candidates once more; retrieval.rerank otherwise.",
)
@click.option(
    "--understand",
    type=click.Choice(get_args(Understanding)),
    multiple=True,
    help="What is done with the question; retrieval.understand otherwise. Repeatable.",
)
@click.option(
    "--without", multiple=True, metavar="NAME", help="A filter not to be read from the question, such as date."
)
@click.option("--explain", is_flag=True, help="Show each step, and each hit's ranks, scores and arithmetic.")
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
    rerank: Rerank | None,
    understand: tuple[Understanding, ...],
    without: tuple[str, ...],
    explain: bool,
    kb: Path | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """Find the passages that fit a query.

    \b
    ragagent search "notice period" -k 5 --explain
    ragagent search "notice period" --where 'type = pdf and 2020 <= year < 2024 and team in ("law", "tax")'
    """
    context.choose(kb=kb, embedder=embedder)
    where = parse_filters(filters)
    with context.open(embedder=mode != "sparse") as knowledge_base:
        found = knowledge_base.explain(
            query,
            k,
            cast(SearchMode, mode),
            where,
            rerank=rerank,
            understand=understand or None,
            without=without,
        )
    if as_json:
        echo_json(found if explain else found.hits)
        return
    if explain:
        _print_steps(found)
    for one in found.filters:
        click.echo(f"only where {one.where}, for {one.words!r}; --without {one.name} takes it away")
    if not found.hits:
        click.echo("nothing found")
    for hit in found.hits:
        _print(hit, explain=explain)


def parse_filters(filters: tuple[str, ...]) -> Where | None:
    """Filters, written or as JSON, as one that holds where all do.

    Of those that only say KEY = VALUE, several of one key accept any of their values.
    """
    values: dict[str, list[Scalar]] = {}
    found: list[Where] = []
    for one in filters:
        where = from_json(one) if one.lstrip().startswith("{") else parse(one)
        if isinstance(where, Eq):
            values.setdefault(where.key, []).append(where.value)
        else:
            found.append(where)
    return both([*found, *(In(key, tuple(accepted)) for key, accepted in values.items())])


def _print_steps(found: Explanation) -> None:
    out = console()
    out.print(f"searched: {found.searched}", style="bold")
    for number, step in enumerate(found.steps, 1):
        out.print(f"{number}. {step.name} ({1000 * step.seconds:.0f} ms): {step.detail}", style="cyan")
    out.print()


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
        out.print(f"   why: {why(hit)}", style="cyan")
        for line in hit.explain().splitlines()[1:]:
            out.print(f"   {line.strip()}", style="cyan")
    out.print()
