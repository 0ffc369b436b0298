"""Reading one value of a bounded type out of a text, so that whoever asks never sees the text.

The model is shown the text, the question and nothing else, and is decoded under a grammar of that one type: a choice
of those given, a number within bounds, a date, or a short run of words that the text holds. Whatever a text orders,
what comes out is such a value, checked once more here. A value is still what the text's author wanted it to be: its
label is untrusted, and says what it is (`bounded:number`). The policy treats it as it treats any untrusted value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeAlias

from ragagent import prompts
from ragagent.errors import ConfigError, ModelError, ToolError
from ragagent.models import grammar
from ragagent.protocols import LLM
from ragagent.tools.documents import HANDLE_KEY, Found, Left
from ragagent.types import Document, Grammar, Message, Sampling, ToolSpec, Usage

Kind: TypeAlias = Literal["choice", "number", "date", "span"]
Value: TypeAlias = str | int | float | date

MAX_SPAN_CHARS = 80
"""A span can hold words that are meant for whoever reads it: it is kept short, and on one line."""
MAX_OPTIONS, MAX_OPTION_CHARS = 12, 60
_MAX_QUESTION_CHARS = 300
_PAGE_CHARS = 6000
_LARGEST = 1e15
_GREEDY = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A type of values. `options` are those of a choice; a number lies between `least` and `most`."""

    kind: Kind
    options: tuple[str, ...] = ()
    least: float = -_LARGEST
    most: float = _LARGEST

    def __post_init__(self) -> None:
        if self.kind == "choice" and not 2 <= len(set(self.options)) == len(self.options) <= MAX_OPTIONS:
            raise ConfigError(f"a choice is between 2 to {MAX_OPTIONS} different options; given: {list(self.options)}")
        if any(not one.strip() or len(one) > MAX_OPTION_CHARS or not one.isprintable() for one in self.options):
            raise ConfigError(f"an option is one line of 1 to {MAX_OPTION_CHARS} characters")
        if not -_LARGEST <= self.least <= self.most <= _LARGEST:
            raise ConfigError(f"a number lies between two bounds of at most 1e15; given: {self.least} and {self.most}")


def read_bounded(llm: LLM, text: str, question: str, bounded: Bounded) -> Value | None:
    """The value of that type that `text` gives for `question`; None where it gives none.

    Raises ToolError where the model wrote something else, which a model that is held to a grammar does not, and
    ConfigError for one that cannot be held to it.
    """
    return _read(llm, text, question, bounded)[0]


def _read(llm: LLM, text: str, question: str, bounded: Bounded) -> tuple[Value | None, Usage]:
    if not llm.constrains:
        raise ConfigError(f"{llm.name} cannot be held to a grammar, and so reads nothing in quarantine")
    # The text first: a small model that reads the question before it says of everything that it is not given.
    asked = f"Question: {' '.join(question.split())[:_MAX_QUESTION_CHARS]}\nWrite {_asked(bounded)}."
    user = f"Text:\n```\n{text}\n```\n\n{asked}"
    completion = llm.chat(
        [Message(role="system", content=prompts.load("quarantine").render()), Message(role="user", content=user)],
        max_tokens=2 * MAX_SPAN_CHARS,
        sampling=_GREEDY,
        grammar=_grammar(bounded),
    )
    try:
        written = json.loads(completion.text)
    except (ValueError, RecursionError):
        raise ToolError("no value could be read: the model did not write one") from None
    return None if written is None else _checked(written, text, bounded), completion.usage


def _asked(bounded: Bounded) -> str:
    return {
        "choice": f"one of: {'; '.join(bounded.options)}",
        "number": "a number, in digits alone",
        "date": "a date, as YYYY-MM-DD",
        "span": f"words of the text as they stand, at most {MAX_SPAN_CHARS} characters",
    }[bounded.kind]


def _grammar(bounded: Bounded) -> Grammar:
    values: dict[Kind, dict[str, Any]] = {
        "choice": {"enum": list(bounded.options)},
        "number": {"type": "number", "minimum": bounded.least, "maximum": bounded.most},
        "date": {"type": "string", "pattern": r"^[12][0-9]{3}-[01][0-9]-[0-3][0-9]$"},
        "span": {"type": "string", "minLength": 1, "maxLength": MAX_SPAN_CHARS},
    }
    return grammar.json_schema({"anyOf": [values[bounded.kind], {"type": "null"}]})


def _checked(written: Any, text: str, bounded: Bounded) -> Value:
    """The value, held to its type again: a grammar says nothing of the days of a month, or of what a text holds."""
    if bounded.kind == "choice" and isinstance(written, str) and written in bounded.options:
        return written
    number = isinstance(written, int | float) and not isinstance(written, bool)
    if bounded.kind == "number" and number and bounded.least <= written <= bounded.most:
        return float(written) if isinstance(written, float) else int(written)
    if bounded.kind == "date" and isinstance(written, str):
        try:
            return date.fromisoformat(written)
        except ValueError:
            raise ToolError("no value could be read: there is no such day") from None
    if bounded.kind == "span" and isinstance(written, str) and 0 < len(written) <= MAX_SPAN_CHARS:
        if written.isprintable() and written in text:
            return written
        raise ToolError("no value could be read: what the model wrote does not stand in the text")
    raise ToolError(f"no value could be read: what the model wrote is no {bounded.kind} of those asked for")


def read_value(
    document: Callable[[str], Document | None], llm: LLM, *, page_chars: int = _PAGE_CHARS
) -> QuarantinedReading:
    """A tool that reads one bounded value out of a document without showing the agent a word of it."""
    return QuarantinedReading(document, llm, page_chars)


class QuarantinedReading:
    """`read_value`. Made again with the same arguments it is another reading, so no passages are kept of it."""

    def __init__(self, document: Callable[[str], Document | None], llm: LLM, page_chars: int) -> None:
        self._document = document
        self._llm = llm
        self._page_chars = page_chars

    @property
    def spec(self) -> ToolSpec:
        option = {"type": "string", "minLength": 1, "maxLength": MAX_OPTION_CHARS}
        properties = {
            "document": {"type": "string", "description": "id of a document", HANDLE_KEY: "document"},
            "question": {
                "type": "string",
                "description": "which value of the document is wanted",
                "minLength": 1,
                "maxLength": _MAX_QUESTION_CHARS,
            },
            "kind": {"enum": ["choice", "number", "date", "span"]},
            "options": {"type": "array", "items": option, "maxItems": MAX_OPTIONS, "description": "of a choice"},
            "start": {"type": "integer", "description": "character offset to read from", "minimum": 0, "default": 0},
        }
        return ToolSpec(
            name="read_value",
            description="Reads one value out of a document without showing its text: a choice, number, date or span.",
            parameters={
                "type": "object",
                "properties": properties,
                "required": ["document", "question", "kind"],
                "additionalProperties": False,
            },
            effects=("read",),
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self.delegate(arguments, Left()).content

    def delegate(self, arguments: Mapping[str, Any], left: Left) -> Found:
        """The value as text, the document, and what kind of value it is. Raises ToolError."""
        source = self._document(str(arguments["document"]))
        if source is None:
            raise ToolError(f"there is no document {arguments['document']!r}; list the documents to see their ids")
        start = int(arguments.get("start", 0))
        text = source.text[start : start + self._page_chars]
        if not text:
            raise ToolError(f"the document has {len(source.text)} characters; start={start} is behind its end")
        options: Sequence[str] = arguments.get("options", ())
        try:
            bounded = Bounded(kind=arguments["kind"], options=tuple(options) if arguments["kind"] == "choice" else ())
            value, usage = _read(self._llm, text, str(arguments["question"]), bounded)
        except (ConfigError, ModelError) as error:
            raise ToolError(str(error)) from error
        rest = len(source.text) - start - len(text)
        if value is None:
            more = f"; {rest} characters follow: go on with start={start + len(text)}" if rest else ""
            return Found(content=f"not given there{more}", documents=(source.id,), bounded=bounded.kind, usage=usage)
        return Found(content=str(value), documents=(source.id,), bounded=bounded.kind, usage=usage)
