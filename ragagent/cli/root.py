"""The top of the command line: global options and the table of commands."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import click

import ragagent
from ragagent import settings as settings_module
from ragagent.cli.context import Context
from ragagent.errors import ConfigError


class _Entry(NamedTuple):
    module: str
    attribute: str
    help: str


# The help stands here so that `ragagent --help` imports no command.
COMMANDS = {
    "ask": _Entry("ragagent.cli.ask", "ask", "Answer a question from the documents, with citations."),
    "chat": _Entry("ragagent.cli.chat", "chat", "Ask one question after another; each may refer to those before."),
    "search": _Entry("ragagent.cli.search", "search", "Find the passages that fit a query."),
    "ingest": _Entry(
        "ragagent.cli.ingest", "ingest", "Bring files, sites, stores, mail and tables into the knowledge base."
    ),
    "agent": _Entry("ragagent.cli.agent", "agent", "Work on a task in several steps, with search and tools."),
    "documents": _Entry("ragagent.cli.documents", "documents", "List, show and remove documents."),
    "memory": _Entry("ragagent.cli.memory", "memory", "List, add, edit and forget what agents remember."),
    "status": _Entry("ragagent.cli.status", "status", "Count what the knowledge base holds."),
    "migrate": _Entry("ragagent.cli.migrate", "migrate", "Change embedder, chunking or readers while it answers."),
    "snapshot": _Entry("ragagent.cli.snapshot", "snapshot", "Name states of the documents and go back to them."),
    "backup": _Entry("ragagent.cli.keeping", "backup", "Write the knowledge base to one file."),
    "restore": _Entry("ragagent.cli.keeping", "restore", "Unpack a backup into a new folder."),
    "compact": _Entry("ragagent.cli.keeping", "compact", "Give the room of removed documents back, or erase them."),
    "calibrate": _Entry("ragagent.cli.calibrate", "calibrate", "Fit how sure answers are to these documents."),
    "prompts": _Entry("ragagent.cli.prompts", "prompts", "Show what a conversation has the model read again."),
    "models": _Entry("ragagent.cli.models", "models", "List, pull, verify and move models."),
    "config": _Entry("ragagent.cli.config", "config", "Show the settings in force and where they come from."),
    "doctor": _Entry("ragagent.cli.doctor", "doctor", "Check environment, models and index; say what to do."),
    "eval": _Entry("ragagent.cli.evaluate", "evaluate", "Measure retrieval and answers on a data set."),
    "completion": _Entry("ragagent.cli.completion", "completion", "Print the completion script of a shell."),
    "mcp": _Entry("ragagent.cli.mcp", "mcp", "Serve search and answers to MCP clients, over stdio or HTTP."),
    "serve": _Entry("ragagent.cli.serve", "serve", "Serve the web page, the HTTP API and OpenAI-compatible routes."),
    "token": _Entry("ragagent.cli.token", "token", "Make, list and revoke the tokens of the server."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ragagent.__version__, prog_name="ragagent")
@click.option(
    "--config",
    "config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file (TOML). Default: ragagent.toml in the working folder, if there is one.",
)
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one setting; repeatable.")
@click.option("--kb", type=click.Path(file_okay=False, path_type=Path), help="Knowledge base. Default: .ragagent")
@click.option("--offline", is_flag=True, help="Never download anything.")
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="Append timed events to this file.")
@click.pass_context
def root(
    ctx: click.Context,
    config: Path | None,
    assignments: tuple[str, ...],
    kb: Path | None,
    offline: bool,
    trace: Path | None,
) -> None:
    """Answers from your own documents, checked against their words, on your own machine.

    \b
    ragagent ask "When does the contract end?" contracts/
    """
    overrides = _overrides(assignments)
    if offline:
        overrides["models.download"] = "never"
    file = config or _default_file()
    loaded = settings_module.load(file=file, environ=os.environ, overrides=overrides)
    ctx.obj = Context(kb=kb, loaded=loaded, trace_file=trace)


def _overrides(assignments: tuple[str, ...]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: write it as SECTION.KEY=VALUE")
        overrides[key.strip()] = value.strip()
    return overrides


def _default_file() -> Path | None:
    file = Path(settings_module.FILE_NAME)
    return file if file.is_file() else None
