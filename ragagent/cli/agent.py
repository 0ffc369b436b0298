"""`ragagent agent`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ragagent.cli.ask import print_answer
from ragagent.cli.context import Context, json_option, kb_option, model_option
from ragagent.cli.output import console, echo_json
from ragagent.types import AgentEvent, AgentResult

_SHOWN_CHARACTERS = 300


@click.command()
@click.argument("task")
@click.option("--resume", "run_id", metavar="RUN", help="Go on with an interrupted run; TASK is then not read.")
@kb_option
@model_option
@json_option
@click.pass_obj
def agent(context: Context, task: str, run_id: str | None, kb: Path | None, model: str | None, as_json: bool) -> None:
    """Work on a task in several steps, with search and tools, and end in a cited answer.

    \b
    ragagent agent "What do 12 nights in the cheapest room cost?"
    """
    from ragagent.app import Agent

    context.choose(kb=kb, model=model)
    with context.open(llm=True) as knowledge_base, Agent(knowledge_base) as worker:
        if run_id is not None:
            result = worker.resume(run_id)
            echo_json(result) if as_json else print_answer(result.answer)
            _fail_if_broken(result)
            return
        for event in worker.stream(task):
            if not as_json:
                _print_event(event)
            elif event.result is not None:
                echo_json(event.result)
            if event.result is not None:
                _fail_if_broken(event.result)


def _fail_if_broken(result: AgentResult) -> None:
    """A run that a model's failure ended is a command that failed; a refusal is an answer."""
    if result.stopped == "error":
        raise click.exceptions.Exit(1)


def _print_event(event: AgentEvent) -> None:
    out = console()
    if event.kind == "thought" and event.text:
        out.print(f"· {event.text}", style="dim")
    elif event.kind == "call" and event.call is not None:
        out.print(f"→ {event.call.name} {json.dumps(dict(event.call.arguments), ensure_ascii=False)}", style="cyan")
    elif event.kind == "observation" and event.observation is not None:
        text = " ".join(event.observation.content.split())
        out.print(f"← {text[:_SHOWN_CHARACTERS]}{'…' if len(text) > _SHOWN_CHARACTERS else ''}", style="dim")
    elif event.result is not None:
        out.print()
        print_answer(event.result.answer)
        usage = event.result.usage
        out.print(
            f"run {event.result.run_id}, {len(event.result.steps)} steps, {event.result.stopped}, "
            f"{usage.prompt_tokens} tokens read ({usage.reused_tokens} reused), {usage.completion_tokens} written",
            style="dim",
        )
