"""`ragagent calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, json_option, kb_option, model_option
from ragagent.cli.output import echo_json
from ragagent.cli.progress import Bar

if TYPE_CHECKING:
    from ragagent.app.calibrate import CalibrationReport


@click.command()
@click.option("--questions", type=click.IntRange(1), default=40, show_default=True, help="How many to make and ask.")
@click.option(
    "--risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Refuse so much that this share of the answers shown is wrong; without it the threshold stays.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which passages are drawn.")
@click.option("--dry-run", is_flag=True, help="Show what comes of it and keep nothing.")
@click.option("--forget", is_flag=True, help="Go back to the weights that come with the package.")
@kb_option
@model_option
@json_option
@click.pass_obj
def calibrate(
    context: Context,
    questions: int,
    risk: float | None,
    seed: int,
    dry_run: bool,
    forget: bool,
    kb: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Fit how sure answers are to these documents and this model.

    The model makes questions of passages of yours; each is asked with its passage and with the passage left out, and
    the confidence of answers is fitted to what comes of it. Takes about three answers a question.

    \b
    ragagent calibrate
    ragagent calibrate --questions 100 --risk 0.1
    """
    context.choose(kb=kb, model=model)
    with context.open(llm=True) as knowledge_base:
        if forget:
            gone = knowledge_base.forget_calibration()
            said = "forgotten" if gone else "there was no calibration of this model"
            if as_json:
                echo_json({"forgotten": gone})
            else:
                click.echo(said)
            return
        with Bar() as bar:
            report = knowledge_base.calibrate(questions=questions, risk=risk, seed=seed, keep=not dry_run, progress=bar)
    if as_json:
        echo_json(report)
    else:
        _print(report, kept=not dry_run)


def _print(report: CalibrationReport, *, kept: bool) -> None:
    told = sum(case.told for case in report.cases)
    click.echo(f"{told} questions asked with their passage, {len(report.cases) - told} without, of {report.model}")
    click.echo(f"{'':34}{'before':>8}{'now':>8}")
    for name, label in _ROWS.items():
        before, after = getattr(report.before, name), getattr(report.after, name)
        click.echo(f"{label:34}{_shown(before):>8}{_shown(after):>8}")
    click.echo(f"answers under {report.found.threshold:.2f} are refused" + ("" if kept else "; nothing was kept"))


_ROWS = {
    "wrong_shown": "wrong among the answers shown",
    "right_refused": "right answers refused",
    "untold_refused": "refused where nothing says it",
    "gap": "confidence above share of right",
}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
