"""`ragagent ask`."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ragagent.cli.context import Context, embedder_option, json_option, kb_option, model_option, where_option
from ragagent.cli.ingest import print_report
from ragagent.cli.output import console, echo_json
from ragagent.cli.progress import Bar
from ragagent.cli.search import parse_filters
from ragagent.deadline import Deadline
from ragagent.errors import ConfigError, ReadError
from ragagent.types import Answer, AnswerStyle

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase

MOST_SCHEMA_BYTES = 1_000_000


@click.command()
@click.argument("question")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@where_option
@kb_option
@model_option
@embedder_option
@click.option(
    "--images",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the page of each citation there as PNG, the cited words marked (PDF files and pictures).",
)
@click.option(
    "--style",
    type=click.Choice(get_args(AnswerStyle)),
    help="A phrase, whole sentences, a table or a list. Default: the setting answer.style.",
)
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Answer with JSON that fits the JSON schema in this file, each value from a cited quote.",
)
@click.option(
    "--within",
    callback=lambda ctx, parameter, value: None if value is None else seconds_of(value),
    metavar="TIME",
    help="What is there after this time, such as 20s or 1.5m, is the answer. Ctrl-C ends the time.",
)
@click.option("--extractive", is_flag=True, help="Without a language model: the best sentences of the documents.")
@json_option
@click.pass_obj
def ask(
    context: Context,
    question: str,
    sources: tuple[str, ...],
    filters: tuple[str, ...],
    kb: Path | None,
    model: str | None,
    embedder: str | None,
    images: Path | None,
    style: AnswerStyle | None,
    schema: Path | None,
    within: float | None,
    extractive: bool,
    as_json: bool,
) -> None:
    """Answer a question from the documents, each claim with the document's own words.

    SOURCEs are brought in first. A question that the documents do not answer is refused, with the reason.

    \b
    ragagent ask "What is the notice period?" contracts/
    ragagent ask "What is the notice period?" --extractive
    ragagent ask "Which rooms are there, and what do they cost?" --style table
    """
    context.choose(kb=kb, model=model, embedder=embedder)
    where, form = parse_filters(filters), None if schema is None else read_schema(schema)
    with context.open(create=bool(sources), llm=not extractive) as knowledge_base:
        for source in sources:
            _bring_in(knowledge_base, source)
        deadline = Deadline(within)
        if as_json:
            with ended_by_interrupt(deadline):
                answer = knowledge_base.ask(
                    question, where=where, extractive=extractive, style=style, schema=form, within=deadline
                )
            _write_images(knowledge_base, answer, images)
            echo_json(answer)
            return
        events = knowledge_base.ask_stream(
            question, where=where, extractive=extractive, style=style, schema=form, within=deadline
        )
        shown = False
        with ended_by_interrupt(deadline):
            for event in events:
                shown = shown or event.kind == "text"
                if event.kind == "text":
                    click.echo(event.text, nl=False)
                if event.answer is not None:
                    print_answer(event.answer, streamed=shown)
                    _write_images(knowledge_base, event.answer, images)


@contextlib.contextmanager
def ended_by_interrupt(deadline: Deadline) -> Iterator[None]:
    """Within the block Ctrl-C ends the time of an answer; once more, and it ends the command."""

    def end(number: int, frame: object) -> None:
        if deadline.over:
            raise KeyboardInterrupt
        deadline.end()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def seconds_of(text: str) -> float:
    """The seconds in a time such as 20, 20s, 1.5m or 500ms. Raises ConfigError for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?", text.strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"{text!r} is no time: write 20s, 1.5m or 500ms")
    return float(match[1]) * {"ms": 0.001, "m": 60.0}.get(match[2] or "s", 1.0)


def read_schema(file: Path) -> Any:
    """The JSON in a file. Raises ConfigError, naming it, where there is none."""
    try:
        return json.loads(file.read_bytes()[: MOST_SCHEMA_BYTES + 1])
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not a JSON schema: {error}") from error


def _write_images(knowledge_base: KnowledgeBase, answer: Answer, folder: Path | None) -> None:
    """One PNG a citation, by its number; a citation without a page is named with the reason."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number, citation in enumerate(answer.citations, start=1):
        file = folder / f"citation-{number}.png"
        try:
            file.write_bytes(knowledge_base.page_image(citation))
        except ReadError as error:
            click.echo(f"[{number}] no picture: {error}", err=True)
        else:
            click.echo(f"[{number}] {file}", err=True)


def _bring_in(knowledge_base: KnowledgeBase, source: str) -> None:
    with Bar() as bar:
        report = knowledge_base.ingest(source, progress=bar)
    if report.added or report.updated or report.failed:
        print_report(source, report, err=True)


def print_answer(answer: Answer, *, streamed: bool = False) -> None:
    """The answer, its citations with their places, and what it cost. `streamed`: its text is on the screen already."""
    out = console()
    if streamed and answer.text:
        out.print()
    elif answer.text:
        out.print(answer.text, style="bold")
    if answer.status == "refused":
        out.print(f"Not answered: {answer.reason}", style="yellow")
    elif answer.status == "partial":
        out.print(f"In part: {answer.reason}", style="yellow")
    elif answer.extractive:
        out.print(f"Extractive: {answer.reason}", style="yellow")
    for number, citation in enumerate(answer.citations, start=1):
        page = f", page {citation.page}" if citation.page is not None else ""
        place = f", characters {citation.span.start}-{citation.span.end}" if citation.span else ""
        mark = "verified" if citation.verified else "NOT verified"
        out.print(f'\n  [{number}] "{citation.quote}"')
        out.print(f"      {citation.title}{page}{place}, {mark}", style="green" if citation.verified else "red")
        out.print(f"      {citation.uri}", style="dim")
        if citation.also:
            out.print(f"      also in {', '.join(citation.also)}", style="dim")
    usage = answer.usage
    out.print(
        f"\n{answer.status}, confidence {answer.confidence:.2f}, {usage.seconds:.1f} s, "
        f"{usage.prompt_tokens} tokens read ({usage.reused_tokens} reused), {usage.completion_tokens} written",
        style="dim",
    )
