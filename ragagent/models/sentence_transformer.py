"""Any sentence-transformers model, run by sentence-transformers itself. The only importer of torch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragagent.errors import MissingExtra, ModelLoadError
from ragagent.models.encoder import content_digest
from ragagent.models.tokenizer import FastTokenizer, checked
from ragagent.types import Vector


class SentenceTransformerEmbedder:
    """A model folder run in float32 on the CPU, with the prompts for queries and documents that its own files state.

    Vectors are normalised whether the model does it or not. Calls from several threads take turns.
    """

    def __init__(
        self, folder: Path, *, name: str, threads: int, batch_size: int, languages: frozenset[str] = frozenset()
    ) -> None:
        self._engine = _loaded(folder, f"the embedding model {name}", threads, "SentenceTransformer")
        self.name = name
        self.languages = languages
        self.fingerprint = f"{content_digest(folder)} sentence-transformers f32"
        self.tokenizer = FastTokenizer(self._engine.tokenizer.backend_tokenizer.to_str(), origin=str(folder))
        self.dimension = int(self._engine.get_embedding_dimension() or 0)
        self.max_tokens = int(self._engine.max_seq_length or 512)
        self._batch_size = batch_size
        self._turn = threading.Lock()

    def embed_documents(self, texts: Sequence[str]) -> Vector:
        """float32[n, d], normalised, in the order of `texts`; n may be 0."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        clean = [checked(text) for text in texts]
        with self._turn:
            return _plain(self._engine.encode_document(clean, batch_size=self._batch_size, show_progress_bar=False))

    def embed_query(self, text: str) -> Vector:
        """float32[d], normalised."""
        with self._turn:
            found = _plain(self._engine.encode_query([checked(text)], show_progress_bar=False))
        return found.reshape(self.dimension)

    def close(self) -> None:
        """Nothing is held beyond memory."""


class SentenceTransformerPairs:
    """Any cross-encoder of sentence-transformers, in float32 on the CPU, for one caller at a time."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._engine = _loaded(folder, f"the cross-encoder {folder}", threads, "CrossEncoder")
        import torch

        # The last layer's own scores: a sigmoid after it would only press the best ones together.
        self._as_it_is = torch.nn.Identity()
        self._folder = folder

    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """float32[n], in the order of `pairs`. Raises ModelLoadError for a model with several scores a pair."""
        clean = [(checked(first), checked(second)) for first, second in pairs]
        found = self._engine.predict(clean, activation_fn=self._as_it_is, show_progress_bar=False)
        scores = np.asarray(found, np.float32)
        if scores.size != len(pairs):
            raise ModelLoadError(f"{self._folder}: gives {scores.shape} scores for {len(pairs)} pairs, not one each")
        return scores.reshape(len(pairs))

    def close(self) -> None:
        """Nothing is held beyond memory."""


def _loaded(folder: Path, feature: str, threads: int, kind: Literal["SentenceTransformer", "CrossEncoder"]) -> Any:
    """The model in `folder`, which `feature` needs. Raises MissingExtra, or ModelLoadError for another one."""
    try:
        import sentence_transformers
        import torch
    except ImportError as error:
        raise MissingExtra(feature, "sentence-transformers") from error
    torch.set_num_threads(threads)
    try:
        with _no_progress_bar():
            return getattr(sentence_transformers, kind)(str(folder), device="cpu", local_files_only=True)
    except Exception as error:  # Which errors are raised depends on the model's own code.
        raise ModelLoadError(f"{folder}: sentence-transformers cannot load it: {error}") from error


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading weights draws one on standard error, which belongs to the application."""
    import transformers

    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _plain(vectors: object) -> Vector:
    found = np.ascontiguousarray(vectors, np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Vector = found / np.maximum(norms, np.float32(1e-12))
    return unit
