"""`ragagent ingest`."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import click

from ragagent.cli.context import DEFAULT_KB, Context, acl_option, embedder_option, json_option, kb_option
from ragagent.cli.output import echo_json
from ragagent.cli.progress import Bar, duration
from ragagent.cli.sources import Chosen, chosen_sources, shown_address
from ragagent.errors import ConfigError, ConnectorError
from ragagent.jsonable import jsonable
from ragagent.types import Duplicates, Failure, IngestReport

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase
    from ragagent.ingest.forecast import IngestPlan

    Outcome = IngestPlan | IngestReport

_SHOWN = 5
_SHOWN_CHARS = 100


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--dry-run", is_flag=True, help="Say what would be read, embedded and removed, and change nothing.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the whole report to this file as JSON, whatever is printed.",
)
@click.option("--prune", is_flag=True, help="Remove documents that are gone from the source.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source; repeatable."
)
@acl_option
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
    dry_run: bool,
    report_file: Path | None,
    prune: bool,
    options: tuple[str, ...],
    acl: tuple[str, ...] | None,
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

    Who may read what comes from a source is said by --acl, or by acl = [...] in its table, and remembered
    (docs/access.md).

    Unchanged files are passed over, changed ones replaced; removed ones stay unless --prune is given. Files that
    cannot be read are listed with the reason and stop nothing else. Fails when a source is out of reach, and when
    nothing at all could be brought in.

    Interrupted or killed, it keeps what was committed, and the same command goes on from there.

    With --watch, changed files are read once they have come to rest, and deleted ones are removed.

    \b
    ragagent ingest contracts/ handbook.pdf
    ragagent ingest --watch notes/
    ragagent ingest 's3://bucket/prefix' -o endpoint_url=http://127.0.0.1:9000 -o secret=env:S3_SECRET
    """
    context.choose(kb=kb, embedder=embedder)
    chosen = chosen_sources(sources, options, context.loaded.sources)
    if acl is not None:
        chosen = [one.without("acl") for one in chosen]
    if watch:
        if dry_run or report_file is not None:
            raise click.UsageError("--watch goes with neither --dry-run nor --report")
        _watch(context, chosen, settle_s=settle_s, polling=poll, acl=acl, as_json=as_json)
        return
    with _opened(context, dry_run) as knowledge_base:
        act: Callable[..., Outcome] = knowledge_base.plan_ingest if dry_run else knowledge_base.ingest
        results, out_of_reach = _each(chosen, functools.partial(act, prune=prune, acl=acl))
    records = [{"source": name, **jsonable(result)} for name, result in results]
    if report_file is not None:
        report_file.write_text(json.dumps(records, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if as_json:
        echo_json(records)
    else:
        for name, result in results:
            _print(name, result)
    if out_of_reach or not any(map(_did_something, results)):
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def _opened(context: Context, dry_run: bool) -> Iterator[KnowledgeBase]:
    """The knowledge base; a dry run makes none where there is none yet."""
    with contextlib.ExitStack() as stack:
        if dry_run and not (context.kb or DEFAULT_KB).exists():
            context.choose(kb=Path(stack.enter_context(tempfile.TemporaryDirectory())) / "kb")
        yield stack.enter_context(context.open(create=True))


def _each(chosen: Sequence[Chosen], act: Callable[..., Outcome]) -> tuple[list[tuple[str, Outcome]], bool]:
    """What became of each source, by its name, and whether one was out of reach; that keeps none of the others."""
    results: list[tuple[str, Outcome]] = []
    out_of_reach = False
    for source in chosen:
        name = shown_address(source.address)
        try:
            with Bar() as bar:
                results.append((name, act(source.address, options=source.options, progress=bar)))
        except ConnectorError as error:
            if len(chosen) == 1:
                raise
            failure = Failure(uri=name, reason=str(error), kind="ConnectorError")
            results.append((name, IngestReport(failed=1, failures=(failure,))))
            out_of_reach = True
    return results, out_of_reach


def _did_something(result: tuple[str, Outcome]) -> bool:
    _, found = result
    if isinstance(found, IngestReport):
        return bool(found.added + found.updated + found.unchanged + found.removed)
    return bool(found.new + found.changed + found.unchanged + found.gone)


def _print(name: str, result: Outcome) -> None:
    if isinstance(result, IngestReport):
        print_report(name, result)
    else:
        print_plan(name, result)


class _Notices:
    """Keeps the Progress protocol: says how it is watched, and nothing of single files."""

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "watch":
            click.echo(detail, err=True)


def _watch(
    context: Context,
    chosen: list[Chosen],
    *,
    settle_s: float,
    polling: bool,
    acl: tuple[str, ...] | None,
    as_json: bool,
) -> None:
    """Prints a report for each change, as text or as one line of JSON, until it is interrupted."""
    options = chosen[0].options if len(chosen) == 1 else {}
    if len(chosen) > 1 and any(source.options for source in chosen):
        raise ConfigError("--watch with options goes with one source; watch the others by a command of their own")
    addresses = [source.address for source in chosen]
    with context.open(create=True) as knowledge_base, contextlib.suppress(KeyboardInterrupt):
        click.echo(f"watching {', '.join(addresses)}; end with Ctrl-C", err=True)
        reports = knowledge_base.watch(
            *addresses, settle_s=settle_s, polling=polling, options=options, progress=_Notices(), acl=acl
        )
        for name, report in reports:
            if as_json:
                click.echo(json.dumps({"source": name, **jsonable(report)}))
            elif report.added + report.updated + report.removed + report.failed or report.unchanged:
                print_report(name, report)
    click.echo("stopped watching; all that was reported is kept", err=True)


def print_report(source: str, report: IngestReport, *, err: bool = False) -> None:
    """The report in two lines, then one for each document that was left out, and for each thing that was noted."""
    click.echo(
        f"{source}: {report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
        f"{report.removed} removed, {report.failed} failed",
        err=err,
    )
    if report.relabelled:
        click.echo(f"  {report.relabelled} of the unchanged have other readers now", err=err)
    click.echo(f"  {report.chunks} chunks written, {report.embedded} embedded, {report.seconds:.1f} s", err=err)
    for failure in report.failures:
        click.echo(f"  left out: {readable(failure.uri)}: {failure.reason} ({failure.kind})", err=err)
    noted: dict[str, list[str]] = {}
    for note in report.notes:
        noted.setdefault(note.text, []).append(note.uri)
    for text, (first, *others) in noted.items():
        more = f" and {len(others)} others" if others else ""
        click.echo(f"  note: {readable(first)}{more}: {text}", err=err)
    _print_duplicates(report.duplicates, err=err)
    if not (report.added + report.updated + report.unchanged + report.failed):
        click.echo("  nothing to read there: no files, or all of them ignored", err=err)


def _print_duplicates(found: Duplicates, *, err: bool) -> None:
    """The largest clusters, and the lines of most documents, of what was brought in."""
    for cluster in found.clusters[:_SHOWN]:
        how = "of the same words" if cluster.exact else f"at least {cluster.likeness:.0%} alike"
        names = ", ".join(map(readable, cluster.members[:_SHOWN]))
        more = f" and {len(cluster.members) - _SHOWN} more" if len(cluster.members) > _SHOWN else ""
        click.echo(f"  {len(cluster.members)} documents {how}, found as one: {names}{more}", err=err)
    for line in found.boilerplate[:_SHOWN]:
        click.echo(f"  finds nothing, as it stands in {line.documents} documents: {line.text[:_SHOWN_CHARS]}", err=err)
    left = len(found.clusters[_SHOWN:]) + len(found.boilerplate[_SHOWN:])
    if left:
        click.echo(f"  {left} more clusters and lines: ragagent documents duplicates", err=err)


def print_plan(source: str, plan: IngestPlan) -> None:
    """What would be done, in figures, then the items by name, as far as the plan names them."""
    size = f", {plan.bytes / 1e6:.1f} MB" if plan.bytes else ""
    click.echo(
        f"{source}: would read {plan.new} new and {plan.changed} changed items{size}, pass over {plan.unchanged} "
        f"unchanged, remove {plan.gone} documents"
    )
    if plan.sampled:
        click.echo(
            f"  about {plan.chunks} chunks, {plan.to_embed} to embed, {duration(plan.seconds)} "
            f"(estimated from {plan.sampled} items)"
        )
    for verb, uris, count in (
        ("read", plan.to_read, plan.new + plan.changed),
        ("remove", plan.to_remove, plan.gone),
    ):
        for uri in uris:
            click.echo(f"  would {verb}: {readable(uri)}")
        if count > len(uris):
            click.echo(f"  ... and {count - len(uris)} more to {verb}")
    for failure in plan.failures:
        click.echo(f"  would leave out: {readable(failure.uri)}: {failure.reason} ({failure.kind})")


def readable(uri: str) -> str:
    """A file address as the path it stands for; any other address as it is."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
