"""`ragagent snapshot create|list|diff|restore|remove`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, json_option, kb_option
from ragagent.cli.ingest import readable
from ragagent.cli.output import console, echo_json

if TYPE_CHECKING:
    from ragagent.index.snapshots import Difference, Snapshot


@click.group()
def snapshot() -> None:
    """Name states of the documents, compare them and go back to them."""


@snapshot.command()
@click.argument("name")
@kb_option
@json_option
@click.pass_obj
def create(context: Context, name: str, kb: Path | None, as_json: bool) -> None:
    """Name the state that the documents are in. Takes no time; room only for what changes later.

    \b
    ragagent snapshot create before-the-merger
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        made = knowledge_base.snapshots.create(name)
    if as_json:
        echo_json(made)
    else:
        click.echo(f"snapshot {made.name!r} of {made.documents} documents")


@snapshot.command("list")
@kb_option
@json_option
@click.pass_obj
def list_snapshots(context: Context, kb: Path | None, as_json: bool) -> None:
    """List the snapshots, the oldest first.

    \b
    ragagent snapshot list
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        found = knowledge_base.snapshots.list()
    if as_json:
        echo_json(found)
        return
    out = console()
    for one in found:
        out.print(_line(one))
    out.print(f"{len(found)} snapshots", style="dim")


@snapshot.command()
@click.argument("name")
@click.argument("other", required=False)
@kb_option
@json_option
@click.pass_obj
def diff(context: Context, name: str, other: str | None, kb: Path | None, as_json: bool) -> None:
    """Say what was added (+), removed (-) and changed (~) from snapshot NAME to OTHER, or to now.

    \b
    ragagent snapshot diff before-the-merger
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        difference = knowledge_base.snapshots.diff(name, other)
    if as_json:
        echo_json(difference)
    else:
        _print(difference)


@snapshot.command()
@click.argument("name")
@kb_option
@json_option
@click.pass_obj
def restore(context: Context, name: str, kb: Path | None, as_json: bool) -> None:
    """Make the documents what they were in snapshot NAME; nothing is embedded. The state before is kept, too.

    \b
    ragagent snapshot restore before-the-merger
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        restored = knowledge_base.snapshots.restore(name)
    if as_json:
        echo_json(restored)
        return
    _print(restored.difference)
    click.echo(f"restored {restored.name!r}; the state before is the snapshot {restored.before!r}")


@snapshot.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@kb_option
@json_option
@click.pass_obj
def remove(context: Context, names: tuple[str, ...], kb: Path | None, as_json: bool) -> None:
    """Forget snapshots, and the versions of documents that only they have.

    \b
    ragagent snapshot remove before-the-merger
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        knowledge_base.snapshots.remove(names)
    if as_json:
        echo_json({"removed": names})
    else:
        click.echo(f"removed {', '.join(map(repr, names))}")


def _line(one: Snapshot) -> str:
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.created))
    return f"{created}  {one.documents} documents  {one.name}{'  (automatic)' if one.automatic else ''}"


def _print(difference: Difference) -> None:
    kinds = (("+", difference.added), ("-", difference.removed), ("~", difference.changed))
    for sign, names in kinds:
        for name in names:
            click.echo(f"{sign} {readable(name.uri)}")
    added, removed, changed = (len(names) for _, names in kinds)
    click.echo(f"{added} added, {removed} removed, {changed} changed")
