"""A BERT-family encoder run by OpenVINO, for many texts at once."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelError, ModelLoadError
from ragagent.models.bert_graph import Graph, Products, Rounded, Watched, Weights, capabilities, engine, read_weights
from ragagent.models.encoder import EncoderSpec
from ragagent.models.int8 import Seen
from ragagent.types import Vector

Precision = Literal["f32", "bf16", "int8"]
# More streams than this cost memory and start-up; beyond it, threads work together within a stream.
_MAX_STREAMS = 8
# Lengths are rounded up to a multiple of this: the engine spends 6 ms and 2 MB on each new shape of a batch, so
# exact lengths without a mask, which save 5 % of a batch, cost more than that until thousands of texts have passed.
_STEP = 8


class OpenVinoEncoder:
    """The compiled encoder. Safe to call from several threads; `threads` bounds what all of them together use.

    The precision is bf16 where the processor has instructions for it, else f32; int8, for three of the four
    products with weights and bf16 for the rest, needs what their inputs were `seen` to hold. A processor without
    instructions for int8 computes the same vectors in f32, which is slow and serves to check them.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        threads: int,
        precision: Precision | None = None,
        seen: Mapping[str, Seen] | None = None,
        watch: bool = False,
        tokens: bool = False,
    ) -> None:
        """With `tokens` it gives the vectors of the tokens in place of the texts'."""
        core = engine().Core()
        self.precision = precision or best_precision()
        if self.precision != "f32":
            split_attention(core)
        # The graph shares the memory of the weights instead of copying it, so they live as long as it does.
        self._weights: Weights = read_weights(spec)
        self._pad_id, self._max_tokens = spec.pad_id, spec.max_tokens
        fast = has_int8()
        watching = Watched() if watch else None
        product = watching or (Rounded(seen or {}, fast=fast) if self.precision == "int8" else Products())
        self._watched = watching.sights if watching else {}
        try:
            graph = Graph(spec, self._weights, product)
            model = graph.token_model() if tokens else graph.model(self._watched)
            compiled = core.compile_model(model, "CPU", _options(threads, self.precision, fast_int8=fast))
        except (RuntimeError, ValueError) as error:
            raise ModelLoadError(f"{spec.weights}: cannot be built: {error}; fetch the model again") from error
        self._requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(self._requests):
            self._idle.put(compiled.create_infer_request())

    def encode(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Vector]:
        """float32[b, d], normalised, for each batch of token ids; several batches run at once.

        float32[b, n, d] from an encoder for `tokens`, where n is at least the number of tokens of the longest.
        """
        done: list[Vector] = []
        running: deque[Any] = deque()
        try:
            for batch in batches:
                request = self._next(running, done)
                running.append(request)
                request.start_async(self._inputs(batch))
            while running:
                self._finish(running, done)
        finally:
            for request in running:  # only after an error: none may still write when it is used again
                request.cancel()
                self._idle.put(request)
        return done

    def watched(self, texts: Sequence[Sequence[int]]) -> tuple[Vector, dict[str, Seen]]:
        """float32[n, d], and what the input of each product held over all tokens; for an encoder made to `watch`."""
        vectors, found, lengths = [], [], [len(tokens) for tokens in texts]
        request = self._next(deque(), [])
        try:
            for tokens in texts:
                ids = np.array([tokens], np.int64)  # one by one: what fills a batch must not be seen
                results = request.infer([ids, np.ones_like(ids)])
                vectors.append(np.array(results[0][0], np.float32))
                found.append([np.array(results[place]) for place in range(1, 1 + 3 * len(self._watched))])
        finally:
            self._idle.put(request)
        share = np.array(lengths)[:, np.newaxis] / sum(lengths)
        low, high, mean = ([np.stack(part) for part in list(zip(*found, strict=True))[first::3]] for first in range(3))
        seen = {
            name: Seen(low[row].min(0), high[row].max(0), (mean[row] * share).sum(0).astype(np.float32))
            for row, name in enumerate(self._watched)
        }
        return np.stack(vectors), seen

    def check_open(self) -> None:
        """Raises ModelError after `close`."""
        if not self._requests:
            raise ModelError("the embedder is closed; open it again")

    def close(self) -> None:
        """Waits for what is running and frees the model; later calls raise ModelError."""
        for _ in range(self._requests):
            self._idle.get()
        self._requests = 0
        self._weights = {}
        self._idle.put(None)

    def _next(self, running: deque[Any], done: list[Vector]) -> Any:
        """An idle request; callers that hold one give it back first, so that two of them cannot wait for each other."""
        while running:
            try:
                return self._open(self._idle.get_nowait())
            except queue.Empty:
                self._finish(running, done)
        return self._open(self._idle.get())

    def _open(self, request: Any) -> Any:
        if request is None:
            self._idle.put(None)
        self.check_open()
        return request

    def _finish(self, running: deque[Any], done: list[Vector]) -> None:
        running[0].wait()
        done.append(np.array(running[0].get_output_tensor().data, np.float32))
        self._idle.put(running.popleft())

    def _inputs(self, batch: Sequence[Sequence[int]]) -> list[npt.NDArray[np.int64]]:
        longest = max(map(len, batch))
        width = min(-(-longest // _STEP) * _STEP, self._max_tokens)
        ids = np.full((len(batch), width), self._pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return [ids, mask]


def best_precision() -> Precision:
    """bf16 where the processor has instructions for it, else f32."""
    return "bf16" if "BF16" in capabilities() else "f32"


def has_int8() -> bool:
    """Whether the processor has the instructions that make int8 faster than float for any number of tokens."""
    # Without the instructions the engine's products in int8 are no faster, and its convolutions only for few tokens.
    return {"INT8", "BF16"} <= capabilities()


def split_attention(core: Any) -> None:
    """Attention as two products and a softmax, each a tuned kernel, instead of one generated kernel.

    Saves a sixth of the whole time in bf16 (9.4 against 11.3 ms for 200 tokens on one core), nothing in f32.
    """
    # An internal property: a build of OpenVINO that does not know it is slower and just as right.
    with contextlib.suppress(RuntimeError):
        core.set_property("CPU", {"SNIPPETS_MODE": "DISABLE"})


def _options(threads: int, precision: Precision, *, fast_int8: bool) -> dict[str, Any]:
    beside_int8: Precision = "bf16" if fast_int8 else "f32"
    return options(threads, beside_int8 if precision == "int8" else precision)


def options(threads: int, precision: Precision) -> dict[str, Any]:
    """How the engine compiles a model whose float parts are in that precision."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        # A thread for each batch: threads that share one wait for one another after every layer.
        "NUM_STREAMS": min(threads, _MAX_STREAMS),
        # Pinned threads would fight with those of the language model for the same cores.
        "ENABLE_CPU_PINNING": False,
    }
