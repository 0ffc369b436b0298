"""What a folder of a sentence-transformers model says about its encoder, and whether the fast path can run it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragagent.errors import ModelLoadError

_PAIR_TOKENS = 512
_TRANSFORMER, _POOLING, _NORMALIZE = "Transformer", "Pooling", "Normalize"
_FAMILIES = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}
_DECIDING = {".safetensors", ".bin", ".json", ".txt", ".model", ".py"}
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class UnknownEncoder(ModelLoadError):
    """The model may be sound, but the fast path does not know how to run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """A BERT-family encoder: its shape, how token vectors become one, and what is put before a text."""

    folder: Path
    weights: Path
    tokenizer: Path
    dimension: int
    layers: int
    heads: int
    epsilon: float
    activation: Literal["gelu", "relu"]
    first_position: int
    """Number of the first position: RoBERTa counts from the padding id plus one."""
    pooling: Literal["mean", "cls"]
    max_tokens: int
    pad_id: int
    query_prefix: str
    document_prefix: str


def read_spec(folder: Path) -> EncoderSpec:
    """The encoder in `folder`.

    Raises UnknownEncoder, with the reason, for a model that is something else, and ModelLoadError for a folder that
    holds no model or contradicts itself.
    """
    transformer, pooling = _modules(folder)
    config = _table(transformer / "config.json")
    _check_architecture(folder, config)
    return _spec(folder, transformer, config, pooling, _prompts(folder))


def read_pair_spec(folder: Path) -> EncoderSpec:
    """The encoder of a cross-encoder in `folder`, as sentence-transformers and transformers save one.

    Raises UnknownEncoder, with the reason, for a model that is something else than a BERT-family encoder with one
    score for a pair, and ModelLoadError for a folder that holds no model or contradicts itself.
    """
    config = _table(folder / "config.json")
    _check_architecture(folder, config)
    named = config.get("architectures") or [""]
    if not str(named[0]).endswith("ForSequenceClassification"):
        raise UnknownEncoder(f"{folder}: its architecture is {named[0]}, not one for classifying sequences")
    labels = len(config.get("id2label") or {0: ""})
    if labels != 1:
        raise UnknownEncoder(f"{folder}: gives {labels} scores for a pair, not one")
    return _spec(folder, folder, config, "cls", {})


def _spec(
    folder: Path,
    transformer: Path,
    config: Mapping[str, Any],
    pooling: Literal["mean", "cls"],
    prompts: Mapping[str, str],
) -> EncoderSpec:
    """The encoder whose files lie in `transformer`, by its configuration, which was checked."""
    first = config.get("pad_token_id", 1) + 1 if _FAMILIES[config["model_type"]] else 0
    return EncoderSpec(
        folder=folder,
        weights=_present(transformer / "model.safetensors"),
        tokenizer=_present(transformer / "tokenizer.json"),
        dimension=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        epsilon=config["layer_norm_eps"],
        activation=config["hidden_act"],
        first_position=first,
        pooling=pooling,
        max_tokens=_max_tokens(transformer, config["max_position_embeddings"] - first),
        pad_id=config.get("pad_token_id") or 0,
        query_prefix=prompts.get("query", ""),
        document_prefix=prompts.get("document", ""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLimits:
    """How a cross-encoder's input is made: `kinds` says whether it is told which tokens are of the second text."""

    max_tokens: int
    pad_id: int
    kinds: bool


def read_pair_limits(folder: Path) -> PairLimits:
    """The limits that the files beside a cross-encoder's weights state; the weights themselves may be elsewhere."""
    config, tokenizer = _optional(folder / "config.json"), _optional(folder / "tokenizer_config.json")
    padding, positions = config.get("pad_token_id"), config.get("max_position_embeddings")
    pad_id = padding if isinstance(padding, int) else 0
    first = pad_id + 1 if _FAMILIES.get(str(config.get("model_type"))) else 0
    most = positions - first if isinstance(positions, int) and positions > first else _PAIR_TOKENS
    named = tokenizer.get("model_input_names")
    made_by = tokenizer.get("tokenizer_class") or "Bert"
    kinds = "token_type_ids" in named if isinstance(named, list) else str(made_by).startswith("Bert")
    return PairLimits(max_tokens=_max_tokens(folder, most), pad_id=pad_id, kinds=kinds)


def content_digest(folder: Path) -> str:
    """A digest of every file in `folder` that may decide what its vectors are, wherever the folder lies."""
    state = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.suffix in _DECIDING and not any(part.startswith(".") for part in relative.parts):
            state.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                state.update(hashlib.file_digest(stream, "sha256").digest())
    return state.hexdigest()[:32]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read: {error.strerror}; fetch the model again") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: not valid JSON ({error}); fetch the model again") from error


def _table(path: Path) -> Mapping[str, Any]:
    table = _json(path)
    if not isinstance(table, dict):
        raise ModelLoadError(f"{path}: not a JSON object; fetch the model again")
    return table


def _optional(path: Path) -> Mapping[str, Any]:
    return _table(path) if path.is_file() else {}


def _modules(folder: Path) -> tuple[Path, Literal["mean", "cls"]]:
    """The folder of the transformer, and the pooling. The third module may only normalise, which is always done."""
    try:
        listed = [
            (str(module["type"]).rsplit(".", 1)[-1], folder / module["path"])
            for module in _json(folder / "modules.json")
        ]
    except (TypeError, KeyError) as error:
        raise ModelLoadError(f"{folder}/modules.json: not a list of modules; fetch the model again") from error
    kinds = [kind for kind, _ in listed]
    if kinds not in ([_TRANSFORMER, _POOLING], [_TRANSFORMER, _POOLING, _NORMALIZE]):
        raise UnknownEncoder(f"{folder}: its modules are {', '.join(kinds)}, not Transformer, Pooling and Normalize")
    transformer, pooling = (path for _, path in listed[:2])
    for path in (transformer, pooling):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelLoadError(f"{folder}: modules.json names {path}, outside the folder")
    return transformer, _pooling(folder, _table(pooling / "config.json"))


def _pooling(folder: Path, config: Mapping[str, Any]) -> Literal["mean", "cls"]:
    stated = config.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)]
    if not config.get("include_prompt", True):
        raise UnknownEncoder(f"{folder}: leaves the prompt out of pooling")
    match stated:
        case [] | "mean" | ["mean"]:
            return "mean"
        case "cls" | ["cls"]:
            return "cls"
    raise UnknownEncoder(f"{folder}: pools by {stated}, not by mean or cls")


def _prompts(folder: Path) -> Mapping[str, str]:
    prompts = _optional(folder / "config_sentence_transformers.json").get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ModelLoadError(f"{folder}: its prompts are not texts by name; fetch the model again")
    return {name: text or "" for name, text in prompts.items()}


def _check_architecture(folder: Path, config: Mapping[str, Any]) -> None:
    wanted: dict[str, tuple[Any, ...]] = {
        "model_type": tuple(_FAMILIES),
        "hidden_act": ("gelu", "relu"),
        "position_embedding_type": (None, "absolute"),
        "is_decoder": (None, False),
        "add_cross_attention": (None, False),
    }
    for key, known in wanted.items():
        if config.get(key) not in known:
            raise UnknownEncoder(f"{folder}: {key} is {config.get(key)!r}, not one of {', '.join(map(str, known))}")
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise ModelLoadError(f"{folder}: config.json has no valid {key}; fetch the model again")
    if config["hidden_size"] % config["num_attention_heads"] or not isinstance(config.get("layer_norm_eps"), float):
        raise ModelLoadError(f"{folder}: config.json contradicts itself; fetch the model again")


def _present(path: Path) -> Path:
    if not path.is_file():
        raise UnknownEncoder(f"{path.parent}: has no {path.name}")
    return path


def _max_tokens(transformer: Path, positions: int) -> int:
    settings = _optional(transformer / "sentence_bert_config.json")
    if settings.get("do_lower_case"):
        raise UnknownEncoder(f"{transformer}: lowercases texts before its tokenizer")
    stated = settings.get("max_seq_length")
    if stated is None:
        stated = _optional(transformer / "tokenizer_config.json").get("model_max_length")
    return min(int(stated), positions) if isinstance(stated, int | float) and stated > 2 else positions
