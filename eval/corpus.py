"""The knowledge base of an evaluation set: built on the first run, and only checked for changes on the next."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError
from ragagent.eval import datasets
from ragagent.protocols import LLM, Embedder, Progress
from ragagent.settings import Settings, values
from ragagent.types import Document, IngestReport, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What stands in for the parts that the settings name; the caller closes what it passes in."""

    embedder: Embedder | None = None
    llm: LLM | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """An open knowledge base that holds exactly the documents of a set."""

    kb: KnowledgeBase
    ingest: IngestReport
    named_by_file: bool

    def set_id(self, document_id: str, uri: str) -> str:
        """The name that the set's judgements use for a document: its id, or its file name in a folder of files."""
        return PurePosixPath(unquote(urlsplit(uri).path)).name if self.named_by_file else document_id


@contextlib.contextmanager
def opened(data: Path, folder: Path | None, settings: Settings, parts: Parts | None = None) -> Iterator[Corpus]:
    """The corpus of the set in `data`, kept below `folder`; without one it is made for this time only.

    Sets, embedders and chunkings each have a knowledge base of their own below `folder`. Raises ConfigError for a
    set without documents.
    """
    parts = parts or Parts()
    with contextlib.ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ragagent-eval-")))
        place = root / place_name(data, settings, parts.embedder)
        place.mkdir(parents=True, exist_ok=True)
        kb = stack.enter_context(KnowledgeBase.open(place, settings=settings, embedder=parts.embedder, llm=parts.llm))
        yield _filled(kb, data, parts.progress)


def place_name(data: Path, settings: Settings, embedder: Embedder | None = None) -> str:
    """A folder name that differs whenever the vectors or the chunks would."""
    model = embedder.fingerprint if embedder else str(settings.embedding.model)
    chunking = {key: value for key, value in values(settings).items() if key.startswith(("chunking.", "ingest."))}
    mark = digest(str(data.resolve()), model, settings.embedding.backend, repr(chunking))
    return f"{data.resolve().name}-{mark[:10]}"


def _filled(kb: KnowledgeBase, data: Path, progress: Progress | None) -> Corpus:
    source = datasets.source(data)
    if source is None:
        raise ConfigError(
            f"{data}: no documents to search; expected {datasets.DOCUMENTS} or a folder {datasets.FOLDER}/"
        )
    if isinstance(source, Path):
        report = kb.ingest(source, prune=True, progress=progress)
        return Corpus(kb=kb, ingest=report, named_by_file=True)
    wanted: set[str] = set()
    report = kb.ingest(_noted(source, wanted), progress=progress)
    for stale in [item.id for item in kb.documents() if item.id not in wanted]:
        kb.remove(stale)
    return Corpus(kb=kb, ingest=report, named_by_file=False)


def _noted(stream: Iterable[Document], ids: set[str]) -> Iterator[Document]:
    for document in stream:
        ids.add(document.id)
        yield document
