"""`ragagent backup`, `ragagent restore` and `ragagent compact`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import DEFAULT_KB, Context, json_option, kb_option
from ragagent.cli.output import echo_json
from ragagent.cli.progress import Bar


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@kb_option
@json_option
@click.pass_obj
def backup(context: Context, file: Path, kb: Path | None, as_json: bool) -> None:
    """Write the knowledge base to one file, while it is searched and written.

    The file is a zip archive with a checksum of every part. Models and settings are not in it.

    \b
    ragagent backup monday.zip
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base, Bar() as bar:
        report = knowledge_base.backup(file, progress=bar)
    if as_json:
        echo_json(report)
    else:
        click.echo(f"{report.file}: {report.documents} documents, {report.size_bytes / 1e6:.1f} MB")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@kb_option
@json_option
@click.pass_obj
def restore(context: Context, file: Path, kb: Path | None, as_json: bool) -> None:
    """Unpack a backup into a new folder, verifying every byte.

    \b
    ragagent restore monday.zip --kb restored
    """
    from ragagent.index import backup as backups

    context.choose(kb=kb)
    context.require_owner("restoring")
    folder = context.kb or DEFAULT_KB
    with Bar() as bar:
        report = backups.restore(file, folder, progress=bar)
    if as_json:
        echo_json(report)
    else:
        click.echo(f"{folder}: {report.documents} documents from {report.file}")


@click.command()
@click.option("--erase", is_flag=True, help="Leave nothing of removed documents in any file.")
@click.option("--drop-snapshots", is_flag=True, help="With --erase: drop the snapshots that hold removed documents.")
@kb_option
@json_option
@click.pass_obj
def compact(context: Context, erase: bool, drop_snapshots: bool, kb: Path | None, as_json: bool) -> None:
    """Give the room of removed documents back.

    Takes small steps and no extra room. With --erase the database is written anew, which takes room for it twice
    meanwhile; afterwards the text of removed documents is in no file of the knowledge base.

    \b
    ragagent compact
    ragagent compact --erase --drop-snapshots
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base, Bar() as bar:
        report = knowledge_base.compact(erase=erase, drop_snapshots=drop_snapshots, progress=bar)
    if as_json:
        echo_json(report)
        return
    click.echo(f"{report.size_before / 1e6:.1f} MB before, {report.size_after / 1e6:.1f} MB now")
    for name in report.dropped:
        click.echo(f"  dropped the snapshot {name!r}")
    for note in report.notes:
        click.echo(f"  ! {note}")
