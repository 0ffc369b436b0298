"""No language model: what counts tokens where there is none, and says so to whoever asks it something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragagent.errors import ConfigError
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec

NAME = "none"
"""The setting llm.model that asks for no model."""
_CHARS_PER_TOKEN = 3
"""Fewer than a token has on average, so that a budget is kept where no tokenizer is there to count."""


class NoModel:
    """Stands where a language model would. Counts are estimates; whatever is asked raises ConfigError."""

    name = NAME
    context_tokens = 8192
    constrains = False

    def count_tokens(self, text: str) -> int:
        """About as many tokens as a model would make of `text`, rather more than fewer."""
        return -(-len(text) // _CHARS_PER_TOKEN)

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
        raise ConfigError("this needs a language model, and llm.model is none: name one, as in --set llm.model=NAME")

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
        yield Delta(text="", completion=self.chat(messages))

    def close(self) -> None:
        """Nothing to end."""
