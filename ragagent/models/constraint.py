"""Token masks from grammars, for use inside the model process only: llguidance over a llama.cpp vocabulary."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as C
import llguidance
import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelError
from ragagent.models.grammar import compiled
from ragagent.types import Grammar


class Constraints:
    """Opens constraints over one vocabulary."""

    def __init__(self, vocab: Any, stops: Sequence[int]) -> None:
        self._vocab, self._stops = vocab, list(stops)
        self._tokenizer: llguidance.LLTokenizer | None = None

    def open(self, grammar: Grammar) -> Constraint:
        """A constraint at its beginning. Raises ModelError when the grammar is not valid."""
        if self._tokenizer is None:
            # Half a second for 150,000 tokens, so not before the first grammar.
            self._tokenizer = _tokenizer(self._vocab, self._stops)
        matcher = llguidance.LLMatcher(self._tokenizer, compiled(grammar), log_level=0)
        if matcher.is_error():
            raise ModelError(f"the grammar cannot be used: {_first_line(matcher.get_error())}")
        return Constraint(matcher)


class Constraint:
    """Where one generation stands in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return bool(self._matcher.is_stopped())

    def allows(self, token: int) -> bool:
        return bool(self._matcher.validate_tokens([token]) == 1)

    def mask(self, vocabulary_size: int) -> npt.NDArray[np.bool_]:
        """bool[vocabulary_size]: the tokens that may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[:vocabulary_size].astype(np.bool_)
        if self._matcher.is_error() or not allowed.any():
            raise ModelError(f"the grammar leads nowhere: {_first_line(self._matcher.get_error())}")
        return allowed

    def accept(self, token: int) -> list[int]:
        """Goes on by `token`, and by the tokens that are then the only way; returns those."""
        if not self._matcher.consume_token(token):
            raise ModelError(f"the grammar refuses a token it allowed: {_first_line(self._matcher.get_error())}")
        forced = [] if self._matcher.is_stopped() else self._matcher.compute_ff_tokens()
        if forced and not self._matcher.consume_tokens(forced):
            raise ModelError(f"the grammar refuses its own text: {_first_line(self._matcher.get_error())}")
        return list(forced)


def _tokenizer(vocab: Any, stops: list[int]) -> llguidance.LLTokenizer:
    buffer = ctypes.create_string_buffer(512)
    tokens = []
    for token in range(C.llama_vocab_n_tokens(vocab)):
        length = C.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        text = buffer.raw[: max(0, length)]
        attributes = C.llama_vocab_get_attr(vocab, token)
        tag = attributes & C.LLAMA_TOKEN_ATTR_USER_DEFINED and text[:1] == b"<" and text[-1:] == b">"
        # 0xff is llguidance's mark of a token that no text can spell.
        tokens.append(b"\xff" + text if attributes & C.LLAMA_TOKEN_ATTR_CONTROL or tag else text)
    function = ctypes.cast(C._lib.llama_tokenize, ctypes.c_void_p).value
    return llguidance.LLTokenizer.from_llamacpp(
        tokens=tokens, vocab_ptr=vocab, tokenize_fptr=function, eos_token=stops, slices=None
    )


def _first_line(message: str) -> str:
    return message.strip().split("\n", 1)[0]
