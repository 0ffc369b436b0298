"""Generation with a GGUF model on llama.cpp's own interface, for use inside the model process only.

One sequence lives in the KV cache; the next prompt keeps whatever prefix it shares with it, or with a snapshot of one
that lived there before. Everything that makes llama.cpp abort is checked before it is called: a batch never exceeds
its size, a sequence never its context.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import llama_cpp.llama_cpp as C
import numpy as np

from ragagent.errors import ContextOverflow, ModelError
from ragagent.models import llama_scoring
from ragagent.models.chat_template import ChatTemplate
from ragagent.models.constraint import Constraint
from ragagent.models.kv_snapshots import Snapshot, Snapshots, common_prefix
from ragagent.models.llama_load import identity, last_words, load
from ragagent.models.llama_scoring import Pair, Row
from ragagent.models.llama_vocabulary import Vocabulary
from ragagent.models.llama_writer import Writer
from ragagent.models.sampling import log_probability
from ragagent.models.wire import MOST_SAMPLES, LoadOptions
from ragagent.types import Grammar, Sampling

_ABORTED = 2
# More than the 2 to 3 tokens under which some matrix kernels are not used, so that loading finds a faulty one.
_PROBE_TOKENS = 32
# Fewer are read again in less time than their state takes to write, and would push out what is worth keeping.
_WORTH_KEEPING = 48


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
        self._snapshots = Snapshots(
            options.cache_bytes,
            folder=Path(options.cache_folder) if options.cache_folder else None,
            disk_bytes=options.cache_disk_bytes,
            key=identity(options),
        )
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
        constraint = self._constraint(grammar)
        outcome = Outcome(prompt_tokens=len(prompt))
        begin = time.perf_counter()
        try:
            outcome.reused_tokens = self._reuse(prompt)
            self._decode(prompt[outcome.reused_tokens :])
            read = time.perf_counter()
            outcome.prompt_seconds = read - begin
            yield from self._write(Writer(self.vocabulary, max_tokens, sampling, constraint), outcome)
            outcome.completion_seconds = time.perf_counter() - read
        except Cancelled:
            outcome.finish = "cancelled"
        yield outcome

    def samples(
        self,
        prompt: list[int],
        count: int,
        max_tokens: int,
        sampling: Sampling,
        grammar: Grammar | None,
        *,
        likeliest: bool = False,
    ) -> list[tuple[str, Outcome]]:
        """`count` answers to one prompt, which is read once, written side by side; each has a seed of its own.

        With `likeliest` the first is that of temperature 0. Its outcome has what reading the prompt cost. Each of them
        ends as `generate` does.
        """
        self._check_room(len(prompt), max_tokens * count)
        parts = [self._constraint(grammar) for _ in range(count)]
        ways = [replace(sampling, seed=sampling.seed + at) for at in range(count)]
        if likeliest:
            ways[0] = replace(ways[0], temperature=0.0)
        writers = [Writer(self.vocabulary, max_tokens, way, part) for way, part in zip(ways, parts, strict=True)]
        outcomes = [Outcome() for _ in writers]
        texts = [""] * count
        begin = time.perf_counter()
        try:
            outcomes[0].prompt_tokens, outcomes[0].reused_tokens = len(prompt), self._reuse(prompt)
            self._decode(prompt[outcomes[0].reused_tokens :])
            outcomes[0].prompt_seconds = time.perf_counter() - begin
            with self._abreast(count):
                self._write_abreast(writers, outcomes, texts)
        except Cancelled:
            for outcome, writer in zip(outcomes, writers, strict=True):
                outcome.finish = writer.finish or "cancelled"
        outcomes[0].completion_seconds = time.perf_counter() - begin - outcomes[0].prompt_seconds
        return list(zip(texts, outcomes, strict=True))

    def _constraint(self, grammar: Grammar | None) -> Constraint | None:
        return Constraint(grammar, self.vocabulary.constraint_tokenizer) if grammar is not None else None

    def _write_abreast(self, writers: Sequence[Writer], outcomes: Sequence[Outcome], texts: list[str]) -> None:
        """Sequence n + 1 is what writer n writes; all begin as copies of sequence 0, which stays the prompt."""
        places = [-1] * len(writers)
        lengths = [len(self._cached)] * len(writers)
        while True:
            news: list[list[int]] = []
            for at, writer in enumerate(writers):
                new, piece = ([], "") if writer.finish else writer.step(self._logits(places[at]))
                texts[at] += piece
                _note(outcomes[at], writer)
                news.append([] if writer.finish else new)
            if not any(news):
                return
            places = self._decode_abreast(news, lengths)

    def _decode_abreast(self, news: Sequence[Sequence[int]], lengths: list[int]) -> list[int]:
        """Decodes the new tokens of each sequence; the places in the last batch of the logits after each."""
        heads = [Row(at, lengths[at] + n, token) for at, new in enumerate(news) for n, token in enumerate(new[:-1])]
        tails = [Row(at, lengths[at] + len(new) - 1, new[-1]) for at, new in enumerate(news) if new]
        for start in range(0, len(heads), self._batch_tokens):
            self._decode_rows(heads[start : start + self._batch_tokens], logits=False)
        self._decode_rows(tails, logits=True)
        for at, new in enumerate(news):
            lengths[at] += len(new)
        order = [row.sequence for row in tails]
        return [order.index(at) if at in order else -1 for at in range(len(news))]

    def _decode_rows(self, rows: Sequence[Row], *, logits: bool) -> None:
        """Decodes rows of sequences beside the cached one, as one batch, with the logits of all or of those wanted."""
        batch = C.llama_batch_init(len(rows), 0, 1)
        try:
            batch.n_tokens = len(rows)
            for at, row in enumerate(rows):
                batch.token[at], batch.pos[at] = row.token, row.position
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, row.sequence + 1
                batch.logits[at] = int(logits or bool(row.wanted))
            self._run(batch, (), len(rows))
        finally:
            C.llama_batch_free(batch)

    def log_likelihoods(self, prompts: Sequence[list[int]], texts: Sequence[str]) -> list[float]:
        """The mean log-probability of the tokens of each text after its prompt. Raises Cancelled, or ModelError.

        What all prompts begin with is read once, and stays cached; what follows of several is read side by side.
        """
        pairs = [Pair(prompt, self.vocabulary.tokenize(text)) for prompt, text in zip(prompts, texts, strict=True)]
        for pair in pairs:
            if not pair.text:
                raise ModelError("a text without tokens has no likelihood")
            self._check_room(len(pair.prompt), len(pair.text))
        begin = llama_scoring.shared(pairs)
        self._decode(pairs[0].prompt[self._reuse(list(pairs[0].prompt[: begin + 1])) : begin])
        found: list[list[float]] = [[] for _ in pairs]
        for count, batches in llama_scoring.batches(
            pairs,
            begin,
            sequences=MOST_SAMPLES,
            batch_tokens=self._batch_tokens,
            room=self.context_tokens - begin,
        ):
            with self._abreast(count):
                for rows in batches:
                    self._decode_rows(rows, logits=False)
                    for at, row in enumerate(rows):
                        for number, token in row.wanted:
                            found[number].append(log_probability(self._logits(at), token))
        return [float(np.mean(one)) for one in found]

    @contextlib.contextmanager
    def _abreast(self, count: int) -> Iterator[None]:
        """The cached sequence with `count` copies of it, 1 to `count`, which are dropped at the end."""
        for at in range(1, count + 1):
            C.llama_memory_seq_cp(self._memory, 0, at, -1, -1)
        try:
            yield
        finally:
            for at in range(1, count + 1):
                C.llama_memory_seq_rm(self._memory, at, -1, -1)

    def _check_room(self, prompt_tokens: int, max_tokens: int) -> None:
        if prompt_tokens + max_tokens > self.context_tokens:
            raise ContextOverflow(
                f"the prompt has {prompt_tokens} tokens and up to {max_tokens} are to be written, but the context "
                f"holds {self.context_tokens}: shorten the prompt, lower max_tokens or raise llm.context_tokens"
            )

    def _write(self, writer: Writer, outcome: Outcome) -> Iterator[str]:
        while writer.finish is None:
            new, piece = writer.step(self._logits())
            _note(outcome, writer)
            if piece:
                yield piece
            if writer.finish is None:
                self._decode(new)

    def _reuse(self, prompt: list[int]) -> int:
        """Makes the cached sequence the longest known beginning of `prompt`; how many tokens that is.

        At least one token of the prompt stays to be decoded, because its logits are needed. What leaves the cache
        for it is kept as a snapshot, so that conversations can be interleaved.
        """
        if self._snapshots.forgotten():
            self._keep(0)
        wanted = prompt[:-1]
        shared = common_prefix(self._cached, wanted)
        if not self._drops_part and shared < len(self._cached):
            shared = 0
        better = self._snapshots.best(wanted, more_than=shared + _WORTH_KEEPING, whole=not self._drops_part)
        if len(self._cached) - shared >= _WORTH_KEEPING:
            self._snapshot()
        if better is not None and self._restore(better):
            shared = common_prefix(self._cached, wanted)
        self._keep(shared)
        return len(self._cached)

    def _snapshot(self) -> None:
        """Keeps the state of the cached sequence. Cost: a copy of it."""
        if self._snapshots.holds(self._cached):
            return
        size = C.llama_state_seq_get_size(self._context, 0)
        buffer = bytearray(size)
        written = C.llama_state_seq_get_data(self._context, (ctypes.c_ubyte * size).from_buffer(buffer), size, 0)
        if written:
            tokens = np.asarray(self._cached, dtype=np.int32)
            self._snapshots.put(Snapshot(tokens=tokens, data=bytes(memoryview(buffer)[:written])))

    def _restore(self, snapshot: Snapshot) -> bool:
        """Puts a snapshot in the place of the cached sequence; false, with an empty cache, where llama.cpp refuses."""
        size = len(snapshot.data)
        self._keep(0)
        data = ctypes.cast(ctypes.c_char_p(snapshot.data), ctypes.POINTER(ctypes.c_ubyte))
        if C.llama_state_seq_set_data(self._context, data, size, 0) != size:
            self._keep(0)
            return False
        self._cached = snapshot.tokens.tolist()
        return True

    def _keep(self, tokens: int) -> None:
        """Drops what is cached after the first `tokens`, or everything where the model cannot drop a part."""
        if tokens and C.llama_memory_seq_rm(self._memory, 0, tokens, -1):
            self._cached = self._cached[:tokens]
            return
        C.llama_memory_clear(self._memory, False)
        self._cached = []

    def _decode(self, tokens: Sequence[int]) -> None:
        for start in range(0, len(tokens), self._batch_tokens):
            batch = list(tokens[start : start + self._batch_tokens])
            array = (C.llama_token * len(batch))(*batch)
            self._run(C.llama_batch_get_one(array, len(batch)), batch)

    def _run(self, prepared: Any, tokens: Sequence[int], progress: int | None = None) -> None:
        """Decodes a batch of llama.cpp that holds `tokens` of the cached sequence."""
        code = _ABORTED if self.cancel else C.llama_decode(self._context, prepared)
        if code:
            # How much of the batch was done before it stopped is unknown.
            self._keep(len(self._cached))
            if code == _ABORTED:
                raise Cancelled
            raise ModelError(f"llama.cpp cannot go on (llama_decode returned {code}): {last_words()}")
        self._cached += tokens
        self._progressed(len(tokens) if progress is None else progress)

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


def _note(outcome: Outcome, writer: Writer) -> None:
    outcome.completion_tokens = len(writer.written)
    outcome.mean_logprob = writer.mean_logprob
    outcome.finish = writer.finish or "length"
