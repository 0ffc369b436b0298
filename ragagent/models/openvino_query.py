"""A BERT-family encoder run by OpenVINO for one short text, as soon as possible."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelError, ModelLoadError
from ragagent.models.bert_graph import Convolved, Graph, Weights, capabilities, engine, read_weights
from ragagent.models.encoder import EncoderSpec
from ragagent.models.int8 import Seen
from ragagent.models.openvino_bert import best_precision, options, split_attention
from ragagent.types import Vector

# Numbers of tokens that a model is compiled for, each when it is first needed: with a fixed number the engine decides
# everything beforehand, which takes a third off the time of ten tokens. Each costs 32 MB for the default model.
WIDTHS = (12, 20, 32)
# A second thread saves nothing where the time goes into reading weights, and waits where other programs run.
_THREADS = 1


def runs_here() -> bool:
    """Whether the engine has the kernels that make this faster than the encoder for many texts."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return "INT8" in capabilities()


class QueryEncoder:
    """Three of the four products in int8. Safe to call from several threads, which wait for one another.

    Reading 42 MB of weights takes most of the time of a short text in float32; here they are half as many. A vector's
    cosine to the one in float32 is above 0.995.
    """

    def __init__(self, spec: EncoderSpec, seen: Mapping[str, Seen]) -> None:
        self._spec = spec
        self._core = engine().Core()
        split_attention(self._core)
        # The graph shares the memory of the weights instead of copying it, so they live as long as it does.
        self._weights: Weights = read_weights(spec)
        self._lock = threading.Lock()
        self._compiled: dict[int, _Compiled] = {}
        try:
            self._model = Graph(spec, self._weights, Convolved(seen)).model()
        except (RuntimeError, ValueError) as error:
            raise ModelLoadError(f"{spec.weights}: cannot be built: {error}; fetch the model again") from error

    def encode(self, tokens: Sequence[int]) -> Vector:
        """float32[d], normalised, for the ids of one text, at most the last of WIDTHS."""
        width = next(width for width in WIDTHS if len(tokens) <= width)
        with self._lock:
            if self._model is None:
                raise ModelError("the embedder is closed; open it again")
            if width not in self._compiled:
                self._compiled[width] = _Compiled(self._core, self._model, width)
            return self._compiled[width].encode(tokens, self._spec.pad_id)

    def close(self) -> None:
        """Waits for what is running and frees the model; later calls raise ModelError."""
        with self._lock:
            self._compiled.clear()
            self._model, self._weights = None, {}


class _Compiled:
    """The model for a fixed number of tokens, with the arrays that it reads and writes."""

    def __init__(self, core: Any, model: Any, width: int) -> None:
        model.reshape({0: [1, width], 1: [1, width]})
        compiled = core.compile_model(model, "CPU", options(_THREADS, best_precision()))
        self._request = compiled.create_infer_request()
        self._ids: npt.NDArray[np.int64] = self._request.get_input_tensor(0).data
        self._mask: npt.NDArray[np.int64] = self._request.get_input_tensor(1).data
        self._vector: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data

    def encode(self, tokens: Sequence[int], pad_id: int) -> Vector:
        count = len(tokens)
        self._ids[0, :count], self._ids[0, count:] = tokens, pad_id
        self._mask[0, :count], self._mask[0, count:] = 1, 0
        self._request.infer()
        return np.array(self._vector[0], np.float32)
