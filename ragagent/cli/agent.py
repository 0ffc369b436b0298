"""`ragagent agent TASK`, and `ragagent agent list|show|resume|replay` for the runs there were."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from ragagent.cli.ask import print_answer
from ragagent.cli.context import DEFAULT_KB, Context, json_option, kb_option, model_option, where_option
from ragagent.cli.output import console, echo_json, printable
from ragagent.cli.search import parse_filters
from ragagent.cli.servers import COMMANDS, mcp_option, servers_of
from ragagent.errors import AgentError
from ragagent.settings import Strategy
from ragagent.types import AgentEvent, AgentResult, Approval, Decision

if TYPE_CHECKING:
    from ragagent.agent.journal import Journal
    from ragagent.agent.policy import Policy
    from ragagent.app import Agent
    from ragagent.where import Where

_SHOWN_CHARACTERS = 300
_WAITS = 3
"""What the command ends with when its run waits for an approval."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


class _TaskOrCommand(click.Group):
    """A group in which whatever is no command of it is the task of a new run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_help = bool(args) and args[0] in ctx.help_option_names
        if args and args[0] not in self.commands and not wants_help:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name, run)


def _rights_options(function: _Function) -> _Function:
    box = click.option("--sandbox", is_flag=True, help="Let the agent run Python, confined (setting agent.sandbox).")
    keep = click.option("--memory", is_flag=True, help="Let it remember facts and recall them (setting agent.memory).")
    yes = click.option("--yes", is_flag=True, help="Approve every call that would be asked about.")
    ask = click.option("--ask", is_flag=True, help="Ask about every call that does more than read.")
    read = click.option("--read-only", is_flag=True, help="Allow no call that does more than read.")
    return yes(ask(read(box(keep(function)))))


@click.group(cls=_TaskOrCommand, context_settings={"ignore_unknown_options": False})
def agent() -> None:
    """Work on a task in several steps, with search and tools, and end in a cited answer.

    \b
    ragagent agent "What do 12 nights in the cheapest room cost?"
    """


for _command in COMMANDS:
    agent.add_command(_command)


def _strategy_option(function: _Function) -> _Function:
    choice = click.Choice(get_args(Strategy))
    said = "How to go about the task (setting agent.strategy)."
    return click.option("--strategy", type=choice, help=said)(function)


@agent.command(hidden=True)
@click.argument("task")
@_strategy_option
@where_option
@_rights_options
@mcp_option()
@kb_option
@model_option
@json_option
@click.pass_obj
def run(
    context: Context,
    task: str,
    strategy: Strategy | None,
    filters: tuple[str, ...],
    yes: bool,
    ask: bool,
    read_only: bool,
    sandbox: bool,
    memory: bool,
    mcp: Path | None,
    kb: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Work on TASK. A call that needs an approval is asked about; without a terminal the run waits, with code 3.

    \b
    ragagent agent run "What do 12 months of cleaning cost?"
    ragagent agent run "Compare both offers." --read-only
    ragagent agent run "Add up the three invoices." --strategy plan
    """
    context.choose(kb=kb, model=model)
    chosen = _policy(ask, read_only)
    with _opened(context, chosen, mcp, parse_filters(filters), sandbox=sandbox, memory=memory) as worker:
        _follow(worker, worker.stream(task, strategy=strategy), yes, as_json)


@agent.command()
@click.argument("run_id", metavar="RUN")
@click.option("--approve", metavar="ID", help="Approve the call that the run waits for; ID as it was shown.")
@click.option("--deny", metavar="ID", help="Deny it.")
@_rights_options
@mcp_option()
@kb_option
@model_option
@json_option
@click.pass_obj
def resume(
    context: Context,
    run_id: str,
    approve: str | None,
    deny: str | None,
    yes: bool,
    ask: bool,
    read_only: bool,
    sandbox: bool,
    memory: bool,
    mcp: Path | None,
    kb: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Go on with a run that was interrupted, or that waits for an approval: with its filter, and not with more rights.

    \b
    ragagent agent resume 3f2a9c1e
    ragagent agent resume 3f2a9c1e --approve b7d2
    """
    from ragagent.agent.begun import begun

    context.choose(kb=kb, model=model)
    # Of the runs of others nothing is kept.
    context.require_owner("resuming a run")
    chosen = approve or deny
    decision = Decision(approval_id=chosen, approved=approve is not None, by="command line") if chosen else None
    start = begun(_known(context, run_id).entries(run_id))
    if start is None:
        raise AgentError(f"the log does not say how the run {run_id!r} was begun, so it cannot be gone on with")
    policy = _policy(ask or start.always_ask, read_only or start.read_only)
    memory = memory or start.memory is True
    with _opened(context, policy, mcp, start.where, sandbox=sandbox, memory=memory) as worker:
        _follow(worker, worker.resume_stream(run_id, decision), yes, as_json)


@agent.command("list")
@kb_option
@json_option
@click.pass_obj
def list_runs(context: Context, kb: Path | None, as_json: bool) -> None:
    """List the runs there were, the latest first.

    \b
    ragagent agent list --json
    """
    context.choose(kb=kb)
    journal = _journal(context)
    found = [_summary(journal, run_id) for run_id in journal.runs()] if journal else []
    if as_json:
        echo_json(found)
        return
    out = console()
    for one in found:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["begun"]))
        out.print(f"{begun}  {one['run']}  {one['state']:<13}  {one['task']}")
    out.print(f"{len(found)} runs", style="dim")


@agent.command()
@click.argument("run_id", metavar="RUN")
@kb_option
@json_option
@click.pass_obj
def show(context: Context, run_id: str, kb: Path | None, as_json: bool) -> None:
    """Show what happened in a run, and whether its log is whole.

    \b
    ragagent agent show 3f2a9c1e
    """
    from ragagent.agent.replay import transcript

    context.choose(kb=kb)
    journal = _known(context, run_id)
    entries = list(journal.entries(run_id))
    problem = journal.check()
    if as_json:
        echo_json({"entries": entries, "problem": problem})
    else:
        for line in transcript(entries):
            click.echo(printable(line))
    _fail(problem)


@agent.command()
@click.argument("run_id", metavar="RUN")
@kb_option
@json_option
@click.pass_obj
def replay(context: Context, run_id: str, kb: Path | None, as_json: bool) -> None:
    """Make a run again from its log, without model and tools, and say whether it comes out the same.

    \b
    ragagent agent replay 3f2a9c1e
    """
    from ragagent.agent.replay import replay as replayed

    context.choose(kb=kb)
    journal = _known(context, run_id)
    found = replayed(journal.entries(run_id))
    problem = journal.check() or found.problem
    if as_json:
        echo_json({"replayed": found, "problem": problem})
    else:
        for step in found.steps:
            called = (
                f"{step.call.name} {json.dumps(dict(step.call.arguments), ensure_ascii=False)}" if step.call else ""
            )
            click.echo(printable(f"step {step.index + 1}: {step.thought} -> {called}"))
        click.echo(printable(f"{found.stopped or 'unfinished'}: {found.answer}"))
        click.echo(problem or "the same as it was")
    _fail(problem)


def _policy(ask: bool, read_only: bool) -> Policy:
    from ragagent.agent.policy import Policy

    return Policy(always_ask=ask, read_only=read_only)


class _opened:
    """The agent on the knowledge base of the context; closes both."""

    def __init__(
        self,
        context: Context,
        policy: Policy,
        mcp: Path | None,
        where: Where | None = None,
        *,
        sandbox: bool,
        memory: bool,
    ) -> None:
        self._sandbox, self._memory = sandbox or None, memory or None
        self._context = context
        self._policy = policy
        self._where = where
        self._servers = servers_of(context, mcp, ask=True) if mcp is not None else None

    def __enter__(self) -> Agent:
        from ragagent.app import Agent

        self._kb = self._context.open(llm=True)
        try:
            self._agent = Agent(
                self._kb,
                policy=self._policy,
                mcp=self._servers,
                where=self._where,
                sandbox=self._sandbox,
                memory=self._memory,
            )
        except BaseException:
            self._close()
            raise
        for problem in self._agent.problems:
            click.echo(printable(problem), err=True)
        return self._agent

    def __exit__(self, *error: object) -> None:
        self._agent.close()
        self._close()

    def _close(self) -> None:
        if self._servers is not None:
            self._servers.close()
        self._kb.close()


def _follow(worker: Agent, events: Iterator[AgentEvent], yes: bool, as_json: bool) -> None:
    """Shows a run as it goes, and goes on with it for as long as somebody decides what it asks."""
    while True:
        result = _shown(events, as_json)
        decision = _decision(result.approval, yes, as_json) if result.approval is not None else None
        if decision is None:
            break
        events = worker.resume_stream(result.run_id, decision)
    if as_json:
        echo_json(result)
    if result.stopped == "error":
        raise click.exceptions.Exit(1)
    if result.stopped == "approval":
        raise click.exceptions.Exit(_WAITS)


def _shown(events: Iterator[AgentEvent], as_json: bool) -> AgentResult:
    result: AgentResult | None = None
    for event in events:
        if not as_json:
            _print_event(event)
        result = event.result
    if result is None:
        raise AgentError("the run ended without a result")
    return result


def _decision(asked: Approval, yes: bool, as_json: bool) -> Decision | None:
    """What somebody at the terminal says; None where there is nobody."""
    if yes:
        return asked.approve(by="--yes")
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return asked.approve(by="terminal") if click.confirm("Allow this call, once?") else asked.deny(by="terminal")


def _journal(context: Context) -> Journal | None:
    """The journal of the knowledge base; None where there never was a run."""
    from ragagent.agent.journal import Journal
    from ragagent.app.agent import RUNS_FILE

    # It holds what was read, whoever read it.
    context.require_owner("the log of runs")
    file = (context.kb or DEFAULT_KB) / RUNS_FILE
    return Journal(file) if file.is_file() else None


def _known(context: Context, run_id: str) -> Journal:
    journal = _journal(context)
    if journal is None or run_id not in journal.runs():
        raise AgentError(f"there is no run {run_id!r}; `ragagent agent list` shows those there are")
    return journal


def _summary(journal: Journal, run_id: str) -> dict[str, Any]:
    entries = list(journal.entries(run_id))
    last = entries[-1]
    ended = next((entry.body["stopped"] for entry in reversed(entries) if entry.kind == "end"), "")
    state = ended or ("asks" if last.kind == "approval" else "interrupted")
    return {"run": run_id, "begun": entries[0].at, "state": state, "task": entries[0].body.get("task", "")}


def _fail(problem: str) -> None:
    if problem:
        click.echo(problem, err=True)
        raise click.exceptions.Exit(1)


def _print_event(event: AgentEvent) -> None:
    out = console()
    if event.kind == "thought" and event.text:
        out.print(printable(f"· {event.text}"), style="dim")
    elif event.kind == "call" and event.call is not None:
        arguments = json.dumps(dict(event.call.arguments), ensure_ascii=False)
        out.print(printable(f"→ {event.call.name} {arguments}"), style="cyan")
    elif event.kind == "approval" and event.approval is not None:
        _print_approval(event.approval)
    elif event.progress is not None:
        told = event.progress
        counted = f"{told.done:g}" if told.total is None else f"{told.done:g} of {told.total:g}"
        out.print(printable(f"… {counted}{f': {told.text}' if told.text else ''}"), style="dim")
    elif event.kind == "observation" and event.observation is not None:
        text = " ".join(printable(event.observation.content).split())
        out.print(f"← {text[:_SHOWN_CHARACTERS]}{'…' if len(text) > _SHOWN_CHARACTERS else ''}", style="dim")
    elif event.result is not None and event.result.approval is None:
        out.print()
        print_answer(event.result.answer)
        usage = event.result.usage
        out.print(
            f"run {event.result.run_id}, {len(event.result.steps)} steps, {event.result.stopped}, "
            f"{usage.prompt_tokens} tokens read ({usage.reused_tokens} reused), {usage.completion_tokens} written",
            style="dim",
        )


def _print_approval(asked: Approval) -> None:
    """The whole call, and where each of its values comes from: nobody can approve what they do not see."""
    out = console()
    # A line for each: a name with a line break in it could show a value that the call does not have.
    out.print(printable(f"? {asked.tool}: {asked.reason}", but=""), style="bold yellow")
    for origin in asked.origins:
        said = f"    {origin.path} = {json.dumps(origin.value, ensure_ascii=False)}  ({origin.why})"
        out.print(printable(said, but=""))
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(asked.expires_at))
    resume_it = f"ragagent agent resume {asked.run_id} --approve {asked.id}"
    out.print(f"    until {until}: {resume_it}, or --deny {asked.id}", style="dim")
