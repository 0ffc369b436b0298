"""Generation with a GGUF model on llama.cpp's own interface, for use inside the model process only.

One sequence lives in the KV cache; the next prompt keeps whatever prefix it shares with it. Everything that makes
llama.cpp abort is checked before it is called: a batch never exceeds its size, a sequence never its context.
"""

from __future__ import annotations

import codecs
import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import llama_cpp.llama_cpp as C
import numpy as np

from ragagent.errors import ContextOverflow, ModelError
from ragagent.models.chat_template import ChatTemplate
from ragagent.models.constraint import Constraint
from ragagent.models.llama_load import last_words, load
from ragagent.models.llama_vocabulary import Vocabulary
from ragagent.models.sampling import choose, log_probability, penalised
from ragagent.models.wire import LoadOptions
from ragagent.types import Grammar, Sampling

_ABORTED = 2
# More than the 2 to 3 tokens under which some matrix kernels are not used, so that loading finds a faulty one.
_PROBE_TOKENS = 32


@dataclass(slots=True)
class Outcome:
    """How a generation ended and what it cost, in tokens and seconds."""

    finish: Literal["stop", "length", "cancelled"] = "length"
    prompt_tokens: int = 0
    reused_tokens: int = 0
    completion_tokens: int = 0
    prompt_seconds: float = 0.0
    completion_seconds: float = 0.0
    mean_logprob: float | None = None


class Cancel:
    """A switch that stops llama.cpp at its next graph node, from any thread."""

    def __init__(self) -> None:
        self._cell = ctypes.create_string_buffer(2)
        # llama.cpp asks between all nodes of a graph. `strlen` answers that natively (0 for an empty string), where
        # a Python callback would take the interpreter lock hundreds of times a token.
        self.callback = ctypes.cast(ctypes.CDLL(None).strlen, C.ggml_abort_callback)
        self.data = ctypes.cast(self._cell, ctypes.c_void_p)

    def set(self) -> None:
        self._cell[0] = b"!"

    def clear(self) -> None:
        self._cell[0] = b"\0"

    def __bool__(self) -> bool:
        return self._cell[0] != b"\0"


class Cancelled(Exception):
    """llama.cpp stopped because it was asked to."""


class Engine:
    """A loaded model with its context."""

    def __init__(self, options: LoadOptions, progressed: Callable[[int], None]) -> None:
        """Loads; `progressed` is told of each piece of work. Raises ModelLoadError with llama.cpp's own words."""
        self.cancel = Cancel()
        self._progressed = progressed
        self._loaded = load(options, progressed)
        self._context = self._loaded.context
        self._memory = C.llama_get_memory(self._context)
        self._cached: list[int] = []
        self.vocabulary = Vocabulary(self._loaded.model)
        self.context_tokens = int(C.llama_n_ctx(self._context))
        self._batch_tokens = min(options.batch_tokens, int(C.llama_n_batch(self._context)))
        self._template = self._open_template()
        C.llama_set_abort_callback(self._context, self.cancel.callback, self.cancel.data)
        self._drops_part = self._probe()

    def description(self) -> dict[str, Any]:
        """Facts about the loaded model, for the application."""
        return {
            "context_tokens": self.context_tokens,
            "gpu_layers": self._loaded.gpu_layers,
            "description": self._loaded.description,
            "keeps_prefix": self._drops_part,
        }

    def prompt(self, messages: Sequence[dict[str, str]], tools: Sequence[dict[str, Any]]) -> list[int]:
        """Tokens of a conversation, up to where the assistant writes."""
        tokens = self.vocabulary.tokenize_parts(self._template.render(messages, tools))
        if not tokens:
            raise ModelError("the model's chat template makes an empty prompt of this conversation")
        return tokens

    def generate(
        self, prompt: list[int], max_tokens: int, sampling: Sampling, grammar: Grammar | None
    ) -> Iterator[str | Outcome]:
        """Pieces of text as they are written, and at the end the Outcome."""
        self._check_room(len(prompt), max_tokens)
        constraint = Constraint(grammar, self.vocabulary.constraint_tokenizer) if grammar is not None else None
        outcome = Outcome(prompt_tokens=len(prompt))
        begin = time.perf_counter()
        try:
            outcome.reused_tokens = self._reuse(prompt)
            self._decode(prompt[outcome.reused_tokens :])
            read = time.perf_counter()
            outcome.prompt_seconds = read - begin
            yield from self._write(max_tokens, sampling, constraint, outcome)
            outcome.completion_seconds = time.perf_counter() - read
        except Cancelled:
            outcome.finish = "cancelled"
        yield outcome

    def log_likelihood(self, prompt: list[int], text: str) -> float:
        """The mean log-probability of the tokens of `text` after `prompt`. Raises Cancelled, or ModelError."""
        tokens = self.vocabulary.tokenize(text)
        if not tokens:
            raise ModelError("a text without tokens has no likelihood")
        self._check_room(len(prompt), len(tokens))
        self._decode(prompt[self._reuse(prompt) : -1])
        given = [prompt[-1], *tokens[:-1]]
        found: list[float] = []
        for start in range(0, len(tokens), self._batch_tokens):
            wanted = tokens[start : start + self._batch_tokens]
            self._decode_all(given[start : start + self._batch_tokens])
            found += [log_probability(self._logits(at), token) for at, token in enumerate(wanted)]
        return float(np.mean(found))

    def _decode_all(self, tokens: Sequence[int]) -> None:
        """As `_decode`, for one batch, with the logits of every token."""
        batch = C.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for at, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, len(self._cached) + at
                batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, 0, 1
            self._run(batch, tokens)
        finally:
            C.llama_batch_free(batch)

    def _check_room(self, prompt_tokens: int, max_tokens: int) -> None:
        if prompt_tokens + max_tokens > self.context_tokens:
            raise ContextOverflow(
                f"the prompt has {prompt_tokens} tokens and up to {max_tokens} are to be written, but the context "
                f"holds {self.context_tokens}: shorten the prompt, lower max_tokens or raise llm.context_tokens"
            )

    def _write(
        self, max_tokens: int, sampling: Sampling, constraint: Constraint | None, outcome: Outcome
    ) -> Iterator[str]:
        random = np.random.default_rng(sampling.seed)
        # Bytes of an unfinished character stay in the decoder until the rest of it comes, or are dropped at the end.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        written: list[int] = []
        logprobs: list[float] = []
        while True:
            logits = self._logits()
            token = self._next(logits, sampling, written, random, constraint)
            if token is None:
                outcome.finish = "stop"
                return
            logprobs.append(log_probability(logits, token))
            new = [token, *(constraint.accept(token) if constraint else ())][: max_tokens - len(written)]
            written += new
            outcome.completion_tokens = len(written)
            outcome.mean_logprob = float(np.mean(logprobs))
            piece = decoder.decode(b"".join(map(self.vocabulary.spelling, new)))
            if piece:
                yield piece
            if constraint is not None and constraint.complete:
                outcome.finish = "stop"
                return
            if len(written) == max_tokens:
                return
            self._decode(new)

    def _next(
        self,
        logits: Any,
        sampling: Sampling,
        written: Sequence[int],
        random: np.random.Generator,
        constraint: Constraint | None,
    ) -> int | None:
        """The next token; None where the text ends."""
        scores = penalised(logits, written, sampling.repeat_penalty)
        favourite = int(np.argmax(scores)) if sampling.temperature <= 0 else None
        if favourite is not None and (constraint is None or constraint.allows(favourite)):
            token = favourite
        else:
            mask = constraint.mask(self.vocabulary.size) if constraint else None
            token = choose(scores, sampling, random, mask)
        return None if token in self.vocabulary.stops else token

    def _reuse(self, prompt: list[int]) -> int:
        """Cuts the cached sequence down to the prefix it shares with `prompt`; how many tokens that is.

        At least one token of the prompt stays to be decoded, because its logits are needed.
        """
        self._keep(_common_prefix(self._cached, prompt[:-1]))
        return len(self._cached)

    def _keep(self, tokens: int) -> None:
        """Drops what is cached after the first `tokens`, or everything where the model cannot drop a part."""
        if tokens and C.llama_memory_seq_rm(self._memory, 0, tokens, -1):
            self._cached = self._cached[:tokens]
            return
        C.llama_memory_clear(self._memory, True)
        self._cached = []

    def _decode(self, tokens: Sequence[int]) -> None:
        for start in range(0, len(tokens), self._batch_tokens):
            batch = list(tokens[start : start + self._batch_tokens])
            array = (C.llama_token * len(batch))(*batch)
            self._run(C.llama_batch_get_one(array, len(batch)), batch)

    def _run(self, prepared: Any, tokens: Sequence[int]) -> None:
        """Decodes a batch of llama.cpp that holds `tokens`."""
        code = _ABORTED if self.cancel else C.llama_decode(self._context, prepared)
        if code:
            # How much of the batch was done before it stopped is unknown.
            self._keep(len(self._cached))
            if code == _ABORTED:
                raise Cancelled
            raise ModelError(f"llama.cpp cannot go on (llama_decode returned {code}): {last_words()}")
        self._cached += tokens
        self._progressed(len(tokens))

    def _logits(self, at: int = -1) -> Any:
        """float32[vocabulary] of the token at that place of the last batch; valid until the next one is decoded."""
        pointer = C.llama_get_logits_ith(self._context, at)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary.size,))

    def _probe(self) -> bool:
        """Whether the end of a cached sequence can be dropped alone; recurrent and hybrid models cannot.

        It also computes something, so that a build that faults on this processor does so while loading.
        """
        self._decode([max(0, self.vocabulary.begin)] * _PROBE_TOKENS)
        dropped = bool(C.llama_memory_seq_rm(self._memory, 0, _PROBE_TOKENS - 1, -1))
        self._keep(0)
        return dropped

    def _open_template(self) -> ChatTemplate:
        source = C.llama_model_chat_template(self._loaded.model, None)
        return ChatTemplate(
            source.decode("utf-8") if source else None,
            bos=self.vocabulary.text(self.vocabulary.begin),
            eos=self.vocabulary.text(self.vocabulary.end),
            specials=tuple(self.vocabulary.specials),
        )


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    differs = np.asarray(first[:length]) != np.asarray(second[:length])
    return int(differs.argmax()) if differs.any() else length
