"""The parts that are made from the settings where none is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ragagent.access import Mask, Principal, acl_of
from ragagent.errors import ConfigError
from ragagent.protocols import LLM, Embedder, Index, Reranker
from ragagent.settings import Rerank, Settings

if TYPE_CHECKING:
    from ragagent.models.store import ModelStore


def open_llm(settings: Settings) -> LLM:
    """The language model of the settings; its process starts at the first request."""
    from ragagent.models import language

    return language.open_llm(settings.llm, _store(settings))


def open_embedder(settings: Settings, built_with: str | None) -> Embedder:
    """The embedder that the settings name, else the one an index was built with, else the default one."""
    return open_named(settings, settings.embedding.model or built_with)


def open_named(settings: Settings, name: str | None) -> Embedder:
    """The embedder of that name among the models of the settings; None is the default one."""
    from ragagent.models import embedding

    return embedding.open_embedder(name, settings=settings.embedding, store=_store(settings))


def open_reranker(settings: Settings, kind: str, embedder: Callable[[], Embedder], llm: Callable[[], LLM]) -> Reranker:
    """The reranker of that kind (`retrieval.rerank`), which asks for the embedder or the language model it needs.

    Raises ConfigError for an unknown kind and for a cross-encoder without `retrieval.rerank_model`.
    """
    if kind == "late":
        from ragagent.models.reranking_late import LateInteraction

        return LateInteraction(embedder)
    if kind == "cross-encoder":
        return _cross_encoder(settings)
    if kind in ("llm", "llm-yes"):
        from ragagent.retrieve.judging import QUERY_LIKELIHOOD, YES_OR_NO, LanguageModelJudge

        return LanguageModelJudge(QUERY_LIKELIHOOD if kind == "llm" else YES_OR_NO, llm)
    raise ConfigError(f"rerank = {kind!r}: must be one of {', '.join(get_args(Rerank))}")


def _cross_encoder(settings: Settings) -> Reranker:
    from ragagent.models.reranking_cross import CrossEncoder

    name = settings.retrieval.rerank_model
    if not name:
        raise ConfigError("reranking by a cross-encoder needs its folder: set retrieval.rerank_model")
    folder = Path(name).expanduser()
    return CrossEncoder(
        lambda: folder if folder.exists() else _store(settings).resolve(name),
        name=folder.name,
        backend=settings.embedding.backend,
        threads=settings.embedding.threads,
    )


def built_with(embedder: Embedder | None, settings: Settings, *, new: bool) -> dict[str, str]:
    """All that an index is built with when it is made; of one that is there, only what has to fit for searching."""
    if embedder is None:
        return {}
    if not new:
        return {"embedder": embedder.fingerprint, "embedder_name": embedder.name}
    from ragagent.ingest import parts

    return parts.fingerprint(embedder, settings.chunking)


def names_another(settings: Settings, stored: Mapping[str, str]) -> bool:
    """Whether the settings ask for an embedder by a name that is not the one the index was built with."""
    return settings.embedding.model is not None and settings.embedding.model != stored.get("embedder_name")


def guarded(index: Index, principal: Principal, settings: Settings) -> Index:
    """The index as `principal` sees it."""
    from ragagent.index.access import GuardedIndex

    mask = Mask(principal=principal, unlabelled=settings.access.unlabelled)
    return GuardedIndex(index, mask, statistics=settings.retrieval.statistics)


def readers(
    acl: Sequence[str] | None, options: Mapping[str, object] | None
) -> tuple[tuple[str, ...] | None, Mapping[str, object] | None]:
    """Who may read a source, said beside its options or as the one that every kind has; and the others. None: unsaid.

    Raises ConfigError for what is no principal, and when it is said twice.
    """
    rest = dict(options or {})
    given = rest.pop("acl", None)
    if given is not None and acl is not None:
        raise ConfigError("acl is given twice: as an argument and among the options")
    said = given if acl is None else acl
    return (None if said is None else acl_of(said)), rest or None


def _store(settings: Settings) -> ModelStore:
    from ragagent.models.store import ModelStore

    return ModelStore(Path(settings.models.folder) if settings.models.folder else None)
