"""Language models in GGUF form, run by llama.cpp in a supervised process of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ragagent import errors
from ragagent.errors import ConfigError, ContextOverflow, ModelCrashed, ModelError, ModelLoadError, ModelTooLarge
from ragagent.models.cores import available_cores
from ragagent.models.grammar import check
from ragagent.models.llama_process import LlamaProcess, ProcessDied
from ragagent.models.sampling import configured
from ragagent.models.wire import MOST_SAMPLES, LoadOptions
from ragagent.settings import LlmSettings
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec, Usage

_MAGIC = b"GGUF"
_COUNTS_KEPT = 4096
_COUNTED_CHARS = 2000
# No tokenizer puts more characters into one token on average; saves tokenizing what cannot fit anyway.
_MAX_CHARS_PER_TOKEN = 256
_OBEY_S = 10.0

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LlamaBuild:
    """What the installed llama.cpp is and can do."""

    version: str
    system: str
    gpu_offload: bool
    devices: tuple[str, ...]
    """What it computes on, as NAME (DESCRIPTION); the CPU is one."""


def build_info(*, timeout_s: float = 30.0) -> LlamaBuild:
    """The installed llama.cpp, asked in a process of its own. Raises ModelError when it cannot even be imported."""
    process = LlamaProcess()
    try:
        answer = _ask(process, {"op": "build", "id": 0}, timeout_s)
    finally:
        process.close()
    return LlamaBuild(
        version=answer["version"],
        system=answer["system"],
        gpu_offload=answer["gpu_offload"],
        devices=tuple(answer["devices"]),
    )


class LlamaModel:
    """A GGUF model behind the LLM protocol. The process starts with the first request that needs it.

    Requests of several threads take turns. A request whose process dies is tried once more, provided that nothing of
    its answer was handed out yet; a request after that starts a fresh process.
    """

    constrains = True

    def __init__(self, path: str | Path, settings: LlmSettings | None = None, *, name: str | None = None) -> None:
        """Only looks at the file. Raises ModelLoadError when it is no GGUF file, ConfigError for a wrong setting."""
        self._settings = settings or LlmSettings()
        self._path = Path(path).absolute()
        self.name = name or self._path.stem
        _check_file(self._path)
        self._options = _load_options(self._path, self._settings)
        self._process: LlamaProcess | None = None
        self._facts: dict[str, Any] = {}
        self._closed = False
        self._starting = threading.Lock()
        self._turn = threading.Lock()
        self._turn_of: int | None = None
        self._at_work: tuple[LlamaProcess, int, int] | None = None
        self._identifiers = itertools.count(1)
        self._counts: OrderedDict[str, int] = OrderedDict()

    @property
    def context_tokens(self) -> int:
        """Tokens the context holds: the setting, or what the model was trained for if that is less. Loads."""
        self.start()
        return int(self._facts["context_tokens"])

    @property
    def gpu_layers(self) -> int:
        """Layers that were put on the GPU. Loads."""
        self.start()
        return int(self._facts["gpu_layers"])

    @property
    def pid(self) -> int | None:
        """The model process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.usable else None

    def start(self) -> None:
        """Loads the model if it is not loaded. Raises ModelLoadError with llama.cpp's own words."""
        self._running()

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` alone. Counts of short texts are remembered; needs no turn."""
        known = self._counts.get(text)
        if known is not None:
            return known
        message = {"op": "count", "id": next(self._identifiers), "text": text}
        answer = self._twice(lambda: _ask(self._running(), message, self._patience()))
        if len(text) <= _COUNTED_CHARS:
            self._counts[text] = answer["tokens"]
            while len(self._counts) > _COUNTS_KEPT:
                self._counts.popitem(last=False)
        return int(answer["tokens"])

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
        """The next message. `timeout_s` bounds the time without progress and defaults to the setting."""
        request = self._request(messages, max_tokens, sampling, grammar, tools)
        with self._my_turn():
            return self._twice(lambda: self._whole(request, timeout_s))

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
        """As `chat`, piece by piece. Closing the iterator stops the model within one token."""
        return self._streamed(self._request(messages, max_tokens, sampling, grammar, tools), timeout_s)

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[tuple[int, str], ...]:
        """The tokens that the model reads for `messages`, template included, each with the text it is spelled as."""
        self._check_length(messages)
        request = {"op": "prompt", "messages": [_plain(message) for message in messages]}
        with self._my_turn():
            answer = self._twice(
                lambda: _ask(self._running(), {**request, "id": next(self._identifiers)}, self._patience())
            )
        return tuple(zip(answer["tokens"], answer["spelled"], strict=True))

    def sample(
        self,
        messages: Sequence[Message],
        *,
        count: int,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        likeliest: bool = False,
        timeout_s: float | None = None,
    ) -> tuple[Completion, ...]:
        """`count` answers (at most 8) to one prompt that is read once, written side by side, with seeds one apart.

        With `likeliest` the first is what `chat` writes at temperature 0. The usage of the first has what the prompt
        cost and the seconds of them all.
        """
        if not 1 <= count <= MOST_SAMPLES:
            raise ConfigError(f"count = {count}: must be from 1 to {MOST_SAMPLES}")
        request = {**self._request(messages, max_tokens, sampling, grammar, ()), "op": "sample", "count": count}
        request["likeliest"] = likeliest
        with self._my_turn():
            return self._twice(lambda: self._sampled(request, timeout_s))

    def _sampled(self, request: dict[str, Any], timeout_s: float | None) -> tuple[Completion, ...]:
        begin = time.perf_counter()
        found = self._answered(request, timeout_s)["completions"]
        seconds = [time.perf_counter() - begin] + [0.0] * (len(found) - 1)
        return tuple(_completion(one["text"], one, took) for one, took in zip(found, seconds, strict=True))

    def _answered(self, request: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """The one answer to a request. Left early, it makes the process stop and waits until it has."""
        process, identifier = self._running(), next(self._identifiers)
        finished = False
        process.open_inbox(identifier)
        try:
            process.send({**request, "id": identifier})
            self._at_work = (process, identifier, threading.get_ident())
            message = process.receive(identifier, self._patience(timeout_s))
            finished = True
            _raise_failure(message)
        finally:
            self._at_work = None
            if not finished:
                _stop(process, identifier)
            process.close_inbox(identifier)
        return message

    def cancel(self) -> None:
        """Stops the request under way, from any thread, within one token or one batch of the prompt."""
        at_work = self._at_work
        if at_work is not None:
            process, identifier, _ = at_work
            process.send({"op": "cancel", "id": identifier})

    def cancel_of(self, thread: int) -> None:
        """As `cancel`, where the request under way is one of that thread (`threading.get_ident`); others go on."""
        at_work = self._at_work
        if at_work is not None and at_work[2] == thread:
            process, identifier, _ = at_work
            process.send({"op": "cancel", "id": identifier})

    def log_likelihoods(
        self, conversations: Sequence[Sequence[Message]], texts: Sequence[str], *, timeout_s: float | None = None
    ) -> tuple[float, ...]:
        """How likely each of `texts` is after its conversation; see `ragagent.protocols.EstimatesText`."""
        if len(conversations) != len(texts):
            raise ConfigError(f"{len(conversations)} conversations with {len(texts)} texts")
        if not all(conversations) or not all(texts):
            raise ConfigError("a likelihood needs at least one message and a text that is not empty")
        if not texts:
            return ()
        for messages, text in zip(conversations, texts, strict=True):
            self._check_length([*messages, Message(role="assistant", content=text)])
        plain = [[_plain(message) for message in messages] for messages in conversations]
        request = {"op": "score", "conversations": plain, "texts": list(texts)}
        with self._my_turn():
            return tuple(self._twice(lambda: self._answered(request, timeout_s))["log_likelihoods"])

    def close(self) -> None:
        """Ends the model process; a later request is refused. May be called again."""
        with self._starting:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None:
            process.abandon()

    def _running(self) -> LlamaProcess:
        """The process with the model loaded, started first if need be."""
        with self._starting:
            if self._closed:
                raise ModelError(f"the model {self.name} is closed")
            if self._process is None or not self._process.usable:
                self._process = None
                self._process, self._facts = _started(self._options, self._patience())
            return self._process

    def _patience(self, timeout_s: float | None = None) -> float:
        return self._settings.timeout_s if timeout_s is None else timeout_s

    def _request(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        sampling: Sampling | None,
        grammar: Grammar | None,
        tools: Sequence[ToolSpec],
    ) -> dict[str, Any]:
        """The message to the process, checked as far as it can be checked here."""
        if max_tokens < 1:
            raise ConfigError(f"max_tokens = {max_tokens}: must be at least 1")
        if not messages:
            raise ConfigError("a conversation needs at least one message")
        self._check_length(messages)
        chosen = sampling or configured(self._settings)
        return {
            "op": "chat",
            "messages": [_plain(message) for message in messages],
            "tools": [_tool(tool) for tool in tools],
            "max_tokens": max_tokens,
            "sampling": dataclasses.asdict(chosen),
            "grammar": dataclasses.asdict(check(grammar)) if grammar is not None else None,
        }

    def _check_length(self, messages: Sequence[Message]) -> None:
        characters = sum(len(message.content) for message in messages)
        if characters > self._settings.context_tokens * _MAX_CHARS_PER_TOKEN:
            raise ContextOverflow(
                f"the prompt has {characters} characters, far more than the context of "
                f"{self._settings.context_tokens} tokens holds: shorten it"
            )

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        if self._turn_of == threading.get_ident():
            raise ModelError(
                f"this thread still reads a stream of {self.name}: exhaust or close it before the next request"
            )
        with self._turn:
            self._turn_of = threading.get_ident()
            try:
                yield
            finally:
                self._turn_of = None

    def _streamed(self, request: dict[str, Any], timeout_s: float | None) -> Iterator[Delta]:
        with self._my_turn():
            first, rest = self._twice(lambda: self._begun(request, timeout_s))
            with contextlib.closing(rest):
                yield first
                yield from rest

    def _whole(self, request: dict[str, Any], timeout_s: float | None) -> Completion:
        *_, last = self._deltas(request, timeout_s)
        assert last.completion is not None
        return last.completion

    def _begun(self, request: dict[str, Any], timeout_s: float | None) -> tuple[Delta, Generator[Delta]]:
        deltas = self._deltas(request, timeout_s)
        return next(deltas), deltas

    def _twice(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns, tried a second time with a fresh process when the first one died under it."""
        try:
            return work()
        except ProcessDied:
            return work()

    def _deltas(self, request: dict[str, Any], timeout_s: float | None) -> Generator[Delta]:
        """The answer from one process. Left early, it makes the process stop and waits until it has."""
        process = self._running()
        identifier = next(self._identifiers)
        begin = time.perf_counter()
        pieces: list[str] = []
        finished = False
        process.open_inbox(identifier)
        try:
            process.send({**request, "id": identifier})
            self._at_work = (process, identifier, threading.get_ident())
            while not finished:
                message = process.receive(identifier, self._patience(timeout_s))
                finished = message["op"] != "delta"
                if not finished:
                    pieces.append(message["text"])
                    yield Delta(text=message["text"])
            _raise_failure(message)
            yield Delta(text="", completion=_completion("".join(pieces), message, time.perf_counter() - begin))
        finally:
            self._at_work = None
            if not finished:
                _stop(process, identifier)
            process.close_inbox(identifier)


def _started(options: LoadOptions, timeout_s: float) -> tuple[LlamaProcess, dict[str, Any]]:
    """A process with the model loaded, and what it says about it."""
    process = LlamaProcess()
    try:
        facts = _ask(process, {"op": "load", "id": 0, "options": dataclasses.asdict(options)}, timeout_s)
    except ModelCrashed as error:
        process.kill()
        if process.faulted and options.special_kernels:
            # Kernels for special instructions fault where a machine announces what it has not.
            return _started(dataclasses.replace(options, special_kernels=False), timeout_s)
        kind = ModelTooLarge if process.killed else ModelLoadError
        raise kind(f"{options.path}: loading failed: {error}") from error
    except BaseException:
        process.kill()
        raise
    return process, facts


def _ask(process: LlamaProcess, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The one answer to a message."""
    process.open_inbox(message["id"])
    try:
        process.send(message)
        answer = process.receive(message["id"], timeout_s)
    finally:
        process.close_inbox(message["id"])
    _raise_failure(answer)
    return answer


def _stop(process: LlamaProcess, identifier: int) -> None:
    """Cancels a request and waits until the process is free, or ends it when it does not obey."""
    process.send({"op": "cancel", "id": identifier})
    with contextlib.suppress(ModelCrashed):
        while process.receive(identifier, _OBEY_S)["op"] == "delta":
            pass


def _raise_failure(message: dict[str, Any]) -> None:
    """Raises the error that the process reports, as the class it names."""
    if message["op"] != "failed":
        return
    kind = getattr(errors, message["kind"], ModelError)
    raise kind(message["message"])


def _completion(text: str, message: dict[str, Any], seconds: float) -> Completion:
    usage = Usage(
        prompt_tokens=message["prompt_tokens"],
        reused_tokens=message["reused_tokens"],
        completion_tokens=message["completion_tokens"],
        prompt_seconds=message["prompt_seconds"],
        completion_seconds=message["completion_seconds"],
        seconds=seconds,
        calls=1,
    )
    return Completion(text=text, finish=message["finish"], usage=usage, mean_logprob=message["mean_logprob"])


def _plain(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelLoadError(f"{path}: the model file cannot be read: {error.strerror}") from error
    if magic != _MAGIC:
        raise ModelLoadError(f"{path}: not a GGUF model file (it begins with {magic!r}, not {_MAGIC!r})")


def _load_options(path: Path, settings: LlmSettings) -> LoadOptions:
    return LoadOptions(
        path=str(path),
        context_tokens=settings.context_tokens,
        batch_tokens=settings.batch_tokens,
        threads=settings.threads or available_cores(),
        gpu_layers=settings.gpu_layers,
        kv_cache=settings.kv_cache,
        rope_scaling=settings.rope_scaling,
        rope_scale=settings.rope_scale,
        lora=tuple(_adapter(text) for text in settings.lora),
        cache_bytes=settings.cache_mib * 2**20,
        cache_folder=str(Path(settings.cache_folder).absolute()) if settings.cache_folder else "",
        cache_disk_bytes=settings.cache_disk_mib * 2**20,
    )


def _adapter(text: str) -> tuple[str, float]:
    """The path and the scale of PATH or PATH=SCALE."""
    path, equals, scale = text.rpartition("=")
    if not equals:
        path, scale = text, "1"
    try:
        number = float(scale)
    except ValueError:
        raise ConfigError(f"llm.lora = {text!r}: the scale {scale!r} after '=' is not a number") from None
    _check_file(Path(path))
    return str(Path(path).absolute()), number
