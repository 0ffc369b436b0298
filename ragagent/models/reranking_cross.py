"""Cross-encoders: question and passage are read together by one encoder, which gives a score for the pair.

A folder as sentence-transformers saves one is run by OpenVINO: from its own export to OpenVINO or ONNX where it has
one, else straight from the weights where it is a BERT-family encoder. Any other model is run by sentence-transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError, MissingExtra, ModelError, ModelLoadError
from ragagent.models.bert_graph import PairGraph, engine, read_weights
from ragagent.models.cores import available_cores
from ragagent.models.encoder import UnknownEncoder, read_pair_limits, read_pair_spec
from ragagent.models.openvino_bert import Precision, best_precision, options, split_attention
from ragagent.models.reranking import passage
from ragagent.models.tokenizer import FastTokenizer, read_tokenizer
from ragagent.types import Hit

Backend = Literal["auto", "openvino", "sentence-transformers"]
Pairs = Sequence[tuple[str, str]]
_EXPORTS = ("openvino/openvino_model.xml", "openvino_model.xml", "onnx/model.onnx", "model.onnx")
_BATCH_TOKENS = 2048
_BATCH_PAIRS = 16
_STEP = 8


class Engine(Protocol):
    """What computes the scores of pairs."""

    def scores(self, pairs: Pairs) -> npt.NDArray[np.float32]:
        """float32[n], in the order of `pairs`."""
        ...

    def close(self) -> None: ...


class CrossEncoder:
    """A cross-encoder, opened at the first use. Safe to call from several threads, which take turns.

    Costs one pass of the encoder for each passage, over the question and the passage.
    """

    def __init__(
        self,
        folder: Callable[[], Path],
        *,
        name: str,
        backend: Backend = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        """`folder` gives where the model is, when it is needed."""
        self.name = f"cross-encoder {name}"
        self._folder = folder
        self._backend = backend
        self._threads = threads or available_cores()
        self._precision = precision
        self._engine: Engine | None = None
        self._closed = False
        self._turn = threading.Lock()

    def prepare(self) -> None:
        """Opens the model and has it judge a pair.

        Raises ModelNotFound, ModelLoadError, or MissingExtra with the reason why the fast path cannot run the model.
        """
        with self._turn:
            self._opened()

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """The model's score for each pair, as it comes out of its last layer."""
        with self._turn:
            found: list[float] = self._opened().scores([(query, passage(hit)) for hit in hits]).tolist()
            return found

    def close(self) -> None:
        """Frees the model; later calls raise ModelError."""
        with self._turn:
            self._closed = True
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _opened(self) -> Engine:
        if self._closed:
            raise ModelError(f"the {self.name} is closed; open it again")
        if self._engine is None:
            self._engine = _open(self._folder(), self._backend, self._threads, self._precision)
            self._engine.scores([("what is it?", "It is the first of all passages.")])
        return self._engine


def _open(folder: Path, backend: Backend, threads: int, precision: Precision | None) -> Engine:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: a cross-encoder is a folder; set retrieval.rerank_model to one")
    if backend == "sentence-transformers":
        return _by_sentence_transformers(folder, threads)
    try:
        return _OpenVino(folder, threads, precision or best_precision())
    except UnknownEncoder as reason:
        if backend == "openvino":
            raise
        try:
            return _by_sentence_transformers(folder, threads)
        except MissingExtra as error:
            feature = f"the cross-encoder {folder} (the built-in path cannot run it: {reason})"
            raise MissingExtra(feature, "sentence-transformers") from error


class _OpenVino:
    """A compiled cross-encoder, for one caller at a time."""

    def __init__(self, folder: Path, threads: int, precision: Precision) -> None:
        core = engine().Core()
        if precision != "f32":
            split_attention(core)
        exported = next((folder / name for name in _EXPORTS if (folder / name).is_file()), None)
        self._weights: Any = {}
        try:
            model = core.read_model(str(exported)) if exported else self._built(folder)
            self._tokenizer, self._limits = _tokenizer(folder), read_pair_limits(folder)
            # One stream: a block of pairs is waited for as a whole.
            compiled = core.compile_model(model, "CPU", {**options(threads, precision), "NUM_STREAMS": 1})
        except (RuntimeError, ValueError) as error:
            raise ModelLoadError(f"{exported or folder}: cannot be built: {error}; fetch the model again") from error
        self._names = [one.get_any_name() for one in compiled.inputs]
        unknown = set(self._names) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise UnknownEncoder(f"{exported}: has the inputs {', '.join(sorted(unknown))}, which nothing is known of")
        self._request = compiled.create_infer_request()

    def scores(self, pairs: Pairs) -> npt.NDArray[np.float32]:
        found = np.zeros(len(pairs), np.float32)
        tokens = [self._tokenizer.pair_ids(*pair, self._limits.max_tokens) for pair in pairs]
        order = sorted(range(len(pairs)), key=lambda at: -len(tokens[at][0]))
        while order:
            room = max(1, _BATCH_TOKENS // max(1, len(tokens[order[0]][0])))
            rows, order = order[: min(room, _BATCH_PAIRS)], order[min(room, _BATCH_PAIRS) :]
            found[rows] = self._batch([tokens[row] for row in rows])
        return found

    def close(self) -> None:
        self._request, self._weights = None, {}

    def _built(self, folder: Path) -> Any:
        spec = read_pair_spec(folder)
        # The graph shares the memory of the weights instead of copying it, so they live as long as it does.
        self._weights = read_weights(spec)
        return PairGraph(spec, self._weights).pair_model()

    def _batch(self, batch: Sequence[tuple[list[int], list[int]]]) -> npt.NDArray[np.float32]:
        width = -(-max(len(ids) for ids, _ in batch) // _STEP) * _STEP
        width = max(1, min(width, self._limits.max_tokens))
        arrays = {name: np.zeros((len(batch), width), np.int64) for name in self._names}
        if "input_ids" in arrays:
            arrays["input_ids"][:] = self._limits.pad_id
        for row, (ids, kinds) in enumerate(batch):
            told = kinds if self._limits.kinds else [0] * len(ids)
            values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": told}
            for name, array in arrays.items():
                array[row, : len(ids)] = values[name]
        self._request.infer(arrays)
        scores = np.array(self._request.get_output_tensor(0).data, np.float32)
        if scores.size != len(batch):
            raise ModelLoadError(f"the model gives scores of the shape {scores.shape} for {len(batch)} pairs")
        return scores.reshape(len(batch))


def _tokenizer(folder: Path) -> FastTokenizer:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UnknownEncoder(f"{folder}: has no tokenizer.json")
    return read_tokenizer(file)


def _by_sentence_transformers(folder: Path, threads: int) -> Engine:
    from ragagent.models.sentence_transformer import SentenceTransformerPairs

    return SentenceTransformerPairs(folder, threads=threads)
