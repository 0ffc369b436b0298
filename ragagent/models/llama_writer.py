"""What one sequence of tokens writes: each token is chosen from the logits of the one before, and becomes text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence, Set
from typing import Any, Literal, Protocol

import numpy as np

from ragagent.models.constraint import Constraint
from ragagent.models.sampling import choose, log_probability, penalised
from ragagent.types import Sampling


class Spells(Protocol):
    """What is needed of a vocabulary."""

    @property
    def size(self) -> int: ...

    @property
    def stops(self) -> Set[int]: ...

    def spelling(self, token: int) -> bytes: ...


class Writer:
    """The state of one answer while it is written. `finish` is None until it has ended."""

    def __init__(
        self, vocabulary: Spells, max_tokens: int, sampling: Sampling, constraint: Constraint | None = None
    ) -> None:
        self.finish: Literal["stop", "length"] | None = None
        self.written: list[int] = []
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._sampling = sampling
        self._constraint = constraint
        self._random = np.random.default_rng(sampling.seed)
        # Bytes of an unfinished character stay in the decoder until the rest of it comes, or are dropped at the end.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._logprobs: list[float] = []

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability of the tokens that were chosen, not of those that a grammar left no choice for."""
        return float(np.mean(self._logprobs)) if self._logprobs else None

    def step(self, logits: Any) -> tuple[list[int], str]:
        """The next tokens, which have to be decoded unless the answer has ended, and the text that they complete."""
        token = self._next(logits)
        if token is None:
            self.finish = "stop"
            return [], ""
        self._logprobs.append(log_probability(logits, token))
        forced: Sequence[int] = self._constraint.accept(token) if self._constraint else ()
        new = [token, *forced][: self._max_tokens - len(self.written)]
        self.written += new
        if self._constraint is not None and self._constraint.complete:
            self.finish = "stop"
        elif len(self.written) == self._max_tokens:
            self.finish = "length"
        return new, self._decoder.decode(b"".join(map(self._vocabulary.spelling, new)))

    def _next(self, logits: Any) -> int | None:
        """The next token; None where the text ends."""
        scores = penalised(logits, self.written, self._sampling.repeat_penalty)
        favourite = int(np.argmax(scores)) if self._sampling.temperature <= 0 else None
        if favourite is not None and (self._constraint is None or self._constraint.allows(favourite)):
            token = favourite
        else:
            mask = self._constraint.mask(self._vocabulary.size) if self._constraint else None
            token = choose(scores, self._sampling, self._random, mask)
        return None if token in self._vocabulary.stops else token
