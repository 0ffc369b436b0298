"""`ragagent migrate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, embedder_option, json_option, kb_option
from ragagent.cli.ingest import readable
from ragagent.cli.output import console, echo_json
from ragagent.cli.progress import Bar
from ragagent.errors import ConfigError

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase
    from ragagent.index.fingerprint import Change
    from ragagent.ingest.estimate import MigrationPlan
    from ragagent.ingest.migration import MigrationReport
    from ragagent.settings import Settings


@click.command()
@click.option("--plan", "only_plan", is_flag=True, help="Say what differs and what it would take; change nothing.")
@click.option("--rollback", is_flag=True, help="Go back to the edition before the last migration.")
@click.option("--finish", is_flag=True, help="Drop the edition that is kept for a rollback.")
@kb_option
@embedder_option
@json_option
@click.pass_obj
def migrate(
    context: Context,
    only_plan: bool,
    rollback: bool,
    finish: bool,
    kb: Path | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """Change embedder, chunking or readers of a knowledge base while it answers.

    A new edition is built beside the one that answers, and takes its place in one step when every document is in it.
    Stopped or killed, the same command goes on where it was. Settings say what it shall be built with.

    \b
    ragagent migrate --embedder bge-small-en-v1.5 --plan
    ragagent --set chunking.max_tokens=300 migrate
    """
    if only_plan + rollback + finish > 1:
        raise ConfigError("--plan, --rollback and --finish are three different things; give one")
    context.choose(kb=kb, embedder=embedder)
    wanted = context.settings
    with _opened(context, embedder=not (rollback or finish)) as knowledge_base:
        if only_plan:
            _print_plan(knowledge_base.migration_plan(settings=wanted), as_json)
        elif finish:
            _finish(knowledge_base, as_json)
        else:
            _print_report(_run(knowledge_base, wanted, rollback), rollback, as_json)


def _opened(context: Context, *, embedder: bool) -> KnowledgeBase:
    """The knowledge base as it is, whatever embedder is wanted, after fetching the wanted one."""
    if embedder:
        context.fetch_embedder()
    settings = context.settings
    stored = dataclasses.replace(settings, embedding=dataclasses.replace(settings.embedding, model=None))
    context.loaded = dataclasses.replace(context.loaded, settings=stored)
    return context.open(embedder=False)


def _run(knowledge_base: KnowledgeBase, wanted: Settings, rollback: bool) -> MigrationReport:
    with Bar() as bar:
        if rollback:
            return knowledge_base.rollback(progress=bar)
        return knowledge_base.migrate(settings=wanted, progress=bar)


def _print_plan(plan: MigrationPlan, as_json: bool) -> None:
    if as_json:
        echo_json(plan)
        return
    out = console()
    _print_changes(plan.changes)
    out.print(plan.work)
    if not plan.changes:
        return
    out.print(
        f"  {plan.documents} documents, {plan.chunks_now} chunks now, about {plan.chunks} after it "
        f"({plan.tokens} tokens), {plan.to_embed} of them to embed"
    )
    if plan.built:
        out.print(f"  {plan.built} documents are there already, from a run that was interrupted")
    speed = f"measured just now: {plan.sampled_chunks} chunks embedded in {plan.sampled_seconds:.2f} s"
    out.print(f"  time: about {_duration(plan.seconds)} ({speed if plan.sampled_chunks else 'nothing to embed'})")
    out.print(
        f"  disk: about {plan.bytes / 1e6:.0f} MB more until the old edition is dropped, "
        f"{plan.free_bytes / 1e6:.0f} MB free"
    )
    if plan.bytes > plan.free_bytes:
        out.print("  ! there is not enough room for both editions", style="yellow")
    if plan.kept:
        out.print("  the edition before the last migration is kept now and will be dropped by this one", style="dim")


def _print_report(report: MigrationReport, rollback: bool, as_json: bool) -> None:
    if as_json:
        echo_json(report)
        return
    _print_changes(report.changes)
    if not rollback and not report.changes:
        click.echo("nothing differs; nothing was done")
        return
    what = "rolled back" if rollback else "migrated"
    click.echo(
        f"{what}: {report.documents} documents built, {report.chunks} chunks, {report.embedded} embedded, "
        f"{report.seconds:.1f} s"
    )
    if report.resumed:
        click.echo(f"  {report.resumed} documents were there already")
    if report.reread:
        click.echo(f"  {report.reread} documents came with another text from their sources")
    for failure in report.failures:
        click.echo(f"  kept as it was stored: {readable(failure.uri)}: {failure.reason} ({failure.kind})")
    click.echo("  the edition before is kept: ragagent migrate --rollback goes back, --finish drops it")


def _print_changes(changes: tuple[Change, ...]) -> None:
    for change in changes:
        click.echo(f"{change.key}: {change.stored or 'not recorded'} -> {change.wanted}")


def _finish(knowledge_base: KnowledgeBase, as_json: bool) -> None:
    """Drops the earlier edition and gives its room back."""
    before = knowledge_base.status().size_bytes
    dropped = knowledge_base.finish_migration()
    freed = max(0, before - knowledge_base.compact().size_after) if dropped else 0
    if as_json:
        echo_json({"dropped": dropped, "freed_bytes": freed})
    elif dropped:
        click.echo(f"the earlier edition was dropped, {freed / 1e6:.1f} MB were given back")
    else:
        click.echo("no earlier edition is kept; nothing was done")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
