"""A BERT-family encoder run by OpenVINO, its graph built straight from the safetensors file: no torch, no export."""

from __future__ import annotations

import contextlib
import queue
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelError, ModelLoadError
from ragagent.models.encoder import EncoderSpec, UnknownEncoder
from ragagent.models.int8 import Floats, Quantised, Seen, levels, quantised
from ragagent.models.tensors import read_tensors
from ragagent.types import Vector

Weights = Mapping[str, npt.NDArray[np.float32]]
Precision = Literal["f32", "bf16", "int8"]
# More streams than this cost memory and start-up; beyond it, threads work together within a stream.
_MAX_STREAMS = 8
# Lengths are rounded up to a multiple of this: the engine spends 6 ms and 2 MB on each new shape of a batch, so
# exact lengths without a mask, which save 5 % of a batch, cost more than that until thousands of texts have passed.
_STEP = 8
_MASKED = -1e4


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
    ) -> None:
        engine = _engine()
        core = engine.Core()
        self.precision = precision or _best_precision(core)
        if self.precision != "f32":
            _split_attention(core)
        # The graph shares the memory of the weights instead of copying it, so they live as long as it does.
        self._weights: Weights = _weights(spec)
        self._pad_id, self._max_tokens = spec.pad_id, spec.max_tokens
        self.vocabulary = _rows(self._weights, "embeddings.word_embeddings.weight")
        if _rows(self._weights, "embeddings.position_embeddings.weight") < spec.first_position + spec.max_tokens:
            raise ModelLoadError(f"{spec.weights}: has fewer positions than config.json states; fetch the model again")
        try:
            fast = _has_int8(core)
            graph = _Graph(spec, self._weights, seen or {}, watch=watch, fast_int8=fast)
            model = graph.model()
            self._watched = list(graph.watched)
            compiled = core.compile_model(model, "CPU", _options(threads, self.precision, fast_int8=fast))
        except (RuntimeError, ValueError) as error:
            raise ModelLoadError(f"{spec.weights}: cannot be built: {error}; fetch the model again") from error
        self._requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(self._requests):
            self._idle.put(compiled.create_infer_request())

    def encode(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Vector]:
        """float32[b, d], normalised, for each batch of token ids; several batches run at once."""
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


def _engine() -> Any:
    # OpenVINO reports its use over the network when this package can be imported; without it, it uses its own stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino
    import openvino.opset13

    return openvino


def best_precision() -> Precision:
    """bf16 where the processor has instructions for it, else f32."""
    return _best_precision(_engine().Core())


def has_int8() -> bool:
    """Whether the processor has the instructions that make int8 faster than float."""
    return _has_int8(_engine().Core())


def _has_int8(core: Any) -> bool:
    # Without the instructions the engine adds pairs of products in 16 bits, which overflow, and is no faster.
    return {"INT8", "BF16"} <= set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _best_precision(core: Any) -> Precision:
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _split_attention(core: Any) -> None:
    """Attention as two products and a softmax, each a tuned kernel, instead of one generated kernel.

    Saves a sixth of the whole time in bf16 (9.4 against 11.3 ms for 200 tokens on one core), nothing in f32.
    """
    # An internal property: a build of OpenVINO that does not know it is slower and just as right.
    with contextlib.suppress(RuntimeError):
        core.set_property("CPU", {"SNIPPETS_MODE": "DISABLE"})


def _options(threads: int, precision: Precision, *, fast_int8: bool) -> dict[str, Any]:
    beside_int8 = "bf16" if fast_int8 else "f32"
    return {
        "INFERENCE_PRECISION_HINT": beside_int8 if precision == "int8" else precision,
        "INFERENCE_NUM_THREADS": threads,
        # A thread for each batch: threads that share one wait for one another after every layer.
        "NUM_STREAMS": min(threads, _MAX_STREAMS),
        # Pinned threads would fight with those of the language model for the same cores.
        "ENABLE_CPU_PINNING": False,
    }


def _weights(spec: EncoderSpec) -> dict[str, npt.NDArray[np.float32]]:
    """Float tensors by their names within the encoder, without the prefix that a task model puts before them."""
    found = {}
    for name, tensor in read_tensors(spec.weights).items():
        if tensor.dtype.kind == "f":
            found[name.removeprefix("bert.").removeprefix("roberta.")] = tensor.astype(np.float32, copy=False)
    return found


def _rows(weights: Weights, name: str) -> int:
    return len(weights[name]) if name in weights else 0


class _Graph:
    """Builds the model, one method for each part of the encoder.

    A product whose name is in `seen` is computed in int8, or in float to the same effect. With `watch`, the least,
    greatest and mean value of each channel of each product's input are outputs too, float32[c] each, in the order of
    `watched`.
    """

    def __init__(
        self, spec: EncoderSpec, weights: Weights, seen: Mapping[str, Seen], *, watch: bool, fast_int8: bool
    ) -> None:
        self._spec = spec
        self._weights = weights
        self._seen = seen
        self._watch = watch
        self._fast_int8 = fast_int8
        self.watched: dict[str, Any] = {}
        self._op: Any = sys.modules["openvino.opset13"]

    def model(self) -> Any:
        """Inputs ids and mask, int64[b, n]; output float32[b, d], normalised."""
        op = self._op
        ids = op.parameter([-1, -1], np.int64, name="input_ids")
        mask = op.parameter([-1, -1], np.int64, name="attention_mask")
        kept = op.convert(mask, "f32")
        absent = op.unsqueeze(op.subtract(self._constant(1.0), kept), self._ints(1, 2))
        bias = op.multiply(absent, self._constant(_MASKED))
        hidden = self._embedded(ids)
        for layer in range(self._spec.layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        vectors = op.normalize_l2(self._pooled(hidden, kept), self._ints(1), 1e-12, "max")
        return sys.modules["openvino"].Model([vectors.output(0), *self._sights()], [ids, mask], "encoder")

    def _sights(self) -> list[Any]:
        op, tokens = self._op, self._ints(0, 1)
        reductions = (op.reduce_min, op.reduce_max, op.reduce_mean)
        return [reduce(value, tokens).output(0) for value in self.watched.values() for reduce in reductions]

    def _embedded(self, ids: Any) -> Any:
        op, zero = self._op, self._constant(0, np.int64)
        first = self._spec.first_position
        length = op.gather(op.shape_of(ids), self._constant(1, np.int64), zero)
        positions = op.range(
            self._constant(first, np.int64),
            op.add(length, self._constant(first, np.int64)),
            self._constant(1, np.int64),
            output_type="i64",
        )
        kinds = self._weight("embeddings.token_type_embeddings.weight")[0]
        words = op.gather(self._constant(self._weight("embeddings.word_embeddings.weight")), ids, zero)
        places = op.gather(
            self._constant(self._weight("embeddings.position_embeddings.weight") + kinds), positions, zero
        )
        return self._normalised(op.add(words, places), "embeddings.LayerNorm")

    def _layer(self, hidden: Any, bias: Any, prefix: str) -> Any:
        op = self._op
        attended = self._attention(hidden, bias, prefix)
        attended = self._linear(attended, prefix + "attention.output.dense")
        hidden = self._normalised(op.add(attended, hidden), prefix + "attention.output.LayerNorm")
        inner = self._linear(hidden, prefix + "intermediate.dense")
        inner = op.gelu(inner, "erf") if self._spec.activation == "gelu" else op.relu(inner)
        # Never in int8: a few channels behind the activation reach four times as far as the rest and reach every
        # layer. The whole encoder would be a fifth faster, and short or repetitive texts at a cosine of 0.98-0.994.
        outer = self._linear(inner, prefix + "output.dense", in_float=True)
        return self._normalised(op.add(outer, hidden), prefix + "output.LayerNorm")

    def _attention(self, hidden: Any, bias: Any, prefix: str) -> Any:
        op, heads, size = self._op, self._spec.heads, self._spec.dimension
        parts = op.reshape(self._projected(hidden, prefix), self._ints(0, 0, 3, heads, size // heads), True)
        split = op.split(op.transpose(parts, self._ints(2, 0, 3, 1, 4)), self._constant(0, np.int64), 3).outputs()
        queries, keys, values = (op.squeeze(part, self._ints(0)) for part in split)
        shares = op.softmax(op.add(op.matmul(queries, keys, False, True), bias), -1)
        mixed = op.transpose(op.matmul(shares, values, False, False), self._ints(0, 2, 1, 3))
        return op.reshape(mixed, self._ints(0, 0, size), True)

    def _projected(self, hidden: Any, prefix: str) -> Any:
        """Queries, keys and values of all heads in one product, the scale of attention folded into the queries."""
        names = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
        weights = [self._weight(name + ".weight") for name in names]
        biases = [self._weight(name + ".bias") for name in names]
        scale = np.float32((self._spec.dimension // self._spec.heads) ** -0.5)
        weights[0], biases[0] = weights[0] * scale, biases[0] * scale
        name = f"{prefix}attention.self"
        return self._product(hidden, np.concatenate(weights), np.concatenate(biases), name)

    def _pooled(self, hidden: Any, kept: Any) -> Any:
        op = self._op
        if self._spec.pooling == "cls":
            return op.gather(hidden, self._constant(0, np.int64), self._constant(1, np.int64))
        # The sum stands for the mean: they differ by a factor, which the normalisation takes away.
        return op.reduce_sum(op.multiply(hidden, op.unsqueeze(kept, self._ints(2))), self._ints(1))

    def _linear(self, value: Any, name: str, *, in_float: bool = False) -> Any:
        weight, bias = self._weight(name + ".weight"), self._weight(name + ".bias")
        return self._product(value, weight, bias, name, in_float=in_float)

    def _product(self, value: Any, weight: Floats, bias: Floats, name: str, *, in_float: bool = False) -> Any:
        """In int8 where the input was seen, unless it has to be `in_float`."""
        op = self._op
        if self._watch and not in_float:
            self.watched[name] = value
        if in_float or name not in self._seen:
            return op.add(op.matmul(value, self._constant(weight), False, True), self._constant(bias))
        held = levels(self._seen[name])
        rounded = quantised(weight, bias, self._seen[name], held)
        # The engine takes levels of each channel only as a factor and a summand before those of all channels.
        codes = self._rounded(
            op.add(op.multiply(value, op.constant(1 / held.step)), op.constant(-held.low / held.step))
        )
        return op.add(op.matmul(codes, self._scaled(rounded), False, True), op.constant(rounded.bias))

    def _rounded(self, value: Any) -> Any:
        """The nearest of 0..255."""
        op = self._op
        if not self._fast_int8:
            return op.clamp(op.round(value, "half_to_even"), 0, 255)
        lowest, highest = self._constant(0.0), self._constant(255.0)
        return op.fake_quantize(value, lowest, highest, lowest, highest, 256)

    def _scaled(self, rounded: Quantised) -> Any:
        """The weights as the engine wants to see them to compute in int8, or multiplied out so that it does not."""
        op = self._op
        if not self._fast_int8:
            return op.constant(rounded.codes * rounded.scale)
        return op.multiply(op.convert(op.constant(rounded.codes), "f32"), op.constant(rounded.scale))

    def _normalised(self, value: Any, name: str) -> Any:
        op = self._op
        centred = op.mvn(value, self._ints(-1), True, self._spec.epsilon, "INSIDE_SQRT")
        scaled = op.multiply(centred, self._constant(self._weight(name + ".weight")))
        return op.add(scaled, self._constant(self._weight(name + ".bias")))

    def _weight(self, name: str) -> npt.NDArray[np.float32]:
        try:
            return self._weights[name]
        except KeyError:
            raise UnknownEncoder(f"{self._spec.weights}: has no tensor {name}") from None

    def _constant(self, value: Any, kind: Any = np.float32) -> Any:
        array = np.asarray(value, kind)
        return self._op.constant(array, shared_memory=array.ndim > 0)

    def _ints(self, *values: int) -> Any:
        return self._op.constant(np.array(values, np.int64))
