"""`ragagent chat`: questions that follow one another, at a terminal or line by line from a script."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.ask import print_answer
from ragagent.cli.context import Context, embedder_option, json_option, kb_option, model_option, where_option
from ragagent.cli.output import echo_json
from ragagent.cli.search import parse_filters
from ragagent.errors import RagAgentError
from ragagent.types import Answer, Citation
from ragagent.where import Where

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase

HISTORY = "chat-history"
"""The lines that were typed, in the folder of the knowledge base."""
MOST_LINES = 1000
AROUND_CHARS = 600
_PROMPT, _MORE = "> ", ". "
_BLOCK = '"""'


class Quit(Exception):
    """Whoever asks wants to leave."""


class Chat:
    """One conversation and what can be said beside its questions; prints with `echo`."""

    def __init__(
        self,
        kb: KnowledgeBase,
        where: Where | None,
        *,
        as_json: bool = False,
        other: Callable[[str], KnowledgeBase] | None = None,
    ) -> None:
        """`other` opens the same knowledge base with the language model of that name."""
        self._kb = kb
        self._other = other
        self._where = where
        self._as_json = as_json
        self._conversation = kb.conversation()
        self._last: Answer | None = None

    def take(self, text: str) -> None:
        """Does what a line says: a command that begins with "/", or else a question. Raises Quit."""
        text = text.strip()
        if not text:
            return
        if not text.startswith("/"):
            self._ask(text)
            return
        name, _, argument = text[1:].partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            click.echo(f"there is no /{name}; /help says what there is", err=True)
            return
        command(self, argument.strip())

    def _ask(self, question: str) -> None:
        """The answer as it is written. Ctrl-C ends it, and the conversation is as it was before."""
        with contextlib.closing(self._conversation.stream(question, where=self._where)) as events:
            try:
                for event in events:
                    if event.text and not self._as_json:
                        click.echo(event.text, nl=False)
                    if event.answer is not None:
                        self._last = event.answer
                        self._print(event.answer)
            except KeyboardInterrupt:
                click.echo("\n(stopped)", err=True)

    def _print(self, answer: Answer) -> None:
        if self._as_json:
            echo_json(answer, line=True)
        else:
            print_answer(answer, streamed=True)

    def open(self, argument: str) -> None:
        """/open N: the passage of a citation, with what stands around it."""
        citations = self._last.citations if self._last else ()
        if not argument.isdecimal() or not 1 <= int(argument) <= len(citations):
            click.echo(f"/open takes the number of a citation: the last answer has {len(citations)}", err=True)
            return
        citation = citations[int(argument) - 1]
        document = self._kb.document(citation.document_id)
        if document is None or citation.span is None:
            click.echo("it is not there any more", err=True)
            return
        start, end = citation.span
        before = document.text[max(0, start - AROUND_CHARS) : start]
        click.echo(_place(citation))
        click.echo(before, nl=False)
        click.secho(document.text[start:end], bold=True, nl=False)
        click.echo(document.text[end : end + AROUND_CHARS])

    def sources(self, _: str) -> None:
        """/sources: the documents that the last answer cites."""
        for number, citation in enumerate(self._last.citations if self._last else (), start=1):
            click.echo(f"[{number}] {_place(citation)}")

    def new(self, _: str) -> None:
        """/new: another conversation, which knows nothing of this one."""
        self._conversation, self._last = self._kb.conversation(), None

    def past(self, _: str) -> None:
        """/history: what was asked and answered."""
        for turn in self._conversation.turns:
            click.echo(f"{_PROMPT}{turn.question}\n{turn.text or f'Not answered: {turn.reason}'}\n")

    def save(self, _: str) -> None:
        """/save: keeps the conversation in the knowledge base; /load ID goes on with it."""
        self._conversation.save()
        click.echo(f"saved: /load {self._conversation.id}", err=True)

    def load(self, argument: str) -> None:
        """/load [ID]: goes on with a saved conversation; without an id, which there are."""
        if not argument:
            click.echo("\n".join(self._kb.conversations()) or "none is saved", err=True)
            return
        self._conversation, self._last = self._kb.conversation(argument), None

    def model(self, argument: str) -> None:
        """/model [NAME]: which language model answers; with a name, that one from now on, in the same conversation."""
        if argument and self._other is not None:
            from ragagent.app.conversation import Conversation

            before, self._kb = self._kb, self._other(argument)
            known = self._conversation
            self._conversation = Conversation(self._kb, identifier=known.id, turns=known.turns)
            before.close()
        click.echo(f"{self._kb.llm.name}, {self._kb.llm.context_tokens} tokens of context", err=True)

    def help(self, _: str) -> None:
        """/help: this."""
        lines = [(command.__doc__ or "").partition("\n")[0] for command in COMMANDS.values()]
        click.echo("\n".join(sorted(lines)), err=True)
        click.echo('A line that ends with \\ goes on in the next one; """ begins and ends several lines.', err=True)

    def close(self) -> None:
        """Closes the knowledge base that is in use now."""
        self._kb.close()

    def quit(self, _: str) -> None:
        """/quit: leaves; so does Ctrl-D."""
        raise Quit


COMMANDS: dict[str, Callable[[Chat, str], None]] = {
    "open": Chat.open,
    "sources": Chat.sources,
    "new": Chat.new,
    "history": Chat.past,
    "save": Chat.save,
    "load": Chat.load,
    "model": Chat.model,
    "help": Chat.help,
    "quit": Chat.quit,
}


def _place(citation: Citation) -> str:
    page = f", page {citation.page}" if citation.page is not None else ""
    return f"{citation.title}{page}  {citation.uri}"


def questions(lines: Iterator[str]) -> Iterator[str]:
    """What is said, from lines as they were typed: joined where one goes on in the next. Both forms may be unended."""
    for line in lines:
        if line.strip().startswith(_BLOCK):
            parts = [line.strip().removeprefix(_BLOCK)]
            while not parts[-1].rstrip().endswith(_BLOCK) and (more := next(lines, None)) is not None:
                parts.append(more)
            yield "\n".join(parts).rstrip().removesuffix(_BLOCK)
            continue
        while line.endswith("\\") and (more := next(lines, None)) is not None:
            line = f"{line[:-1]}\n{more}"
        yield line.removesuffix("\\")


def typed(history: Path | None) -> Iterator[str]:
    """Lines from a terminal, with the keys and the memory of readline, until Ctrl-D, or Ctrl-C twice in a row."""
    with _remembered(history):
        leaving = False
        while True:
            try:
                line = input(_PROMPT)
            except KeyboardInterrupt:
                if leaving:
                    return
                leaving = True
                click.echo("\n(once more, or /quit, to leave)", err=True)
                continue
            except EOFError:
                click.echo()
                return
            leaving = False
            yield line


@contextlib.contextmanager
def _remembered(file: Path | None) -> Iterator[None]:
    try:
        import readline
    except ImportError:  # a Python without it has plain lines
        yield
        return
    if file is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(file)
    try:
        yield
    finally:
        if file is not None:
            readline.set_history_length(MOST_LINES)
            with contextlib.suppress(OSError):
                file.touch(mode=0o600)
                readline.write_history_file(file)


def run(chat: Chat, lines: Iterator[str]) -> int:
    """Takes lines until they end or somebody leaves; what goes wrong with one is told, and the next is taken.

    Returns how many went wrong.
    """
    wrong = 0
    for text in questions(lines):
        try:
            chat.take(text)
        except Quit:
            break
        except RagAgentError as error:
            wrong += 1
            click.echo(f"error: {error}", err=True)
    return wrong


@click.command()
@where_option
@kb_option
@model_option
@embedder_option
@json_option
@click.pass_context
def chat(
    ctx: click.Context,
    filters: tuple[str, ...],
    kb: Path | None,
    model: str | None,
    embedder: str | None,
    as_json: bool,
) -> None:
    """Ask one question after another; each may refer to those before.

    /open 2 shows what a citation stands in, /help what else there is. Ctrl-C stops an answer, Ctrl-D leaves. Where the
    input is no terminal, each line is a question; with --json each answer is a line.

    \b
    Examples:
      ragagent chat
      ragagent chat --kb archive --where 'type = pdf'
      ragagent chat --json < questions.txt
    """
    context = ctx.find_object(Context)
    assert context is not None
    context.choose(kb=kb, model=model, embedder=embedder)
    where = parse_filters(filters)
    knowledge_base = context.open(llm=True)
    session = Chat(knowledge_base, where, as_json=as_json, other=lambda name: _with_model(context, name))
    with contextlib.closing(session):
        if sys.stdin.isatty():
            click.echo("Ask something about the documents; /help says what else there is.", err=True)
            # A session of somebody else keeps nothing of what is typed.
            run(session, typed(knowledge_base.path / HISTORY if knowledge_base.principal is None else None))
        elif run(session, (line.rstrip("\n") for line in sys.stdin)):
            ctx.exit(1)


def _with_model(context: Context, name: str) -> KnowledgeBase:
    """The knowledge base with that language model. Raises ModelError where there is none; all stays as it was then."""
    before = context.loaded
    context.choose(model=name)
    try:
        made = context.open(llm=True)
        try:
            _ = made.llm
        except BaseException:
            made.close()
            raise
    except BaseException:
        context.loaded = before
        raise
    return made
