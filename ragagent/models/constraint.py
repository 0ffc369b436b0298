"""Token masks from grammars, for use inside the model process only."""

from __future__ import annotations

from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelError
from ragagent.models.grammar import compiled
from ragagent.types import Grammar


class Constraint:
    """Where one generation stands in its grammar."""

    def __init__(self, grammar: Grammar, tokenizer: Any) -> None:
        """At the beginning, over the vocabulary of llguidance's `tokenizer`. Raises ModelError for a bad grammar."""
        self._matcher = llguidance.LLMatcher(tokenizer, compiled(grammar), log_level=0)
        if self._matcher.is_error():
            raise self._error("cannot be used")

    @property
    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return bool(self._matcher.is_stopped())

    def allows(self, token: int) -> bool:
        """Whether `token` may come next; costs a hundredth of `mask`."""
        return bool(self._matcher.validate_tokens([token]) == 1)

    def mask(self, vocabulary_size: int) -> npt.NDArray[np.bool_]:
        """bool[vocabulary_size]: the tokens that may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little", count=vocabulary_size).view(np.bool_)
        if self._matcher.is_error() or not allowed.any():
            raise self._error("leads nowhere")
        return allowed

    def accept(self, token: int) -> list[int]:
        """Goes on by `token`, and by the tokens that are then the only way; returns those."""
        if not self._matcher.consume_token(token):
            raise self._error("refuses a token that it allowed")
        forced: list[int] = [] if self.complete else self._matcher.compute_ff_tokens()
        if forced and not self._matcher.consume_tokens(forced):
            raise self._error("refuses its own text")
        return forced

    def _error(self, what: str) -> ModelError:
        reason = self._matcher.get_error().strip().split("\n", 1)[0]
        return ModelError(f"the grammar {what}: {reason or 'no token fits'}")
