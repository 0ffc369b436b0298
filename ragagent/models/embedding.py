"""Opening an embedding model by name or path: the fast path where it knows the model, else sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragagent.errors import ConfigError, MissingExtra, ModelError, ModelLoadError
from ragagent.models.bert_graph import vocabulary
from ragagent.models.calibration import Plan, plan
from ragagent.models.card import card_languages
from ragagent.models.cores import available_cores
from ragagent.models.encoder import EncoderSpec, UnknownEncoder, content_digest, read_spec
from ragagent.models.openvino_bert import OpenVinoEncoder, best_precision, has_int8
from ragagent.models.openvino_query import WIDTHS, QueryEncoder
from ragagent.models.sentence_transformer import SentenceTransformerEmbedder
from ragagent.models.tokenizer import checked, read_tokenizer
from ragagent.protocols import Embedder
from ragagent.settings import EmbeddingSettings
from ragagent.types import Vector

if TYPE_CHECKING:
    from ragagent.models.store import ModelStore

# About what stays in a core's cache: larger batches are slower, and smaller ones wait for the weights.
_BATCH_TOKENS = 1024
_FEW_TEXTS = 16
_BATCH_SIZES = (32, 16, 8, 4)
DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"


def open_embedder(
    name_or_path: str | Path | None = None,
    *,
    settings: EmbeddingSettings | None = None,
    store: ModelStore | None = None,
) -> Embedder:
    """The embedding model of that catalogue name, folder or `hf:repo`; by default the one in `settings`.

    With backend "auto", BERT-family encoders run on OpenVINO without torch, and every other model on
    sentence-transformers; the fingerprint says which. Raises ModelNotFound, ModelLoadError, or MissingExtra with the
    reason why the fast path cannot run the model.
    """
    chosen = settings or EmbeddingSettings()
    name = str(name_or_path or chosen.model or DEFAULT_EMBEDDER)
    folder, languages = _found(name, store)
    threads = chosen.threads or available_cores()
    if chosen.backend == "sentence-transformers":
        return SentenceTransformerEmbedder(
            folder, name=name, threads=threads, batch_size=chosen.batch_size, languages=languages
        )
    try:
        return EncoderEmbedder(
            read_spec(folder), name=name, threads=threads, batch_size=chosen.batch_size, languages=languages
        )
    except UnknownEncoder as reason:
        if chosen.backend == "openvino":
            raise
        return _by_sentence_transformers(folder, name, threads, chosen.batch_size, languages, reason)


def _found(name: str, store: ModelStore | None) -> tuple[Path, frozenset[str]]:
    """The folder of the model, and the languages that it is for."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, card_languages(folder)
    if folder.is_file():
        raise ConfigError(f"{name}: an embedding model is a folder, and this is a file")
    from ragagent.models.store import ModelStore

    chosen = store or ModelStore()
    folder = chosen.resolve(name)
    listed = frozenset(chosen.catalogue.get(name).languages) if name in chosen.catalogue else frozenset()
    return folder, listed or card_languages(folder)


def _by_sentence_transformers(
    folder: Path, name: str, threads: int, batch_size: int, languages: frozenset[str], reason: UnknownEncoder
) -> SentenceTransformerEmbedder:
    try:
        return SentenceTransformerEmbedder(
            folder, name=name, threads=threads, batch_size=batch_size, languages=languages
        )
    except MissingExtra as error:
        feature = f"the embedding model {name} (the built-in path cannot run it: {reason})"
        raise MissingExtra(feature, "sentence-transformers") from error


def cpu_precision() -> str:
    """The precision that the built-in path computes in on this processor: int8, bf16 or f32.

    Where it is int8, a model whose int8 vectors would differ too much from its float ones stays in bf16.
    """
    return "int8" if has_int8() else best_precision()


class EncoderEmbedder:
    """A BERT-family encoder without torch. Safe to call from several threads.

    A text's vector depends on the text alone up to rounding: beside other texts, or on another run, its cosine to
    itself stays above 0.9995, and its last bits may differ. A short query is embedded in another way, where the
    processor has the instructions; its cosine to the text's vector as a document is above 0.995.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        name: str,
        threads: int,
        batch_size: int,
        languages: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.languages = languages
        self.dimension = spec.dimension
        self.max_tokens = spec.max_tokens
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tokenizer")
        self._threads = threads
        # Hashing the files and reading the tokenizer take as long as loading the engine, and need no interpreter.
        digest = self._pool.submit(content_digest, spec.folder)
        tokenizer = self._pool.submit(read_tokenizer, spec.tokenizer)
        way = plan(spec, digest.result, tokenizer.result, threads=threads)
        self._opened = _Opened(spec, way, threads)
        self.tokenizer = tokenizer.result()
        # Without the precision, each of which keeps a text's vector within a cosine of MIN_AGREEMENT: a knowledge base
        # goes from one processor to another.
        self.fingerprint = f"{digest.result()} openvino"
        self.precision = way.precision
        if self.tokenizer.vocabulary > vocabulary(spec):
            raise ModelLoadError(
                f"{spec.folder}: its tokenizer has more tokens than its encoder; fetch the model again"
            )
        self._batch_size = batch_size
        self._prefixes = (spec.query_prefix, spec.document_prefix)

    def embed_documents(self, texts: Sequence[str]) -> Vector:
        """float32[n, d], normalised, in the order of `texts`; n may be 0.

        Texts are run in order of length, so many at once are much faster than one by one. Raises ConfigError for
        what is not a string.
        """
        self._opened.check_open()
        tokens = self._all_tokens(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rest: list[int] = []
        odd: list[int] = []
        for row, ids in enumerate(tokens):
            (odd if self._is_odd(ids) else rest).append(row)
        for chosen, encoder in ((rest, self._opened.for_documents), (odd, self._opened.in_float)):
            lengths = [len(tokens[row]) for row in chosen]
            batches = [[chosen[at] for at in batch] for batch in _batches(lengths, self._batch_size)]
            if batches:
                found = encoder().encode([[tokens[row] for row in rows] for rows in batches])
                for rows, part in zip(batches, found, strict=True):
                    vectors[rows] = part
        return vectors

    def embed_query(self, text: str) -> Vector:
        """float32[d], normalised."""
        tokens = self._tokens(self._prefixes[0], text)
        if self._is_odd(tokens):
            return self._opened.in_float().encode([[tokens]])[0].reshape(self.dimension)
        if len(tokens) <= WIDTHS[-1] and (encoder := self._opened.for_queries()):
            return encoder.encode(tokens)
        return self._opened.for_documents().encode([[tokens]])[0].reshape(self.dimension)

    def embed_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """For each text float32[t, d], normalised: the vectors of its words' tokens within the whole text, in order.

        The model is compiled once more for it, at the first call (0.3 s). See `ragagent.protocols.EmbedsTokens`.
        """
        tokens = [self._tokens(self._prefixes[0 if query else 1], text) for text in texts]
        found: list[Vector] = [np.zeros((0, self.dimension), np.float32)] * len(texts)
        batches = list(_batches([len(ids) for ids in tokens], self._batch_size))
        made = self._opened.for_tokens().encode([[tokens[row] for row in rows] for rows in batches])
        for rows, part in zip(batches, made, strict=True):
            for row, vectors in zip(rows, part, strict=True):
                found[row] = np.ascontiguousarray(vectors[self._telling(tokens[row])])
        return found

    def _telling(self, tokens: Sequence[int]) -> list[int]:
        """The places of the tokens that are words or parts of words; all of them where none is."""
        wordless = self.tokenizer.wordless
        return [place for place, token in enumerate(tokens) if token not in wordless] or list(range(len(tokens)))

    def close(self) -> None:
        """Frees the compiled model; later calls raise ModelError."""
        self._opened.close()
        self._pool.shutdown()

    def _is_odd(self, tokens: Sequence[int]) -> bool:
        """Whether the text spells out a token that the model keeps for itself, as in "[PAD] [SEP]".

        What such tokens do to the layers after them hangs on the last bits, so these texts are embedded in float.
        """
        return not self.tokenizer.own.isdisjoint(tokens[1:-1])

    def _all_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, on every thread: the tokenizer leaves the interpreter free."""
        if len(texts) < _FEW_TEXTS:
            return [self._tokens(self._prefixes[1], text) for text in texts]
        step = -(-len(texts) // self._threads)
        slices = [texts[start : start + step] for start in range(0, len(texts), step)]
        found = self._pool.map(lambda part: [self._tokens(self._prefixes[1], text) for text in part], slices)
        return [tokens for part in found for tokens in part]

    def _tokens(self, prefix: str, text: str) -> list[int]:
        return self.tokenizer.token_ids(prefix + checked(text), self.max_tokens)


class _Opened:
    """The encoders of a model, each opened when it is first needed: a search needs no other than that for queries.

    The plan of a model that is computed in int8 says that it has been opened before, so opening it later brings no
    news; any other is opened at once. After `close`, both are refused with ModelError. Opening one, which takes a third
    of a second and far more where the processor is busy, keeps nobody from another that is open.
    """

    def __init__(self, spec: EncoderSpec, way: Plan, threads: int) -> None:
        self._spec = spec
        self._way = way
        self._threads = threads
        self._lock = threading.Lock()
        self._queries_lock = threading.Lock()
        self._closed = False
        self._queries: QueryEncoder | None = None
        self._documents = self._for_documents() if way.seen is None else None
        self._float: OpenVinoEncoder | None = None
        self._tokens: OpenVinoEncoder | None = None

    def for_documents(self) -> OpenVinoEncoder:
        with self._lock:
            self._check()
            self._documents = self._documents or self._for_documents()
            return self._documents

    def in_float(self) -> OpenVinoEncoder:
        """In bf16 or f32; the encoder for documents where that is in float."""
        if self._way.precision != "int8":
            return self.for_documents()
        with self._lock:
            self._check()
            self._float = self._float or OpenVinoEncoder(self._spec, threads=self._threads, precision=best_precision())
            return self._float

    def for_tokens(self) -> OpenVinoEncoder:
        """The encoder that gives the vectors of tokens, in the precision of documents."""
        with self._lock:
            self._check()
            self._tokens = self._tokens or self._for_documents(tokens=True)
            return self._tokens

    def check_open(self) -> None:
        """Raises ModelError after `close`."""
        self._check()

    def for_queries(self) -> QueryEncoder | None:
        """None where short queries are embedded like documents."""
        with self._queries_lock:
            self._check()
            if self._way.seen is not None and self._queries is None:
                self._queries = QueryEncoder(self._spec, self._way.seen)
            return self._queries

    def close(self) -> None:
        with self._lock, self._queries_lock:
            self._closed = True
            for encoder in (self._documents, self._queries, self._float, self._tokens):
                if encoder is not None:
                    encoder.close()

    def _check(self) -> None:
        if self._closed:
            raise ModelError("the embedder is closed; open it again")

    def _for_documents(self, *, tokens: bool = False) -> OpenVinoEncoder:
        seen = self._way.seen if self._way.precision == "int8" else None
        precision = self._way.precision
        return OpenVinoEncoder(self._spec, threads=self._threads, precision=precision, seen=seen, tokens=tokens)


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Rows in batches of about the same length, the longest first; few sizes, so that few shapes occur."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        room = min(most, _BATCH_TOKENS // lengths[order[start]], len(order) - start)
        size = next((size for size in _BATCH_SIZES if size <= room), 1)
        yield order[start : start + size]
        start += size
