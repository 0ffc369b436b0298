"""A BERT-family encoder run by OpenVINO, its graph built straight from the safetensors file: no torch, no export."""

from __future__ import annotations

import queue
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragagent.models.encoder import EncoderSpec, UnknownEncoder
from ragagent.models.tensors import read_tensors
from ragagent.types import Vector

Ids = npt.NDArray[np.int64]
Precision = Literal["f32", "bf16"]
_MASKED = 1e4


class OpenVinoEncoder:
    """The compiled encoder. Safe to call from several threads; `threads` bounds what all of them together use."""

    def __init__(self, spec: EncoderSpec, *, threads: int) -> None:
        engine = _engine()
        core = engine.Core()
        self.precision: Precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        self.version = str(engine.__version__).split("-", maxsplit=1)[0]
        self._pad_id = spec.pad_id
        model = _Graph(spec, _weights(spec)).model()
        compiled = core.compile_model(model, "CPU", _options(threads, self.precision))
        self._requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(self._requests):
            self._idle.put(compiled.create_infer_request())

    def encode(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Vector]:
        """float32[len(batch), d], normalised, for each batch of token ids; several batches run at once."""
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
            for request in running:
                request.wait()
                self._idle.put(request)
        return done

    def close(self) -> None:
        """Waits for running requests and frees the model."""
        while self._requests:
            self._idle.get()
            self._requests -= 1

    def _next(self, running: deque[Any], done: list[Vector]) -> Any:
        """An idle request; callers that hold one give it back first, so that two of them cannot wait for each other."""
        while running:
            try:
                return self._idle.get_nowait()
            except queue.Empty:
                self._finish(running, done)
        return self._idle.get()

    def _finish(self, running: deque[Any], done: list[Vector]) -> None:
        running[0].wait()
        done.append(np.array(running[0].get_output_tensor().data, np.float32))
        self._idle.put(running.popleft())

    def _inputs(self, batch: Sequence[Sequence[int]]) -> list[Ids]:
        ids = np.full((len(batch), max(map(len, batch))), self._pad_id, np.int64)
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


def _options(threads: int, precision: Precision) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
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


class _Graph:
    """Builds the model, one method for each part of the encoder."""

    def __init__(self, spec: EncoderSpec, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._spec = spec
        self._weights = weights
        self._op: Any = sys.modules["openvino.opset13"]

    def model(self) -> Any:
        """Inputs ids and mask, int64[b, n]; output float32[b, d], normalised."""
        op = self._op
        ids = op.parameter([-1, -1], np.int64, name="input_ids")
        mask = op.convert(op.parameter([-1, -1], np.int64, name="attention_mask"), "f32")
        bias = op.multiply(
            op.subtract(op.unsqueeze(mask, self._ints(1, 2)), self._constant(1.0)), self._constant(_MASKED)
        )
        hidden = self._embedded(ids)
        for layer in range(self._spec.layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        pooled = op.normalize_l2(self._pooled(hidden, mask), self._ints(1), 1e-12, "max")
        return sys.modules["openvino"].Model([pooled], [ids, mask.input_value(0).get_node()], "encoder")

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
        attended = self._linear(self._attention(hidden, bias, prefix), prefix + "attention.output.dense")
        hidden = self._normalised(op.add(attended, hidden), prefix + "attention.output.LayerNorm")
        inner = self._linear(hidden, prefix + "intermediate.dense")
        inner = op.gelu(inner, "erf") if self._spec.activation == "gelu" else op.relu(inner)
        outer = self._linear(inner, prefix + "output.dense")
        return self._normalised(op.add(outer, hidden), prefix + "output.LayerNorm")

    def _attention(self, hidden: Any, bias: Any, prefix: str) -> Any:
        op, heads, size = self._op, self._spec.heads, self._spec.dimension
        parts = []
        for name in ("query", "key", "value"):
            projected = self._linear(hidden, f"{prefix}attention.self.{name}")
            split = op.reshape(projected, self._ints(0, 0, heads, size // heads), True)
            parts.append(op.transpose(split, self._ints(0, 2, 1, 3)))
        mixed = op.scaled_dot_product_attention(*parts, bias, causal=False)
        return op.reshape(op.transpose(mixed, self._ints(0, 2, 1, 3)), self._ints(0, 0, size), True)

    def _pooled(self, hidden: Any, mask: Any) -> Any:
        op = self._op
        if self._spec.pooling == "cls":
            return op.gather(hidden, self._constant(0, np.int64), self._constant(1, np.int64))
        # The mean's denominator is left out: the normalisation that follows takes any factor away.
        return op.reduce_sum(op.multiply(hidden, op.unsqueeze(mask, self._ints(2))), self._ints(1))

    def _linear(self, value: Any, name: str) -> Any:
        weight, bias = self._weight(name + ".weight"), self._weight(name + ".bias")
        return self._op.add(self._op.matmul(value, self._constant(weight), False, True), self._constant(bias))

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
        return self._op.constant(np.ascontiguousarray(value, kind).reshape(np.shape(value)))

    def _ints(self, *values: int) -> Any:
        return self._op.constant(np.array(values, np.int64))
