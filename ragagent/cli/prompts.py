"""`ragagent prompts`: what a conversation has the model read again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, json_option, kb_option, model_option
from ragagent.cli.output import echo_json, printable
from ragagent.errors import ConfigError
from ragagent.protocols import ShowsPrompt

if TYPE_CHECKING:
    from ragagent.answer.linter import Parting
    from ragagent.app import KnowledgeBase


@click.command()
@click.argument("conversation", required=False)
@kb_option
@model_option
@json_option
@click.pass_obj
def prompts(context: Context, conversation: str | None, kb: Path | None, model: str | None, as_json: bool) -> None:
    """Show the first token at which each prompt of a conversation parts from the one before.

    What stands before that place is read once. CONVERSATION is the id of a saved one; the last saved one by default.
    Questions that were refused are left out.

    \b
    ragagent prompts
    """
    context.choose(kb=kb, model=model)
    with context.open(embedder=False, llm=True) as knowledge_base:
        found = _partings(knowledge_base, conversation)
    if as_json:
        echo_json([{"stable": one.stable, **_fields(one)} for one in found])
        return
    for number, one in enumerate(found, start=1):
        click.echo(f"{number} -> {number + 1}: {printable(str(one), but='')}")
    if not found:
        click.echo("fewer than two questions were answered: nothing to compare")


def _partings(kb: KnowledgeBase, conversation: str | None) -> list[Parting]:
    """Where each prompt of the conversation parts from the one before. Raises ConfigError where there is none."""
    from ragagent.answer.linter import parting

    chosen = conversation or next(iter(kb.conversations()), None)
    if chosen is None:
        raise ConfigError(f"{kb.path}: no conversation is saved; /save in ragagent chat saves one")
    llm = kb.llm
    if not isinstance(llm, ShowsPrompt):
        raise ConfigError(f"{llm.name} does not show its prompts; only models on this machine do")
    return [parting(first, second, llm) for first, second in itertools.pairwise(kb.conversation(chosen).prompts())]


def _fields(one: Parting) -> dict[str, object]:
    from ragagent.jsonable import jsonable

    fields: dict[str, object] = jsonable(one)
    return fields
