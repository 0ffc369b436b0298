"""`ragagent models list|pull|verify|path|remove|export|import`."""

from __future__ import annotations

from pathlib import Path

import click

from ragagent.cli.context import Context, json_option
from ragagent.cli.output import console, echo_json
from ragagent.cli.progress import Bar
from ragagent.models.outcomes import ModelEntry, Pulled

_MARKS = {"present": "*", "absent": "", "damaged": "!"}


@click.group()
def models() -> None:
    """List, pull, verify and move models.

    A model is named by its catalogue name, or as hf:owner/repo/file for any file of a model hub.
    """


@models.command("list")
@json_option
@click.pass_obj
def list_models(context: Context, as_json: bool) -> None:
    """List the models that have a name, and which of them are here.

    \b
    ragagent models list
    """
    entries = context.store.list()
    if as_json:
        echo_json(entries)
        return
    out = console()
    for entry in entries:
        out.print(_line(entry), style="bold" if entry.present else None)
        out.print(f"      {entry.description}", style="dim")
    out.print(f"\n* here, in {context.store.folder}", style="dim")


def _line(entry: ModelEntry) -> str:
    size = f"{entry.size_bytes / 1e6:,.0f} MB" if entry.size_bytes else "size unknown"
    context = f"{entry.context_tokens:,} tokens" if entry.context_tokens else ""
    return f"{_MARKS[entry.state]:<2}{entry.name:<32} {entry.kind:<10} {size:>12} {context:>16}  {entry.licence}"


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--quiet", is_flag=True, help="Say nothing about models that were here already.")
@json_option
@click.pass_obj
def pull(context: Context, names: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Fetch models from the first source that has them; each file is checked before it is put in place.

    A download that was cut goes on where it stopped.

    \b
    ragagent models pull qwen2.5-coder-1.5b-instruct
    """
    pulled = []
    for name in names:
        with Bar(unit="bytes") as bar:
            pulled.append(context.store.pull(name, progress=bar))
        if not as_json and not (quiet and not pulled[-1].source):
            _print_pulled(pulled[-1])
    if as_json:
        echo_json(pulled)


def _print_pulled(pulled: Pulled) -> None:
    origin = f"from {pulled.source}" if pulled.source else "was here already, verified"
    click.echo(f"{pulled.name}: {pulled.size_bytes / 1e6:,.0f} MB, {origin}\n  {pulled.path}")
    for note in pulled.notes:
        click.echo(f"  note: {note}")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@click.pass_obj
def verify(context: Context, names: tuple[str, ...], as_json: bool) -> None:
    """Hash the files of models (of all that are here, if none is named) and compare. Fails if one is wrong.

    \b
    ragagent models verify
    """
    chosen = names or tuple(entry.name for entry in context.store.list() if entry.state != "absent")
    checks = []
    for name in chosen:
        with Bar(unit="bytes") as bar:
            checks.append(context.store.verify(name, progress=bar))
    if as_json:
        echo_json(checks)
    else:
        for check in checks:
            click.echo(f"{check.name}: {'ok' if check.ok else 'NOT ok'}")
            for file in check.files:
                if file.state != "ok":
                    click.echo(
                        f"  {file.path} {file.state}: expected {file.expected_sha256}, found {file.found_sha256}"
                    )
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)


@models.command()
@click.argument("name")
@json_option
@click.pass_obj
def path(context: Context, name: str, as_json: bool) -> None:
    """Print where a model's file (chat) or folder (embedding) is. Fails if it is not here.

    \b
    ragagent models path all-MiniLM-L6-v2
    """
    found = context.store.resolve(name)
    if as_json:
        echo_json({"name": name, "path": found})
    else:
        click.echo(found)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
@click.pass_obj
def remove(context: Context, names: tuple[str, ...], as_json: bool) -> None:
    """Delete models and what was downloaded of them.

    \b
    ragagent models remove smollm2-135m-instruct
    """
    removed = [context.store.remove(name) for name in names]
    if as_json:
        echo_json(removed)
    else:
        for entry in removed:
            click.echo(f"{entry.name}: {entry.freed_bytes / 1e6:,.0f} MB freed")


@models.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
@click.pass_obj
def export(context: Context, archive: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Write models into ARCHIVE (NAME.tar, else a folder), for a machine without a network.

    \b
    ragagent models export models.tar all-MiniLM-L6-v2
    """
    with Bar(unit="bytes") as bar:
        exported = context.store.export(names, archive, progress=bar)
    if as_json:
        echo_json(exported)
    else:
        click.echo(f"{archive}: {', '.join(names)}")


@models.command("import")
@click.argument("archive", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def import_models(context: Context, archive: Path, as_json: bool) -> None:
    """Put the models of an ARCHIVE that `export` wrote into the model folder, each file checked.

    \b
    ragagent models import models.tar
    """
    with Bar(unit="bytes") as bar:
        imported = context.store.import_(archive, progress=bar)
    if as_json:
        echo_json(imported)
    else:
        for name in imported.names:
            click.echo(f"{name}: imported")
        for name in imported.already:
            click.echo(f"{name}: was here already")
