"""`ragagent memory list|add|edit|forget|search`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, json_option, kb_option
from ragagent.cli.output import echo_json
from ragagent.errors import ConfigError

if TYPE_CHECKING:
    from ragagent.types import Fact

_ID_CHARS = 12
_CAME = {"user": "said", "task": "noted", "derived": "untrusted"}


@click.group()
def memory() -> None:
    """Show and change what agents remember from one run to the next (docs/agent.md)."""


@memory.command("list")
@kb_option
@json_option
@click.pass_obj
def list_facts(context: Context, kb: Path | None, as_json: bool) -> None:
    """List every fact, the oldest first: id, day, how it came, and its words.

    `said` is what you wrote, `noted` what a run remembered before it had read anything, `untrusted` what it remembered
    after that.

    \b
    ragagent memory list --json
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        found = knowledge_base.memory.list()
    _show(found, as_json)
    if not as_json:
        click.echo(f"{len(found)} facts")


@memory.command()
@click.argument("text")
@kb_option
@json_option
@click.pass_obj
def add(context: Context, text: str, kb: Path | None, as_json: bool) -> None:
    """Remember TEXT, in your own words.

    \b
    ragagent memory add "Prices are to be given in euros."
    """
    context.choose(kb=kb)
    with context.open() as knowledge_base:
        fact = knowledge_base.memory.add(text)
    _show_one(fact, as_json)


@memory.command()
@click.argument("fact", metavar="ID")
@click.argument("text")
@kb_option
@json_option
@click.pass_obj
def edit(context: Context, fact: str, text: str, kb: Path | None, as_json: bool) -> None:
    """Put TEXT in the place of a fact, as your own words; ID as listed. What stood there before is in no file then.

    \b
    ragagent memory edit 3f2a9c1e0b7d "Prices are to be given in dollars."
    """
    context.choose(kb=kb)
    with context.open() as knowledge_base:
        edited = knowledge_base.memory.edit(fact, text)
    _show_one(edited, as_json)


@memory.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Forget all facts.")
@kb_option
@json_option
@click.pass_obj
def forget(context: Context, ids: tuple[str, ...], everything: bool, kb: Path | None, as_json: bool) -> None:
    """Forget facts, by ID as listed. Their words are in no file of the memory then; logs of runs may quote them.

    \b
    ragagent memory forget 3f2a9c1e0b7d
    ragagent memory forget --all
    """
    if bool(ids) == everything:
        raise ConfigError("name the facts to forget by their ids, or all of them by --all")
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        chosen = [fact.id for fact in knowledge_base.memory.list()] if everything else ids
        gone = knowledge_base.memory.forget(*chosen)
    _show(gone, as_json)
    if not as_json:
        click.echo(f"{len(gone)} facts forgotten")


@memory.command()
@click.argument("query")
@click.option("-k", "count", type=click.IntRange(1, 20), default=5, show_default=True, help="How many facts.")
@kb_option
@json_option
@click.pass_obj
def search(context: Context, query: str, count: int, kb: Path | None, as_json: bool) -> None:
    """Find the facts that fit QUERY, as an agent recalls them.

    \b
    ragagent memory search "currency of prices"
    """
    context.choose(kb=kb)
    with context.open() as knowledge_base:
        found = knowledge_base.memory.search(query, count)
    _show(found, as_json)


def _show_one(fact: Fact, as_json: bool) -> None:
    if as_json:
        echo_json(fact)
    else:
        click.echo(_line(fact))


def _show(found: Sequence[Fact], as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    for fact in found:
        click.echo(_line(fact))


def _line(fact: Fact) -> str:
    day = time.strftime("%Y-%m-%d", time.localtime(fact.at))
    run = f" (run {fact.run_id})" if fact.run_id else ""
    # A fact is printable text: it was cleaned when it was remembered.
    return f"{fact.id[:_ID_CHARS]}  {day}  {_CAME[fact.came]:<9}  {fact.text}{run}"
