"""A language model around another one: everything is passed on but what a kind of it does in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict, Unpack

from ragagent.protocols import LLM
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec


class Writing(TypedDict, total=False):
    """The keyword arguments that all requests for a text share, as they are passed on."""

    max_tokens: int
    sampling: Sampling | None
    grammar: Grammar | None
    timeout_s: float | None


class Asking(Writing, total=False):
    """Those of `LLM.chat` and `LLM.stream`."""

    tools: Sequence[ToolSpec]


class Wrapped:
    """Keeps `LLM` by the model it is given, which stays the caller's: closing this one leaves that one open."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def name(self) -> str:
        return self._llm.name

    @property
    def context_tokens(self) -> int:
        return self._llm.context_tokens

    @property
    def constrains(self) -> bool:
        return self._llm.constrains

    def count_tokens(self, text: str) -> int:
        return self._llm.count_tokens(text)

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Completion:
        """As the model's own."""
        return self._llm.chat(messages, **asking)

    def stream(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Iterator[Delta]:
        """As the model's own."""
        return self._llm.stream(messages, **asking)

    def close(self) -> None:
        """Nothing: the model is somebody else's."""
