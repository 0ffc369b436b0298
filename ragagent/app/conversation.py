"""`Conversation`: questions that follow one another, each read on top of what the model has read before."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ragagent import atomic
from ragagent.access import Principal
from ragagent.answer import compose, history
from ragagent.errors import ConfigError
from ragagent.jsonable import jsonable
from ragagent.protocols import LLM
from ragagent.retrieve import compress, pack
from ragagent.settings import Settings
from ragagent.types import Answer, AnswerEvent, AnswerStyle, Chunk, Document, Evidence, Message, Passage, Span, digest
from ragagent.where import Where

FOLDER = "conversations"
MAX_TURNS = 50
"""Older turns are forgotten."""
_MAX_FILE_BYTES = 16 * 1024 * 1024
_IDENTIFIER = re.compile(r"[a-z0-9]{1,32}")
_FEW_TERMS = 2
_RECEIPT = "(Other passages that were read here are left out; the answer did not cite them.)"
# Words that refer to what was said before. In other languages few terms are the sign.
_REFERRING = re.compile(
    r"\b(?:it|its|they|them|theirs?|he|him|his|she|hers?|this|that|these|those|there|then|ones?"
    r"|er|sie|es|ihn|ihm|ihre?|seine?|diese?[rs]?|dort|ils?|elles?|lui|leur|cela|ello|ella)\b",
    re.IGNORECASE,
)


class Asked(Protocol):
    """What a conversation needs of the knowledge base that it is about."""

    @property
    def path(self) -> Path: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def principal(self) -> Principal | None: ...

    @property
    def llm(self) -> LLM: ...

    def document(self, document_id: str) -> Document | None: ...

    def chunks(self, document_id: str) -> Sequence[Chunk]: ...

    def ask_stream(
        self,
        question: str,
        *,
        where: Where | None = None,
        after: Conversation | None = None,
        style: AnswerStyle | None = None,
    ) -> Generator[AnswerEvent]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A piece of a document that was read, and the digest of its text then."""

    document_id: str
    span: Span
    digest: str

    def holds(self, document: Document) -> bool:
        """Whether the document still has there what was read."""
        return digest(self.span.of(document.text)) == self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question with its answer. `asked` is the message as the model read it, `brief` with the cited evidence alone.

    `read` and `cited` are the pieces of documents that stand in the one and in the other, `quoted` the words that the
    answer cites, which may have been read for an earlier question.
    """

    question: str
    text: str
    status: str
    reason: str = ""
    asked: str = ""
    brief: str = ""
    read: tuple[Mark, ...] = ()
    cited: tuple[Mark, ...] = ()
    quoted: tuple[Mark, ...] = ()
    short: bool = False
    """Whether `brief` is what the model reads of it by now."""

    def messages(self) -> tuple[Message, ...]:
        """The turn as the model reads it before a later question; a refused one is left out."""
        if self.status == "refused":
            return ()
        asked = self.brief if self.short else self.asked
        return Message(role="user", content=asked), Message(role="assistant", content=self.text)

    def marks(self) -> tuple[Mark, ...]:
        """The pieces that stand in `messages`."""
        if self.status == "refused":
            return ()
        return self.cited if self.short else self.read


class Conversation:
    """Questions and answers over one knowledge base; `id` names it, `turns` are the last `MAX_TURNS` of them.

    One question at a time: a second one while an answer is under way raises ConfigError.
    """

    def __init__(self, kb: Asked, *, identifier: str | None = None, turns: Sequence[Turn] = ()) -> None:
        """A new one; `KnowledgeBase.conversation` makes and loads them."""
        self.id = identifier or secrets.token_hex(8)
        self._kb = kb
        self._turns = list(turns)
        self._busy = threading.Lock()
        self._last: Evidence | None = None
        self._ahead: tuple[Passage, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was asked and answered, the oldest first."""
        return tuple(self._turns)

    def ask(self, question: str, *, where: Where | None = None, style: AnswerStyle | None = None) -> Answer:
        """The answer to the next question, which may refer to those before; `style` as `KnowledgeBase.ask` has it."""
        *_, last = self.stream(question, where=where, style=style)
        assert last.answer is not None
        return last.answer

    def stream(
        self, question: str, *, where: Where | None = None, style: AnswerStyle | None = None
    ) -> Generator[AnswerEvent]:
        """As `ask`, piece by piece. An answer whose stream is closed before its end is not remembered."""
        if not self._busy.acquire(blocking=False):
            raise ConfigError(f"conversation {self.id} is still answering: wait for it, or close its stream")
        try:
            self._fit()
            past = self.past()
            with contextlib.closing(self._kb.ask_stream(question, where=where, after=self, style=style)) as events:
                for event in events:
                    if event.answer is not None:
                        self._remember(event.answer, past)
                    yield event
        finally:
            self._busy.release()

    def prepare(self) -> int:
        """Reads ahead, for a next question about the same passages; how many tokens, 0 where there is nothing to read.

        What the last answer's passages were taken from is read whole, at most half of `answer.evidence_tokens`. Call
        it while the answer is being read; `LlamaModel.cancel` ends it, and what was read by then counts.
        """
        if self._last is None or not self._busy.acquire(blocking=False):
            return 0
        try:
            llm, past = self._kb.llm, dataclasses.replace(self.past(), ahead=())
            found = [
                one
                for passage in self._last.passages
                for one in history.around(passage, self._kb.chunks(passage.document_id), past)
            ]
            self._last, room = None, self._kb.settings.answer.evidence_tokens // 2
            while found and llm.count_tokens(pack.rendered(found)) > room:
                found.pop()
            self._ahead = tuple(found)
            if not found:
                return 0
            asked = compose.messages("", Evidence(question=""), llm, past=self.past())
            usage = llm.chat(asked, max_tokens=1).usage
            return usage.prompt_tokens - usage.reused_tokens
        finally:
            self._busy.release()

    def past(self) -> history.Past:
        """What the model reads before the next question; turns whose evidence has changed or is gone are left out."""
        turns = [turn for turn in self._turns if self._stands(turn)]
        shown: dict[str, list[Span]] = {}
        for mark in (mark for turn in turns for mark in turn.marks()):
            shown.setdefault(mark.document_id, []).append(mark.span)
        ahead = tuple(passage for passage in self._ahead if self._kb.document(passage.document_id) is not None)
        messages = tuple(message for turn in turns for message in turn.messages())
        return history.Past(messages=messages, shown=shown, ahead=ahead)

    def prompts(self) -> tuple[tuple[Message, ...], ...]:
        """What the model reads by now for each question that was not refused, for `ragagent.answer.linter`."""
        turns = [turn for turn in self._turns if turn.status != "refused"]
        system = compose.messages("", Evidence(question=""), self._kb.llm)[0]
        before = [tuple(message for turn in turns[:at] for message in turn.messages()) for at in range(len(turns))]
        return tuple(
            (system, *past, Message(role="user", content=turn.asked)) for past, turn in zip(before, turns, strict=True)
        )

    def said(self) -> tuple[Message, ...]:
        """The last questions and answers without evidence, for understanding what a question refers to."""
        return tuple(
            message
            for turn in self._turns[-3:]
            for message in (
                Message(role="user", content=turn.question),
                Message(role="assistant", content=turn.text or turn.reason),
            )
        )

    def meant(self, question: str) -> str:
        """What to search for: the question, with the one before where it is short or refers to it by a pronoun."""
        follows = "follow-up" in self._kb.settings.retrieval.understand
        if not self._turns or follows or not _leans(question):
            return question
        return f"{question} {self._turns[-1].question}"

    @property
    def saved_at(self) -> float:
        """When it was saved last, in seconds since the epoch; 0 where it was not."""
        file = _file(self._kb, self.id)
        return file.stat().st_mtime if file.exists() else 0.0

    def save(self) -> Path:
        """Writes it to the knowledge base's folder, for `KnowledgeBase.conversation(id)`; the file."""
        file = _file(self._kb, self.id)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = {"principal": _whose(self._kb), "turns": jsonable(self._turns)}
        atomic.write(file, json.dumps(data))
        return file

    def forget(self) -> None:
        """Removes the saved conversation, if there is one, and all turns."""
        self._turns.clear()
        _file(self._kb, self.id).unlink(missing_ok=True)

    @classmethod
    def load(cls, kb: Asked, identifier: str) -> Conversation:
        """A saved one. Raises ConfigError where there is none of this id for whom the session is for, or it is torn."""
        data = _read(kb, identifier)
        if data is None:
            raise ConfigError(f"there is no conversation {identifier!r}; begin one without an id")
        return cls(kb, identifier=identifier, turns=data)

    def _remember(self, answer: Answer, past: history.Past) -> None:
        self._turns.append(self._turn(answer, past))
        self._ahead = ()
        self._last = answer.evidence if answer.status != "refused" else None
        del self._turns[:-MAX_TURNS]

    def _turn(self, answer: Answer, past: history.Past) -> Turn:
        evidence = answer.evidence
        turn = Turn(
            question=answer.question,
            text=answer.text,
            status=answer.status,
            reason=answer.reason,
            quoted=self._quoted(answer),
        )
        if evidence is None or answer.status == "refused":
            return turn
        cited: dict[str, list[Span]] = {}
        for citation in answer.citations:
            if citation.span is not None:
                cited.setdefault(citation.document_id, []).append(citation.span)
        new = dataclasses.replace(evidence, passages=past.unread(evidence.passages))
        brief = dataclasses.replace(evidence, passages=history.kept(new.passages, cited))
        asked, short = (compose.messages(answer.question, one, self._kb.llm)[-1].content for one in (new, brief))
        if len(brief.passages) < len(new.passages):
            short = f"{_RECEIPT}\n{short}"
        return dataclasses.replace(
            turn, asked=asked, brief=short, read=self._marks(new.passages), cited=self._marks(brief.passages)
        )

    def _quoted(self, answer: Answer) -> tuple[Mark, ...]:
        places = [(self._kb.document(one.document_id), one.span) for one in answer.citations]
        return tuple(_mark(document, span) for document, span in places if document is not None and span is not None)

    def _marks(self, passages: Sequence[Passage]) -> tuple[Mark, ...]:
        found = []
        for document_id, spans in history.spans(passages).items():
            document = self._kb.document(document_id)
            if document is not None:
                found += [_mark(document, span) for span in spans]
        return tuple(found)

    def _stands(self, turn: Turn) -> bool:
        """Whether all that was read for a turn is still there, unchanged, and may be read."""
        documents = {mark.document_id: self._kb.document(mark.document_id) for mark in turn.read}
        return all((document := documents[mark.document_id]) is not None and mark.holds(document) for mark in turn.read)

    def _fit(self) -> None:
        """Keeps the history within its budget, in few large steps, for each has the whole prompt read again."""
        settings, llm = self._kb.settings.answer, self._kb.llm
        room = llm.context_tokens - settings.evidence_tokens - settings.max_tokens - 256
        budget = max(0, min(settings.history_tokens, room))
        if self._tokens() <= budget:
            return
        self._turns = [dataclasses.replace(turn, short=True) for turn in self._turns]
        while self._turns and self._tokens() > budget // 2:
            del self._turns[0]

    def _tokens(self) -> int:
        return sum(self._kb.llm.count_tokens(one.content) + 8 for turn in self._turns for one in turn.messages())


def saved(kb: Asked) -> tuple[str, ...]:
    """The ids of the saved conversations of whom `kb` is for, the last saved first; none for who is no user.

    Those who are no users are not told apart: each knows only the ids that were given to them.
    """
    if kb.principal is not None and kb.principal.user is None:
        return ()
    files = sorted((kb.path / FOLDER).glob("*.json"), key=lambda file: (-file.stat().st_mtime, file.name))
    return tuple(file.stem for file in files if _IDENTIFIER.fullmatch(file.stem) and _read(kb, file.stem) is not None)


def prune(kb: Asked) -> None:
    """Removes the saved conversations, of anybody, that hold words of documents which are gone or have changed."""
    for file in (kb.path / FOLDER).glob("*"):
        data = _parsed(file)
        whole = data is not None and all(Conversation(kb)._stands(turn) for turn in data[1])
        if not whole:
            file.unlink(missing_ok=True)


def _leans(question: str) -> bool:
    return len(compress.question_terms(question)) <= _FEW_TERMS or _REFERRING.search(question) is not None


def _mark(document: Document, span: Span) -> Mark:
    return Mark(document_id=document.id, span=span, digest=digest(span.of(document.text)))


def _file(kb: Asked, identifier: str) -> Path:
    if not _IDENTIFIER.fullmatch(identifier):
        raise ConfigError(f"{identifier!r} is no id of a conversation: up to 32 letters a to z and digits")
    return kb.path / FOLDER / f"{identifier}.json"


def _whose(kb: Asked) -> str | None:
    """Whom a conversation belongs to: a user whatever the groups, the owner (None), or all that are nobody."""
    if kb.principal is None:
        return None
    return str(kb.principal) if kb.principal.user is None else f"user:{kb.principal.user}"


def _read(kb: Asked, identifier: str) -> list[Turn] | None:
    """The turns of a saved conversation; None where there is none of this session's principal."""
    data = _parsed(_file(kb, identifier))
    return data[1] if data is not None and data[0] == _whose(kb) else None


def _parsed(file: Path) -> tuple[Any, list[Turn]] | None:
    """Whose a conversation is, and its turns; None for a file that is missing, too large or no conversation."""
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            return None
        data = json.loads(file.read_text(encoding="utf-8"))
        return data["principal"], [_turn(item) for item in data["turns"][-MAX_TURNS:]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _turn(item: Any) -> Turn:
    texts = {name: str(item[name]) for name in ("question", "text", "status", "reason", "asked", "brief")}
    read, cited, quoted = (tuple(_mark_of(mark) for mark in item[name]) for name in ("read", "cited", "quoted"))
    return Turn(**texts, read=read, cited=cited, quoted=quoted, short=bool(item["short"]))


def _mark_of(item: Any) -> Mark:
    start, end = item["span"]
    return Mark(document_id=str(item["document_id"]), span=Span(int(start), int(end)), digest=str(item["digest"]))
