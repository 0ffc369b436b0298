"""`ragagent ingest`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from urllib.parse import unquote

import click

from ragagent.cli.context import Context, embedder_option, json_option, kb_option
from ragagent.cli.output import echo_json
from ragagent.cli.progress import Bar
from ragagent.cli.sources import Chosen, chosen_sources, shown_address
from ragagent.errors import ConfigError, ConnectorError
from ragagent.jsonable import jsonable
from ragagent.types import Failure, IngestReport


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--prune", is_flag=True, help="Remove documents that are gone from the source.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source; repeatable."
)
@click.option("--watch", is_flag=True, help="Go on: follow changes of files and folders until interrupted.")
@click.option(
    "--settle", "settle_s", type=float, default=1.0, show_default=True, help="Rest before a change counts, s."
)
@click.option("--poll", is_flag=True, help="Look for changes by walking, where the system tells none (network drives).")
@kb_option
@embedder_option
@json_option
@click.pass_obj
def ingest(
    context: Context,
    sources: tuple[str, ...],
    prune: bool,
    options: tuple[str, ...],
    watch: bool,
    settle_s: float,
    poll: bool,
    kb: Path | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """Bring files, folders and other sources into the knowledge base.

    SOURCE is a path or an address: https://..., site+https://..., s3://..., git+https://..., imaps://...,
    sql+postgresql://... and others (docs/connectors.md), or source:NAME for a table [sources.NAME] of ragagent.toml.
    Without any, all those tables.

    Unchanged files are passed over, changed ones replaced; removed ones stay unless --prune is given. Files that
    cannot be read are listed with the reason and stop nothing else. Fails when a source is out of reach, and when
    nothing at all could be brought in.

    With --watch, changed files are read once they have come to rest, and deleted ones are removed.

    \b
    ragagent ingest contracts/ handbook.pdf
    ragagent ingest --watch notes/
    ragagent ingest 's3://bucket/prefix' -o endpoint_url=http://127.0.0.1:9000 -o secret=env:S3_SECRET
    """
    context.choose(kb=kb, embedder=embedder)
    chosen = chosen_sources(sources, options, context.loaded.sources)
    if watch:
        _watch(context, chosen, settle_s=settle_s, polling=poll, as_json=as_json)
        return
    with context.open(create=True) as knowledge_base:
        reports: list[tuple[str, IngestReport]] = []
        out_of_reach: list[str] = []
        for source in chosen:
            name = shown_address(source.address)
            try:
                with Bar() as bar:
                    report = knowledge_base.ingest(source.address, options=source.options, prune=prune, progress=bar)
            except ConnectorError as error:
                if len(chosen) == 1:
                    raise
                # One source out of reach keeps none of the others waiting.
                report = IngestReport(failed=1, failures=(Failure(uri=name, reason=str(error), kind="ConnectorError"),))
                out_of_reach.append(name)
            reports.append((name, report))
    if as_json:
        echo_json([{"source": source, **jsonable(report)} for source, report in reports])
    else:
        for name, report in reports:
            print_report(name, report)
    brought = any(report.added + report.updated + report.unchanged + report.removed for _, report in reports)
    if out_of_reach or not brought:
        raise click.exceptions.Exit(1)


class _Notices:
    """Keeps the Progress protocol: says how it is watched, and nothing of single files."""

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "watch":
            click.echo(detail, err=True)


def _watch(context: Context, chosen: list[Chosen], *, settle_s: float, polling: bool, as_json: bool) -> None:
    """Prints a report for each change, as text or as one line of JSON, until it is interrupted."""
    options = chosen[0].options if len(chosen) == 1 else {}
    if len(chosen) > 1 and any(source.options for source in chosen):
        raise ConfigError("--watch with options goes with one source; watch the others by a command of their own")
    addresses = [source.address for source in chosen]
    with context.open(create=True) as knowledge_base, contextlib.suppress(KeyboardInterrupt):
        click.echo(f"watching {', '.join(addresses)}; end with Ctrl-C", err=True)
        reports = knowledge_base.watch(
            *addresses, settle_s=settle_s, polling=polling, options=options, progress=_Notices()
        )
        for name, report in reports:
            if as_json:
                click.echo(json.dumps({"source": name, **jsonable(report)}))
            elif report.added + report.updated + report.removed + report.failed or report.unchanged:
                print_report(name, report)
    click.echo("stopped watching; all that was reported is kept", err=True)


def print_report(source: str, report: IngestReport, *, err: bool = False) -> None:
    """The report in two lines, then one line for each document that was left out."""
    click.echo(
        f"{source}: {report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
        f"{report.removed} removed, {report.failed} failed",
        err=err,
    )
    click.echo(f"  {report.chunks} chunks written, {report.embedded} embedded, {report.seconds:.1f} s", err=err)
    for failure in report.failures:
        click.echo(f"  left out: {readable(failure.uri)}: {failure.reason} ({failure.kind})", err=err)
    if not (report.added + report.updated + report.unchanged + report.failed):
        click.echo("  nothing to read there: no files, or all of them ignored", err=err)


def readable(uri: str) -> str:
    """A file address as the path it stands for; any other address as it is."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
