"""The tools by which an agent remembers facts and recalls them in later runs.

What is recalled comes with the label that was kept with it: what was written after reading a document is no more
trusted in the next run than it was in that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from ragagent.errors import ConfigError, ToolError
from ragagent.protocols import Tool
from ragagent.tools.documents import DocumentTool, Found
from ragagent.types import UNTRUSTED, Fact, Label, ToolSpec

MAX_CHARS = 500
"""A longer text is no fact: it belongs into a document."""
_MAX_QUERY_CHARS = 300
_MAX_KEPT = 10
"""So many facts may one run remember."""
_CAME = {
    "user": "said by the user",
    "task": "noted from a task of the user",
    "derived": "noted from what was read, not said by the user",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What is kept with a fact that a run remembers: the label of all that went into it, and the step it came from."""

    label: Label = UNTRUSTED
    run_id: str = ""
    step: int = 0


@runtime_checkable
class RememberingTool(Protocol):
    """A tool that keeps something for later runs. What it keeps for one step of a run it keeps once."""

    @property
    def spec(self) -> ToolSpec: ...

    def call(self, arguments: Mapping[str, Any]) -> str: ...

    def note(self, arguments: Mapping[str, Any], noted: Noted) -> Found: ...


@runtime_checkable
class RecallingTool(DocumentTool, Protocol):
    """A tool that shows facts. Those that the user said need no document; what a run noted does, as any text does."""

    @property
    def recalls(self) -> bool: ...


class Keep(Protocol):
    """Keeps a text as a fact, once for each step of a run. Raises ConfigError where it cannot be kept."""

    def __call__(self, text: str, *, label: Label, run_id: str, step: int) -> Fact: ...


def remember(keep: Keep) -> Tool:
    """A tool that remembers one fact. It writes, so the policy decides on what was read before it.

    Made again for the same step it keeps nothing twice, so a run that was killed within it goes on without asking.
    """
    return _Remember(keep)


@dataclass(frozen=True, slots=True)
class _Remember:
    keep: Keep

    @property
    def spec(self) -> ToolSpec:
        text = {
            "type": "string",
            "description": "the fact, in one sentence that can be understood on its own",
            "minLength": 1,
            "maxLength": MAX_CHARS,
        }
        return ToolSpec(
            name="remember",
            description="Remembers one fact for later tasks, such as a wish of the user or a result that lasts.",
            parameters={
                "type": "object",
                "properties": {"text": text},
                "required": ["text"],
                "additionalProperties": False,
            },
            effects=("write",),
            idempotent=True,
            max_calls=_MAX_KEPT,
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Remembers it as something that nobody answers for: only a run knows what went into it."""
        return self.note(arguments, Noted()).content

    def note(self, arguments: Mapping[str, Any], noted: Noted) -> Found:
        try:
            fact = self.keep(arguments["text"], label=noted.label, run_id=noted.run_id, step=noted.step)
        except ConfigError as error:
            raise ToolError(str(error)) from error
        # Nothing but what the call said: with no label of its own it is as trusted as that.
        return Found(content=f"Remembered: {fact.text}", labels=())


def recall(search: Callable[[str, int], Sequence[Fact]], *, k: int = 5) -> RecallingTool:
    """A tool that shows the k facts that fit a query best, with how each came. They are no documents to be cited."""
    return _Recall(search, k)


@dataclass(frozen=True, slots=True)
class _Recall:
    search: Callable[[str, int], Sequence[Fact]]
    k: int
    recalls: bool = True

    @property
    def spec(self) -> ToolSpec:
        query = {
            "type": "string",
            "description": "what to recall, in a few words",
            "minLength": 1,
            "maxLength": _MAX_QUERY_CHARS,
        }
        return ToolSpec(
            name="recall",
            description="Recalls what was remembered in earlier tasks: wishes of the user, and results that last.",
            parameters={
                "type": "object",
                "properties": {"query": query},
                "required": ["query"],
                "additionalProperties": False,
            },
            effects=("read",),
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self.find(arguments).content

    def find(self, arguments: Mapping[str, Any]) -> Found:
        """The facts, with the label that each was kept with. Raises ToolError for a query without a word."""
        try:
            found = self.search(arguments["query"], self.k)
        except ConfigError as error:
            raise ToolError(str(error)) from error
        if not found:
            return Found(content="Nothing is remembered about that.", labels=())
        lines = [f"[{number}] {_told(fact)}" for number, fact in enumerate(found, 1)]
        return Found(content="\n".join(lines), labels=tuple(map(_label, found)))


def _told(fact: Fact) -> str:
    day = datetime.fromtimestamp(fact.at, UTC).strftime("%Y-%m-%d")
    return f"({day}, {_CAME[fact.came]}) {fact.text}"


def _label(fact: Fact) -> Label:
    return replace(fact.label, sources=tuple(sorted({*fact.label.sources, f"memory:{fact.id}"})))
