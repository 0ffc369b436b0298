"""The graph of a BERT-family encoder for OpenVINO, built straight from its weights: no torch, no export."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelLoadError
from ragagent.models.encoder import EncoderSpec, UnknownEncoder
from ragagent.models.int8 import TOP, Floats, Quantised, Seen, levels, quantised
from ragagent.models.tensors import read_tensors

Weights = Mapping[str, npt.NDArray[np.float32]]
# A node of the graph for `value @ weight.T + bias`: called with the value, the weight, the bias and the product's name.
Product = Callable[[Any, Floats, Floats, str], Any]
_MASKED = -1e4
_FAR = 1e30
_CONVERTER = "openvino.tools.ovc"
_KINDS = "embeddings.token_type_embeddings.weight"


def engine() -> Any:
    """The module `openvino`, which reports nothing about its use."""
    if "openvino" not in sys.modules:
        # OpenVINO reports its use over the network when this package can be imported; without it, it uses its own stub.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        # Its converter of models takes half the time of importing it. What is absent now is imported on its first use.
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[_CONVERTER]
        openvino.convert_model = _convert_model
    import openvino.opset13

    return openvino


@functools.cache
def capabilities() -> frozenset[str]:
    """What the engine can compute in on this processor, in its own words: FP32, BF16, INT8 and others."""
    return frozenset(engine().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """openvino.convert_model, for other users of the engine in this process."""
    return importlib.import_module(_CONVERTER).convert_model(*arguments, **options)


def read_weights(spec: EncoderSpec) -> dict[str, npt.NDArray[np.float32]]:
    """Float tensors by their names within the encoder, without the prefix that a task model puts before them.

    Raises ModelLoadError when they cannot be read or hold fewer positions than the configuration states.
    """
    found = {}
    for name, tensor in read_tensors(spec.weights).items():
        if tensor.dtype.kind == "f":
            found[name.removeprefix("bert.").removeprefix("roberta.")] = tensor.astype(np.float32, copy=False)
    if _rows(found, "embeddings.position_embeddings.weight") < spec.first_position + spec.max_tokens:
        raise ModelLoadError(f"{spec.weights}: has fewer positions than config.json states; fetch the model again")
    return found


def vocabulary(spec: EncoderSpec) -> int:
    """The number of tokens that the encoder knows."""
    return _rows(read_weights(spec), "embeddings.word_embeddings.weight")


def _rows(weights: Weights, name: str) -> int:
    return len(weights[name]) if name in weights else 0


class Products:
    """Products in float."""

    def __init__(self) -> None:
        self._op: Any = sys.modules["openvino.opset13"]

    def __call__(self, value: Any, weight: Floats, bias: Floats, name: str) -> Any:
        op = self._op
        return op.add(op.matmul(value, constant(weight), False, True), constant(bias))


class Watched(Products):
    """Products in float; what the channels of those inputs hold that int8 is for are outputs too."""

    def __init__(self) -> None:
        super().__init__()
        self.sights: dict[str, list[Any]] = {}
        """Three nodes for each product by its name: the least, greatest and mean values, float32[c] each."""

    def __call__(self, value: Any, weight: Floats, bias: Floats, name: str) -> Any:
        op = self._op
        if not _outward(name):
            reductions = (op.reduce_min, op.reduce_max, op.reduce_mean)
            self.sights[name] = [reduce(value, _ints(0, 1)) for reduce in reductions]
        return super().__call__(value, weight, bias, name)


class Rounded(Products):
    """Products in int8, but for those out of the wide part of each layer.

    There a few channels behind the activation reach four times as far as the rest and reach every layer: all in int8
    would be a fifth faster, and short or repetitive texts at a cosine of 0.98 to 0.994. Without instructions for int8
    (`fast` is false) the others are computed in float to the same effect.
    """

    def __init__(self, seen: Mapping[str, Seen], *, fast: bool) -> None:
        super().__init__()
        self._seen = seen
        self._fast = fast
        # One for all: the time to compile a model grows with its nodes.
        self._bounds = (constant(0.0), constant(float(TOP)))

    def __call__(self, value: Any, weight: Floats, bias: Floats, name: str) -> Any:
        op, seen = self._op, self._seen.get(name)
        if seen is None or _outward(name):
            return self._in_float(value, weight, bias, name)
        held = levels(seen)
        found = quantised(weight, bias, seen, held)
        # The engine takes levels of each channel only as a factor and a summand before those of all channels.
        shifted = op.add(op.multiply(value, op.constant(1 / held.step)), op.constant(-held.low / held.step))
        return self._multiplied(self._codes(shifted), found)

    def _in_float(self, value: Any, weight: Floats, bias: Floats, name: str) -> Any:
        return super().__call__(value, weight, bias, name)

    def _codes(self, value: Any) -> Any:
        """The nearest of 0..255."""
        op = self._op
        if not self._fast:
            return op.clamp(op.round(value, "half_to_even"), 0, TOP)
        return op.fake_quantize(value, *self._bounds, *self._bounds, TOP + 1)

    def _multiplied(self, codes: Any, found: Quantised) -> Any:
        op = self._op
        # As the engine wants to see the weights to compute in int8, or multiplied out so that it does not.
        weight = op.multiply(op.convert(constant(found.codes, np.int8), "f32"), constant(found.scale))
        if not self._fast:
            weight = op.constant(found.codes * found.scale)
        return op.add(op.matmul(codes, weight, False, True), constant(found.bias))


class Convolved(Rounded):
    """The same for few tokens: products in int8 as convolutions over one token.

    The engine has kernels for those on every x86 processor, and for products only on the newer ones.
    """

    def __init__(self, seen: Mapping[str, Seen]) -> None:
        super().__init__(seen, fast=True)
        self._swapped = _ints(0, 2, 1)

    def _in_float(self, value: Any, weight: Floats, bias: Floats, name: str) -> Any:
        # A bound that nothing reaches: in float32 the engine then takes a kernel that is four times as fast for few
        # tokens as the one it prefers.
        return self._op.clamp(super()._in_float(value, weight, bias, name), -_FAR, _FAR)

    def _multiplied(self, codes: Any, found: Quantised) -> Any:
        op = self._op
        kernel = op.convert(constant(found.codes[:, :, np.newaxis], np.int8), "f32")
        scaled = op.multiply(kernel, constant(found.scale[:, :, np.newaxis]))
        product = op.convolution(op.transpose(codes, self._swapped), scaled, [1], [0], [0], [1])
        return op.transpose(op.add(product, constant(found.bias[np.newaxis, :, np.newaxis])), self._swapped)


def _outward(name: str) -> bool:
    """Whether the product leads out of the wide part of a layer."""
    return name.endswith("output.dense") and not name.endswith("attention.output.dense")


def constant(value: Any, kind: Any = np.float32) -> Any:
    """A node that shares the memory of an array; the array has to live as long as the graph."""
    array = np.ascontiguousarray(value, kind) if np.ndim(value) else np.asarray(value, kind)
    return sys.modules["openvino.opset13"].constant(array, shared_memory=array.ndim > 0)


def _ints(*values: int) -> Any:
    return sys.modules["openvino.opset13"].constant(np.array(values, np.int64))


class Graph:
    """Builds the model, one method for each part of the encoder; `product` decides how products are computed."""

    def __init__(self, spec: EncoderSpec, weights: Weights, product: Product) -> None:
        self._spec = spec
        self._weights = weights
        self._product = product
        self._op: Any = sys.modules["openvino.opset13"]

    def model(self, sights: Mapping[str, Sequence[Any]] | None = None) -> Any:
        """Inputs ids and mask, int64[b, n]; output float32[b, d], normalised, and after it the `sights`."""
        ids, mask, kept, hidden = self._encoded()
        vectors = self._op.normalize_l2(self._pooled(hidden, kept), _ints(1), 1e-12, "max")
        also = [node.output(0) for nodes in (sights or {}).values() for node in nodes]
        return sys.modules["openvino"].Model([vectors.output(0), *also], [ids, mask], "encoder")

    def token_model(self) -> Any:
        """Inputs ids and mask, int64[b, n]; output float32[b, n, d]: the vectors of the tokens, normalised."""
        ids, mask, _, hidden = self._encoded()
        vectors = self._op.normalize_l2(hidden, _ints(2), 1e-12, "max")
        return sys.modules["openvino"].Model([vectors.output(0)], [ids, mask], "tokens")

    def _encoded(self) -> tuple[Any, Any, Any, Any]:
        """The inputs ids and mask, the mask as numbers, and the hidden state of every token."""
        op = self._op
        ids = op.parameter([-1, -1], np.int64, name="input_ids")
        mask = op.parameter([-1, -1], np.int64, name="attention_mask")
        kept = op.convert(mask, "f32")
        absent = op.unsqueeze(op.subtract(constant(1.0), kept), _ints(1, 2))
        bias = op.multiply(absent, constant(_MASKED))
        hidden = self._embedded(ids)
        for layer in range(self._spec.layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        return ids, mask, kept, hidden

    def _embedded(self, ids: Any) -> Any:
        op, zero = self._op, constant(0, np.int64)
        first = self._spec.first_position
        length = op.gather(op.shape_of(ids), constant(1, np.int64), zero)
        positions = op.range(
            constant(first, np.int64),
            op.add(length, constant(first, np.int64)),
            constant(1, np.int64),
            output_type="i64",
        )
        words = op.gather(constant(self._weight("embeddings.word_embeddings.weight")), ids, zero)
        kinds = self._weight(_KINDS)[0]
        places = op.gather(constant(self._weight("embeddings.position_embeddings.weight") + kinds), positions, zero)
        return self._normalised(self._of_kinds(op.add(words, places)), "embeddings.LayerNorm")

    def _of_kinds(self, embedded: Any) -> Any:
        """What tells the kinds of tokens apart, added; a single text has none but the first."""
        return embedded

    def _layer(self, hidden: Any, bias: Any, prefix: str) -> Any:
        op = self._op
        attended = self._attention(hidden, bias, prefix)
        attended = self._linear(attended, prefix + "attention.output.dense")
        hidden = self._normalised(op.add(attended, hidden), prefix + "attention.output.LayerNorm")
        inner = self._linear(hidden, prefix + "intermediate.dense")
        inner = op.gelu(inner, "erf") if self._spec.activation == "gelu" else op.relu(inner)
        outer = self._linear(inner, prefix + "output.dense")
        return self._normalised(op.add(outer, hidden), prefix + "output.LayerNorm")

    def _attention(self, hidden: Any, bias: Any, prefix: str) -> Any:
        op, heads, size = self._op, self._spec.heads, self._spec.dimension
        parts = op.reshape(self._projected(hidden, prefix), _ints(0, 0, 3, heads, size // heads), True)
        split = op.split(op.transpose(parts, _ints(2, 0, 3, 1, 4)), constant(0, np.int64), 3).outputs()
        queries, keys, values = (op.squeeze(part, _ints(0)) for part in split)
        shares = op.softmax(op.add(op.matmul(queries, keys, False, True), bias), -1)
        mixed = op.transpose(op.matmul(shares, values, False, False), _ints(0, 2, 1, 3))
        return op.reshape(mixed, _ints(0, 0, size), True)

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
            return op.gather(hidden, constant(0, np.int64), constant(1, np.int64))
        # The sum stands for the mean: they differ by a factor, which the normalisation takes away.
        return op.reduce_sum(op.multiply(hidden, op.unsqueeze(kept, _ints(2))), _ints(1))

    def _linear(self, value: Any, name: str) -> Any:
        return self._product(value, self._weight(name + ".weight"), self._weight(name + ".bias"), name)

    def _normalised(self, value: Any, name: str) -> Any:
        op = self._op
        centred = op.mvn(value, _ints(-1), True, self._spec.epsilon, "INSIDE_SQRT")
        scaled = op.multiply(centred, constant(self._weight(name + ".weight")))
        return op.add(scaled, constant(self._weight(name + ".bias")))

    def _weight(self, name: str) -> npt.NDArray[np.float32]:
        try:
            return self._weights[name]
        except KeyError:
            raise UnknownEncoder(f"{self._spec.weights}: has no tensor {name}") from None


class PairGraph(Graph):
    """The graph of a cross-encoder: the same encoder over two texts in one, and a score out of its first token."""

    def __init__(self, spec: EncoderSpec, weights: Weights) -> None:
        super().__init__(spec, weights, Products())
        self._kinds: Any = self._op.parameter([-1, -1], np.int64, name="token_type_ids")

    def pair_model(self) -> Any:
        """Inputs ids, mask and kinds of tokens, int64[b, n]; output float32[b, 1], the scores."""
        ids, mask, _, hidden = self._encoded()
        op, names = self._op, ("pooler.dense", "classifier")
        if "classifier.out_proj.weight" in self._weights:
            names = ("classifier.dense", "classifier.out_proj")
        first = op.gather(hidden, constant(0, np.int64), constant(1, np.int64))
        scores = self._linear(op.tanh(self._linear(first, names[0])), names[1])
        return sys.modules["openvino"].Model([scores.output(0)], [ids, mask, self._kinds], "cross-encoder")

    def _of_kinds(self, embedded: Any) -> Any:
        table = self._weight(_KINDS)
        if len(table) == 1:
            # A model that knows one kind of token still has the input, which changes nothing.
            nothing = self._op.multiply(self._op.convert(self._kinds, "f32"), constant(0.0))
            return self._op.add(embedded, self._op.unsqueeze(nothing, _ints(2)))
        return self._op.add(embedded, self._op.gather(constant(table - table[0]), self._kinds, constant(0, np.int64)))
