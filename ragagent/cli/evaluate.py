"""`ragagent eval`: measure retrieval and answers on a data set, and compare two runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragagent.cli.context import Context, embedder_option, json_option, model_option
from ragagent.cli.output import echo_json
from ragagent.cli.progress import Bar
from ragagent.errors import ConfigError

if TYPE_CHECKING:
    from ragagent.eval.report import Run
    from ragagent.types import SearchMode

_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group(name="eval")
def evaluate() -> None:
    """Measure retrieval and answers on a data set; docs/evaluation.md describes sets and figures."""


def _set_options(function: _Function) -> _Function:
    """The options of every run over a set."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    for option in (
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the sample."),
        click.option(
            "--kb",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder for the knowledge bases of sets. Default: in the user's cache folder.",
        ),
        click.option("--data", type=folder, required=True, help="Folder of the set."),
    ):
        function = option(function)
    return function


@evaluate.command()
@_set_options
@click.option(
    "--modes", default=",".join(_MODES), show_default=True, metavar="LIST", help="Search modes, with commas between."
)
@click.option("-k", "--k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Depth of the rank.")
@click.option("--limit", type=click.IntRange(1), help="Only this many queries.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the run to this JSON file.")
@embedder_option
@json_option
@click.pass_context
def retrieval(
    ctx: click.Context,
    data: Path,
    kb: Path | None,
    seed: int,
    modes: str,
    k: int,
    limit: int | None,
    out: Path | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """How well search finds the relevant documents: nDCG, recall, MRR and MAP of each mode.

    \b
    ragagent eval retrieval --data sets/scifact --out scifact.json
    """
    from ragagent.eval import retrieval as runner
    from ragagent.eval.corpus import Parts

    chosen_modes = _parsed(modes)
    context = _chosen(ctx, embedder=embedder)
    with Bar() as bar:
        found = runner.run(
            data,
            settings=context.settings,
            kb=kb or _default_folder(),
            modes=chosen_modes,
            k=k,
            limit=limit,
            seed=seed,
            parts=Parts(progress=bar),
        )
    _deliver(found, out, as_json=as_json)


@evaluate.command()
@_set_options
@click.option("--questions", type=click.IntRange(1), default=300, show_default=True, help="How many to ask.")
@click.option(
    "--impossible", type=click.FloatRange(0, 1), help="Share of questions without an answer. Default: the set's own."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the run to this JSON file. Each record is kept beside it at once; the same command goes on from there.",
)
@model_option
@embedder_option
@json_option
@click.pass_context
def answers(
    ctx: click.Context,
    data: Path,
    kb: Path | None,
    seed: int,
    questions: int,
    impossible: float | None,
    out: Path | None,
    model: str | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """How good answers are: EM, F1, citations checked again, refusals and seconds.

    \b
    ragagent eval answers --data sets/squad --questions 300 --out squad.json
    """
    from ragagent.eval import answers as runner
    from ragagent.eval.corpus import Parts

    context = _chosen(ctx, model=model, embedder=embedder)
    context.fetch(context.settings.llm.model)
    with Bar() as bar:
        found = runner.run(
            data,
            n=questions,
            seed=seed,
            impossible_share=impossible,
            settings=context.settings,
            kb=kb or _default_folder(),
            records=out.with_suffix(".records.jsonl") if out else None,
            parts=Parts(progress=bar),
        )
    _deliver(found, out, as_json=as_json)


@evaluate.command()
@click.argument("first", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("second", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def compare(first: Path, second: Path, as_json: bool) -> None:
    """What the run file SECOND gained over FIRST, with paired bootstrap intervals.

    \b
    ragagent eval compare before.json after.json
    """
    from ragagent.eval import report

    found = report.compare(first, second)
    if as_json:
        echo_json(found)
    else:
        click.echo(report.comparison_markdown(found), nl=False)


def _chosen(ctx: click.Context, *, model: str | None = None, embedder: str | None = None) -> Context:
    """The context with the command's own models, the embedder fetched if it can be."""
    from ragagent.models.embedding import DEFAULT_EMBEDDER

    context: Context = ctx.obj
    context.choose(model=model, embedder=embedder)
    context.fetch(context.settings.embedding.model or DEFAULT_EMBEDDER)
    return context


def _default_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("ragagent") / "eval"


def _parsed(modes: str) -> tuple[SearchMode, ...]:
    names = [name.strip() for name in modes.split(",") if name.strip()]
    found = tuple(mode for name in names for mode in _MODES if mode == name)
    if not found or len(found) != len(names):
        raise ConfigError(f"--modes {modes}: must be some of {', '.join(_MODES)}")
    return found


def _deliver(run: Run, out: Path | None, *, as_json: bool) -> None:
    from ragagent.eval import report

    if out:
        report.write(run, out)
    if as_json:
        echo_json(run)
    else:
        click.echo(report.markdown(run), nl=False)
