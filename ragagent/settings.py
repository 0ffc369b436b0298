"""One frozen `Settings`: defaults < TOML file < environment < arguments, and where each value came from.

Nothing here reads the process environment or a file on its own: the command line, the servers and the evaluation
call `load`, and an application passes what it wants. An unknown key, an unknown section and a value of the wrong
kind are errors that name the key and the choices.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ragagent.errors import ConfigError
from ragagent.types import AnswerStyle

ENVIRONMENT_PREFIX = "RAGAGENT_"
FILE_NAME = "ragagent.toml"
Rerank = Literal["none", "late", "cross-encoder", "llm", "llm-yes"]
Strategy = Literal["react", "plan", "refine", "vote", "team"]
"""How an agent goes about a task (docs/agent.md, Strategies)."""
Understanding = Literal[
    "spelling", "filters", "follow-up", "hops", "decompose", "variants", "hypothetical", "step-back"
]


def at_least(minimum: float) -> Any:
    """Metadata of a numeric field that must not be smaller than `minimum`."""
    return {"minimum": minimum}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsSettings:
    """Where models live and whether they may be downloaded."""

    folder: str | None = None
    """Where model files are kept; none means the user's cache folder."""
    download: Literal["auto", "never"] = "auto"
    """Whether the command line fetches a missing model by itself. The Python API never does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings:
    """The language model. `model` is a catalogue name, a GGUF path, `hf:repo/file`, or an `http(s)://` endpoint.

    With the `model` "none" there is none: questions are answered by the best sentences of the documents.
    """

    model: str = "qwen2.5-coder-1.5b-instruct"
    context_tokens: int = field(default=8192, metadata=at_least(256))
    threads: int | None = field(default=None, metadata=at_least(1))
    gpu_layers: int = field(default=-1, metadata=at_least(-1))
    """Layers to offload where the build of llama.cpp can: -1 as many as fit, 0 none."""
    batch_tokens: int = field(default=512, metadata=at_least(32))
    kv_cache: Literal["f16", "q8_0", "q4_0"] = "f16"
    cache_mib: int = field(default=256, metadata=at_least(0))
    """Memory for the states of prompts that were read before, so that conversations can take turns."""
    cache_folder: str | None = None
    """Where states go that memory has no room for, readable by the owner alone; they hold what the prompts held."""
    cache_disk_mib: int = field(default=0, metadata=at_least(0))
    """The most that folder may hold; 0 keeps nothing there."""
    rope_scaling: Literal["model", "none", "linear", "yarn"] = "model"
    rope_scale: float = field(default=1.0, metadata=at_least(0.01))
    lora: tuple[str, ...] = ()
    """Adapters in GGUF form, as PATH or PATH=SCALE."""
    temperature: float = field(default=0.0, metadata=at_least(0))
    top_k: int = field(default=40, metadata=at_least(0))
    top_p: float = field(default=0.95, metadata=at_least(0))
    min_p: float = field(default=0.05, metadata=at_least(0))
    repeat_penalty: float = field(default=1.0, metadata=at_least(0))
    seed: int = field(default=0, metadata=at_least(0))
    timeout_s: float = field(default=300.0, metadata=at_least(0.1))
    """A request without any progress for this long is given up and the model process restarted."""
    api_key: str | None = None
    """For an OpenAI-compatible endpoint; never printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSettings:
    """The embedding model. `model` none: what the index was built with, else all-MiniLM-L6-v2."""

    model: str | None = None
    backend: Literal["auto", "openvino", "sentence-transformers"] = "auto"
    threads: int | None = field(default=None, metadata=at_least(1))
    batch_size: int = field(default=16, metadata=at_least(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingSettings:
    """How documents are split, in tokens of the embedder. `ragagent.ingest.chunking` says what the strategies are."""

    strategy: Literal["structure", "tokens", "sentences", "semantic", "code", "parents"] = "structure"
    max_tokens: int = field(default=200, metadata=at_least(16))
    min_tokens: int = field(default=40, metadata=at_least(1))
    overlap_tokens: int = field(default=0, metadata=at_least(0))
    parent_tokens: int = field(default=400, metadata=at_least(16))
    """How large the passage around a chunk is that the strategy `parents` gives."""
    window_sentences: int = field(default=3, metadata=at_least(0))
    """How many sentences on each side of a hit the strategy `sentences` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Bounds of an ingest."""

    max_file_bytes: int = field(default=256 * 1024 * 1024, metadata=at_least(1))
    max_text_chars: int = field(default=50_000_000, metadata=at_least(1))
    max_pages: int = field(default=20_000, metadata=at_least(1))
    links: Literal["addresses", "texts"] = "addresses"
    """Whether the addresses that a web page links to elsewhere are listed below its text, or the links' texts alone."""
    ocr: Literal["auto", "never"] = "auto"
    """Whether pages and pictures without a usable text layer go through Tesseract where it is installed."""
    ocr_languages: tuple[str, ...] = ()
    """Tesseract's names, such as eng or deu; none means the installed ones, at most three of them."""
    ocr_pages: int = field(default=500, metadata=at_least(0))
    """Pages of one item, with all that is inside it, that OCR may be spent on; what is left out is reported."""
    ocr_seconds: float = field(default=600.0, metadata=at_least(0))
    """Seconds that OCR may take for one item, with all that is inside it."""
    ocr_page_seconds: float = field(default=60.0, metadata=at_least(0.1))
    ocr_dpi: int = field(default=300, metadata=at_least(72))
    ocr_cache: str | None = None
    """Where recognised pages are kept, so that no page is recognised twice; none means the user's cache folder."""
    ocr_cache_bytes: int = field(default=256 * 1024 * 1024, metadata=at_least(0))
    """The most that folder may hold; 0 keeps nothing."""
    workers: int | None = field(default=None, metadata=at_least(1))
    """Files read at once, each in a process of its own; none means as many as there are cores, at most four."""
    file_seconds: float = field(default=120.0, metadata=at_least(0.1))
    """How long one file may take to read; the time of OCR (`ocr_seconds`) comes on top."""
    file_memory_mb: int = field(default=1024, metadata=at_least(16))
    """How much memory reading one file may take, beside what an idle reading process takes."""
    batch_chunks: int = field(default=256, metadata=at_least(1))
    """Documents are committed together until they have this many chunks."""
    lock_timeout_s: float = field(default=10.0, metadata=at_least(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """How passages are found."""

    k: int = field(default=10, metadata=at_least(1))
    candidates: int = field(default=100, metadata=at_least(1))
    """How many chunks each of the two searches hands to fusion."""
    fusion: Literal["scores", "ranks"] = "scores"
    """How the two searches are made one: by the scores of both, or by reciprocal ranks (`ragagent.index.fusion`)."""
    dense_weight: float = field(default=0.55, metadata=at_least(0))
    """What the vectors count in a fusion by scores, 0..1; the words count the rest."""
    foreign_dense_weight: float = field(default=0.2, metadata=at_least(0))
    """The same for a question in a language that the embedding model is not made for."""
    rrf_k: int = field(default=60, metadata=at_least(1))
    duplicates: Literal["fold", "show"] = "fold"
    """Whether passages of copies and versions are folded into one that names the others, and those that only lines of
    boilerplate find are left out (`ragagent.retrieve.distinct`); or whatever is found is shown."""
    understand: tuple[Understanding, ...] = ("spelling",)
    """What is done with a question before and beside the plain search (docs/retrieval.md says what each brings):
    `spelling` adds the nearest known term for a word that no document has; `filters` reads dates, file types,
    folders and authors from the question; `hops` searches once more with the names in what was found. The others
    ask the language model: `follow-up` puts in what the question refers to in the conversation, `decompose` asks
    for the first step and, knowing what that finds, for the next; `variants`, `hypothetical` and `step-back` are
    other wordings, which are left out where the plain search is sure."""
    rerank: Rerank = "none"
    """What judges the best candidates once more (docs/retrieval.md): late interaction with the embedder's own token
    vectors, a cross-encoder (`rerank_model`), or the language model, by how likely it is to ask the question after
    reading a passage (`llm`) or to say yes when asked whether a passage answers it (`llm-yes`); or nothing does."""
    rerank_model: str | None = None
    """The folder or name of the cross-encoder."""
    rerank_depth: int = field(default=20, metadata=at_least(1))
    """How many candidates are judged, from the best one down."""
    rerank_seconds: float = field(default=1.0, metadata=at_least(0))
    """The time that judging may take; what is not reached within it keeps its place below the rest."""
    rerank_share: float = field(default=0.5, metadata=at_least(0))
    """What the judgement counts among the first three, from 0 to 1, beside the fused score; less further down."""
    diversity: float = field(default=0.0, metadata=at_least(0))
    """From 0 to below 1: how much likeness to a better hit counts against a hit (maximal marginal relevance)."""
    recency_days: float = field(default=0.0, metadata=at_least(0))
    """After so many days half of what being new is worth is lost; 0 leaves the date of documents out of account."""
    recency_share: float = field(default=0.3, metadata=at_least(0))
    """How much of a score being new is worth, from 0 to 1, where `recency_days` says that it counts."""
    title_weight: float = field(default=1.0, metadata=at_least(0))
    """What a word of the title or the headings counts beside a word of the text, in the sparse search."""
    bm25: Literal["lucene", "okapi", "plus", "l"] = "lucene"
    """The form of BM25; `ragagent.index.bm25` has the formulas."""
    statistics: Literal["visible", "all"] = "visible"
    """In a principal's session: whether the numbers in scores are counted among what may be read, or among all."""
    k1: float = field(default=1.5, metadata=at_least(0))
    b: float = field(default=0.75, metadata=at_least(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may read what, in sessions of a principal."""

    unlabelled: Literal["owner", "public"] = "owner"
    """Who may read a document without an acl: its owner alone, or everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """How answers are written."""

    style: AnswerStyle = "short"
    """How an answer is laid out (docs/answers.md)."""
    passages: int = field(default=3, metadata=at_least(1))
    sentences: int = field(default=5, metadata=at_least(1))
    """Sentences kept of each answer's passages, the best ones by term overlap with the question."""
    neighbours: int = field(default=0, metadata=at_least(0))
    """How many chunks before and after a hit are read with it, within its section and `chunking.parent_tokens`."""
    evidence_tokens: int = field(default=1500, metadata=at_least(32))
    max_tokens: int = field(default=256, metadata=at_least(8))
    samples: int = field(default=5, metadata={"minimum": 0, "maximum": 7})
    """Drafts that are written beside the likeliest answer, for the best of them to be chosen; 0 for none."""
    history_tokens: int = field(default=3000, metadata=at_least(0))
    """What is kept of a conversation as it was read; beyond it only the evidence that was cited stays, and then the
    oldest questions go (docs/conversations.md)."""
    min_confidence: float | None = field(default=None, metadata=at_least(0))
    """Answers less likely to be right than this are refused; 0 refuses none, saves the question that asks, and shows
    an answer as it is written. None: 0.25, or what `ragagent calibrate --risk` found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Caps of an agent's run, and the hosts that its answers may link to. A cap that is none is no cap."""

    strategy: Strategy = "react"
    max_steps: int = field(default=8, metadata=at_least(1))
    max_calls: int | None = field(default=None, metadata=at_least(0))
    """Calls of tools, all together; a tool may have a cap of its own (`@tool(max_calls=3)`)."""
    max_tokens: int | None = field(default=None, metadata=at_least(1))
    """Tokens read and written, without those that were in the cache."""
    max_seconds: float | None = field(default=None, metadata=at_least(0))
    """How long the run may work; time that it waits for a human does not count."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that answers may link to, such as example.org or *.example.org; other links are taken out."""
    sandbox: bool = False
    """Whether the agent may run Python (run_python), confined; refused where the kernel cannot confine it."""
    memory: bool = False
    """Whether the agent may remember facts, and recall them in later runs (remember, recall)."""
    memory_facts: int = field(default=1000, metadata=at_least(1))
    """How many facts may be remembered for each user; then some have to be forgotten first."""
    max_tokens_per_step: int = field(default=256, metadata=at_least(16))
    prompt_tokens: int | None = field(default=None, metadata=at_least(256))
    """Where a step's prompt grows longer, receipts take the place of its oldest results; none: where the model's
    context asks for it."""
    observation_tokens: int = field(default=700, metadata=at_least(32))
    sentences: int = field(default=8, metadata=at_least(1))
    """Sentences of documents that one search shows; a row of a table counts half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, by section."""

    models: ModelsSettings = field(default_factory=ModelsSettings)
    llm: LlmSettings = field(default_factory=LlmSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    chunking: ChunkingSettings = field(default_factory=ChunkingSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    answer: AnswerSettings = field(default_factory=AnswerSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings in force, for each dotted key where its value came from, and the sources that the file names.

    `sources` is, for each name, the table `[sources.NAME]`: the address and the options of its kind.
    """

    settings: Settings
    origins: Mapping[str, str]
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SECRET_KEYS = frozenset({"llm.api_key"})


def keys() -> dict[str, dataclasses.Field[Any]]:
    """Every setting by its dotted key, in order."""
    sections = {section.name: typing.get_type_hints(Settings)[section.name] for section in dataclasses.fields(Settings)}
    return {f"{name}.{item.name}": item for name, section in sections.items() for item in dataclasses.fields(section)}


def values(settings: Settings) -> dict[str, Any]:
    """The value of every dotted key."""
    return {key: getattr(getattr(settings, key.split(".")[0]), key.split(".")[1]) for key in keys()}


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Settings from a TOML file, `RAGAGENT_SECTION_KEY` variables and dotted `overrides`, the later over the earlier.

    Raises ConfigError for an unknown key, a wrong value, or a file that cannot be read.
    """
    chosen: dict[str, tuple[Any, str]] = {}
    sources: dict[str, Mapping[str, Any]] = {}
    if file is not None:
        tables = _tables(file)
        sources = _sources(tables.pop("sources", {}), file)
        chosen.update({key: (value, str(file)) for key, value in _flat(tables).items()})
    for key, (value, variable) in _from_environment(environ or {}).items():
        chosen[key] = (value, variable)
    for key, value in (overrides or {}).items():
        chosen[key] = (value, "argument")
    return dataclasses.replace(_build(chosen), sources=sources)


def _build(chosen: Mapping[str, tuple[Any, str]]) -> Loaded:
    known = keys()
    sections: dict[str, dict[str, Any]] = {}
    for key, (value, origin) in chosen.items():
        if key not in known:
            raise ConfigError(f"{origin}: unknown setting {key!r}.{_suggest(key, known)}")
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = _checked(key, value, origin)
    hints = typing.get_type_hints(Settings)
    settings = Settings(**{section: hints[section](**entries) for section, entries in sections.items()})
    origins = {key: chosen[key][1] if key in chosen else "default" for key in known}
    return Loaded(settings=settings, origins=origins)


def _suggest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else f" Known settings: {', '.join(known)}."


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {section!r} stands outside a section; write it under [section]")
    return tables


def _flat(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{name}": value for section, table in tables.items() for name, value in table.items()}


def _sources(tables: Mapping[str, Any], file: Path) -> dict[str, Mapping[str, Any]]:
    for name, table in tables.items():
        if not isinstance(table, dict) or not isinstance(table.get("address"), str):
            raise ConfigError(f'{file}: [sources.{name}] needs address = "...", a path or the address of the source')
    return dict(tables)


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    known = {ENVIRONMENT_PREFIX + key.replace(".", "_").upper(): key for key in keys()}
    found: dict[str, tuple[str, str]] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in known:
            raise ConfigError(f"environment: unknown variable {variable}.{_suggest(variable, known)}")
        found[known[variable]] = (value, variable)
    return found


def _checked(key: str, value: Any, origin: str) -> Any:
    """`value` as the type of the setting `key`, from a string if need be."""
    section, name = key.split(".")
    hint = typing.get_type_hints(typing.get_type_hints(Settings)[section])[name]
    try:
        converted = convert(hint, value)
    except ValueError as error:
        raise ConfigError(f"{origin}: {key} = {value!r}: {error}") from None
    limits = keys()[key].metadata
    if converted is not None and converted < limits.get("minimum", converted):
        raise ConfigError(f"{origin}: {key} = {value!r}: must be at least {limits['minimum']}")
    if converted is not None and converted > limits.get("maximum", converted):
        raise ConfigError(f"{origin}: {key} = {value!r}: must be at most {limits['maximum']}")
    return converted


def convert(hint: Any, value: Any) -> Any:
    """`value`, or the text it is written as, as the type `hint`. Raises ValueError, which says what it must be."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_optional(hint, value)
    if origin is Literal:
        return _one_of(typing.get_args(hint), value)
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        return tuple(convert(typing.get_args(hint)[0], item) for item in items)
    if hint is str:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return value
    return _number(hint, value)


def _convert_optional(hint: Any, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.lower() in {"", "none"}):
        return None
    return convert(next(arg for arg in typing.get_args(hint) if arg is not type(None)), value)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(map(str, choices))}")
    return value


def _number(hint: Any, value: Any) -> Any:
    noun = "a whole number" if hint is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {noun}")
    try:
        number = hint(value)
    except ValueError:
        raise ValueError(f"must be {noun}") from None
    if isinstance(value, float) and number != value:
        raise ValueError(f"must be {noun}")
    return number
