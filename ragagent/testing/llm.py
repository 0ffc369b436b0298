"""A language model that says what a test wants it to say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ragagent.errors import ConfigError, ContextOverflow, ModelError
from ragagent.models.grammar import check
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec, Usage

Reply = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the model was asked."""

    messages: tuple[Message, ...]
    max_tokens: int
    sampling: Sampling | None
    grammar: Grammar | None
    tools: tuple[ToolSpec, ...]


class ScriptedLLM:
    """Answers from a list, in order, or by a function of the messages; keeps every request in `requests`.

    A token is four characters, so counts, limits and the context behave as with a model: a longer reply is cut with
    finish `length`, a longer prompt raises ContextOverflow. A grammar is checked for validity and not enforced.
    """

    constrains = True

    def __init__(
        self,
        replies: Sequence[str] | Reply,
        *,
        context_tokens: int = 8192,
        name: str = "scripted",
        constrains: bool = True,
    ) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.constrains = constrains
        self.requests: list[Request] = []
        self._reply = replies if callable(replies) else _in_order(replies)
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        return (len(text) + 3) // 4

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Completion:
        if max_tokens < 1:
            raise ConfigError(f"max_tokens = {max_tokens}: must be at least 1")
        if grammar is not None:
            check(grammar)
        prompt_tokens = sum(self.count_tokens(message.content) for message in messages)
        if prompt_tokens + max_tokens > self.context_tokens:
            raise ContextOverflow(
                f"the prompt has {prompt_tokens} tokens and up to {max_tokens} are to be written, but the context "
                f"holds {self.context_tokens}"
            )
        request = Request(
            messages=tuple(messages), max_tokens=max_tokens, sampling=sampling, grammar=grammar, tools=tuple(tools)
        )
        with self._lock:
            self.requests.append(request)
            text = self._reply(messages)
        kept = text[: max_tokens * 4]
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=self.count_tokens(kept), calls=1)
        return Completion(text=kept, finish="stop" if kept == text else "length", usage=usage)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Iterator[Delta]:
        completion = self.chat(messages, max_tokens=max_tokens, sampling=sampling, grammar=grammar, tools=tools)
        for start in range(0, len(completion.text), 4):
            yield Delta(text=completion.text[start : start + 4])
        yield Delta(text="", completion=completion)

    def close(self) -> None:
        """Nothing to end."""


def _in_order(replies: Sequence[str]) -> Reply:
    rest = iter(replies)

    def reply(_messages: Sequence[Message]) -> str:
        for text in rest:
            return text
        raise ModelError(f"the script had {len(replies)} replies and all were used: add one for this request")

    return reply
