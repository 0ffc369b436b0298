"""A GGUF model on llama.cpp's own interface, for use inside the model process only.

One sequence lives in the KV cache; the next prompt keeps whatever prefix it shares with it. Everything that makes
llama.cpp abort is checked before it is called: a batch never exceeds its size, a sequence never its context.
"""

from __future__ import annotations

import codecs
import collections
import ctypes
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import llama_cpp.llama_cpp as C
import numpy as np

from ragagent.errors import ContextOverflow, ModelError, ModelLoadError
from ragagent.models.chat_template import ChatTemplate, Part
from ragagent.models.constraint import Constraint, Constraints
from ragagent.models.sampling import choose, log_probability, penalised
from ragagent.models.wire import LoadOptions
from ragagent.types import Grammar, Sampling

_KV_TYPES = {"f16": C.GGML_TYPE_F16, "q8_0": C.GGML_TYPE_Q8_0, "q4_0": C.GGML_TYPE_Q4_0}
_ROPE = {
    "model": C.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    "none": C.LLAMA_ROPE_SCALING_TYPE_NONE,
    "linear": C.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": C.LLAMA_ROPE_SCALING_TYPE_YARN,
}
_SPECIAL = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
_ABORTED = 2

_log: collections.deque[str] = collections.deque(maxlen=20)


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _data: Any) -> None:
    if level >= 3:  # warnings and errors
        _log.append(text.decode("utf-8", "replace"))


def start_backend() -> None:
    """Once in the process, before anything else."""
    C.llama_log_set(_keep_log, None)
    C.llama_backend_init()


def describe_build() -> dict[str, Any]:
    """What this build of llama.cpp is and can do."""
    import llama_cpp

    return {
        "version": llama_cpp.__version__,
        "system": C.llama_print_system_info().decode("utf-8", "replace").strip(" |"),
        "gpu_offload": bool(C.llama_supports_gpu_offload()),
        "mmap": bool(C.llama_supports_mmap()),
    }


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
        self._batch_tokens = options.batch_tokens
        self._model, self._context, self.gpu_layers = _load(options, progressed)
        self._vocab = C.llama_model_get_vocab(self._model)
        self._memory = C.llama_get_memory(self._context)
        self._vocabulary_size = C.llama_vocab_n_tokens(self._vocab)
        self.context_tokens = C.llama_n_ctx(self._context)
        self._cached: list[int] = []
        C.llama_set_abort_callback(self._context, self.cancel.callback, self.cancel.data)
        _apply_lora(self._model, self._context, options.lora)
        self._specials = _specials(self._vocab)
        self._special_pattern = _alternatives(self._specials)
        self._overlapping = re.compile(f"(?={self._special_pattern.pattern})") if self._specials else None
        self._stops = {token for token in range(self._vocabulary_size) if C.llama_vocab_is_eog(self._vocab, token)}
        self._constraints = Constraints(self._vocab, sorted(self._stops))
        self._template = self._open_template()

    def description(self) -> dict[str, Any]:
        return {
            "context_tokens": self.context_tokens,
            "gpu_layers": self.gpu_layers,
            "description": _text(C.llama_model_desc, self._model),
            "drops_prefix": self._drops_prefix(),
        }

    def tokenize(self, text: str) -> list[int]:
        """Tokens of `text`, none of them special."""
        pieces = [text]
        if self._overlapping is not None:
            # Text that spells a special token is cut after its first character: no token reaches over the cut.
            cuts = [match.start() + 1 for match in self._overlapping.finditer(text)]
            pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [token for piece in pieces for token in self._tokenize_plain(piece)]

    def prompt(self, messages: Sequence[dict[str, str]], tools: Sequence[dict[str, Any]]) -> list[int]:
        """Tokens of a conversation: special tokens only where the template has written them."""
        tokens: list[int] = []
        text = ""
        for special, piece in self._segments(self._template.render(messages, tools)):
            if special is None:
                text += piece
                continue
            tokens += self.tokenize(text)
            tokens.append(special)
            text = ""
        tokens += self.tokenize(text)
        begin = C.llama_vocab_bos(self._vocab)
        if C.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        return tokens

    def generate(
        self, prompt: list[int], max_tokens: int, sampling: Sampling, grammar: Grammar | None
    ) -> Iterator[str | Outcome]:
        """Pieces of text as they are written, and at the end the Outcome."""
        self._check_room(len(prompt), max_tokens)
        constraint = self._constraints.open(grammar) if grammar is not None else None
        outcome = Outcome(prompt_tokens=len(prompt))
        begin = time.perf_counter()
        try:
            outcome.reused_tokens = self._reuse(prompt)
            self._decode(prompt[outcome.reused_tokens :])
        except Cancelled:
            outcome.finish = "cancelled"
            yield outcome
            return
        outcome.prompt_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        yield from self._write(max_tokens, sampling, constraint, outcome)
        outcome.completion_seconds = time.perf_counter() - begin
        yield outcome

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
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        written: list[int] = []
        logprobs: list[float] = []
        try:
            while len(written) < max_tokens:
                logits = self._logits()
                token = self._next(logits, sampling, written, random, constraint)
                if token is None:
                    outcome.finish = "stop"
                    break
                logprobs.append(log_probability(logits, token))
                new = [token, *(constraint.accept(token) if constraint else ())][: max_tokens - len(written)]
                written += new
                piece = decoder.decode(b"".join(map(self._bytes, new)))
                if piece:
                    yield piece
                if constraint is not None and constraint.complete:
                    outcome.finish = "stop"
                    break
                if len(written) < max_tokens:
                    self._decode(new)
        except Cancelled:
            outcome.finish = "cancelled"
        outcome.completion_tokens = len(written)
        outcome.mean_logprob = float(np.mean(logprobs)) if logprobs else None

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
        token = choose(scores, sampling, random) if constraint is None else None
        if constraint is not None:
            favourite = int(np.argmax(scores))
            # Checking one token costs a hundredth of computing the mask, and a greedy choice needs no more.
            if sampling.temperature <= 0 and constraint.allows(favourite):
                token = favourite
            else:
                token = choose(scores, sampling, random, constraint.mask(self._vocabulary_size))
        return None if token in self._stops else token

    def _reuse(self, prompt: list[int]) -> int:
        """Cuts the cached sequence down to the prefix it shares with `prompt`; how many tokens that is.

        At least one token of the prompt stays to be decoded, because its logits are needed.
        """
        shared = _common_prefix(self._cached, prompt[:-1])
        self._keep(shared)
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
            code = 0 if not self.cancel else _ABORTED
            code = code or C.llama_decode(self._context, C.llama_batch_get_one(array, len(batch)))
            if code:
                # What of the batch was done before the stop is unknown.
                self._keep(len(self._cached))
                if code == _ABORTED:
                    raise Cancelled
                raise ModelError(f"llama.cpp cannot go on (llama_decode returned {code}): {last_words()}")
            self._cached += batch
            self._progressed(len(batch))

    def _logits(self) -> Any:
        pointer = C.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._vocabulary_size,))

    def _drops_prefix(self) -> bool:
        """Whether the end of a cached sequence can be dropped alone; recurrent and hybrid models cannot."""
        self._decode([C.llama_vocab_bos(self._vocab) if C.llama_vocab_bos(self._vocab) >= 0 else 0] * 3)
        dropped = bool(C.llama_memory_seq_rm(self._memory, 0, 2, -1))
        self._keep(0)
        return dropped

    def _segments(self, parts: Sequence[Part]) -> Iterator[tuple[int | None, str]]:
        """(token, "") for each special token of the markup, (None, text) for everything else."""
        for part in parts:
            if not part.markup or not self._specials:
                yield None, part.text
                continue
            for place, piece in enumerate(self._special_pattern.split(part.text)):
                yield (self._specials[piece], "") if place % 2 else (None, piece)

    def _tokenize_plain(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (C.llama_token * room)()
        count = C.llama_tokenize(self._vocab, data, len(data), tokens, room, False, False)
        if count < 0:
            raise ModelError(f"a text of {len(data)} bytes cannot be tokenized")
        return list(tokens[:count])

    def _bytes(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(512)
        length = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(0, length)]

    def _open_template(self) -> ChatTemplate:
        source = C.llama_model_chat_template(self._model, None)
        return ChatTemplate(
            source.decode("utf-8") if source else None,
            bos=_token_text(self._vocab, C.llama_vocab_bos(self._vocab)),
            eos=_token_text(self._vocab, C.llama_vocab_eos(self._vocab)),
            specials=tuple(self._specials),
        )


def last_words() -> str:
    """The last warnings and errors that llama.cpp has logged, on one line."""
    return " ".join("".join(_log).split())[-600:] or "no reason was logged"


def _load(options: LoadOptions, progressed: Callable[[int], None]) -> tuple[Any, Any, int]:
    """The model, its context and the layers on the GPU: as many as fit, if that is asked for."""
    tries = _layer_counts(options)
    for layers in tries:
        model = _load_model(options, layers, progressed)
        context = _open_context(model, options) if model else None
        if context:
            return model, context, layers
        if model:
            C.llama_model_free(model)
    raise ModelLoadError(f"{options.path}: llama.cpp cannot load it: {last_words()}")


def _layer_counts(options: LoadOptions) -> list[int]:
    if not C.llama_supports_gpu_offload() or options.gpu_layers == 0:
        return [0]
    if options.gpu_layers > 0:
        return [options.gpu_layers]
    layers = _count_layers(options.path) + 1  # the output layer counts as one
    return [layers * share // 8 for share in (8, 7, 6, 5, 4, 3, 2, 1, 0)]


def _count_layers(path: str) -> int:
    parameters = C.llama_model_default_params()
    parameters.vocab_only = True
    model = C.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        raise ModelLoadError(f"{path}: llama.cpp cannot load it: {last_words()}")
    buffer = ctypes.create_string_buffer(256)
    C.llama_model_meta_val_str(model, b"general.architecture", buffer, 256)
    C.llama_model_meta_val_str(model, buffer.value + b".block_count", buffer, 256)
    C.llama_model_free(model)
    return int(buffer.value) if buffer.value.isdigit() else 0


def _load_model(options: LoadOptions, layers: int, progressed: Callable[[int], None]) -> Any:
    def report(_share: float, _data: Any) -> bool:
        progressed(1)
        return True

    callback = C.llama_progress_callback(report)
    parameters = C.llama_model_default_params()
    parameters.n_gpu_layers = layers
    parameters.progress_callback = callback
    parameters.use_extra_bufts = options.special_kernels
    return C.llama_model_load_from_file(options.path.encode(), parameters)


def _open_context(model: Any, options: LoadOptions) -> Any:
    trained = C.llama_model_n_ctx_train(model)
    if options.rope_scaling in ("linear", "yarn"):
        trained = int(trained * options.rope_scale)
    parameters = C.llama_context_default_params()
    parameters.n_ctx = min(options.context_tokens, trained) if trained else options.context_tokens
    parameters.n_batch = parameters.n_ubatch = min(options.batch_tokens, parameters.n_ctx)
    parameters.n_threads = parameters.n_threads_batch = options.threads
    parameters.type_k = parameters.type_v = _KV_TYPES[options.kv_cache]
    if options.kv_cache != "f16":
        parameters.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED  # a quantised V cache needs it
    parameters.rope_scaling_type = _ROPE[options.rope_scaling]
    if options.rope_scaling in ("linear", "yarn"):
        parameters.rope_freq_scale = 1.0 / options.rope_scale
    return C.llama_init_from_model(model, parameters)


def _apply_lora(model: Any, context: Any, adapters: Sequence[tuple[str, float]]) -> None:
    if not adapters:
        return
    handles = (C.llama_adapter_lora_p_ctypes * len(adapters))()
    for place, (path, _) in enumerate(adapters):
        handle = C.llama_adapter_lora_init(model, path.encode())
        if not handle:
            raise ModelLoadError(f"{path}: llama.cpp cannot use it as an adapter of this model: {last_words()}")
        handles[place] = handle
    scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
    if C.llama_set_adapters_lora(context, handles, len(adapters), scales):
        raise ModelLoadError(f"the adapters cannot be applied together: {last_words()}")


def _specials(vocab: Any) -> dict[str, int]:
    """Texts that stand for one special token each: control tokens, and user-defined ones that look like tags."""
    found: dict[str, int] = {}
    for token in range(C.llama_vocab_n_tokens(vocab)):
        attributes = C.llama_vocab_get_attr(vocab, token)
        if not attributes & (_SPECIAL | C.LLAMA_TOKEN_ATTR_USER_DEFINED):
            continue
        text = _token_text(vocab, token)
        tag = (text[:1], text[-1:]) in {("<", ">"), ("[", "]")} and len(text) > 2
        if text and (attributes & _SPECIAL or tag):
            found.setdefault(text, token)
    return found


def _alternatives(texts: Sequence[str] | dict[str, int]) -> re.Pattern[str]:
    return re.compile("(" + "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) + ")")


def _token_text(vocab: Any, token: int) -> str:
    if token < 0:
        return ""
    text: bytes = C.llama_vocab_get_text(vocab, token) or b""
    return text.decode("utf-8", "replace")


def _text(function: Callable[..., int], model: Any) -> str:
    buffer = ctypes.create_string_buffer(1024)
    function(model, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    differs = np.asarray(first[:length]) != np.asarray(second[:length])
    return int(differs.argmax()) if differs.any() else length
