"""What the model folder remembers of a model: where it came from, when, and the hash of every file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ragagent import atomic
from ragagent.errors import ModelLoadError, ModelNotFound
from ragagent.models.catalogue import Model, ModelFile, ModelKind, safe_name, safe_path, safe_sha256
from ragagent.models.reference import PREFIX, folder_name, hub_model

Trust = Literal["catalogue", "source", "first pull"]
"""Who says that a hash is right: the catalogue, the source it came from, or nobody (seen at the first pull)."""

_MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """A file as it was when it was put in place."""

    path: str
    size_bytes: int
    sha256: str
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A model in the folder. `pulled_at` is UTC in ISO 8601."""

    name: str
    kind: ModelKind
    source: str
    pulled_at: str
    files: tuple[RecordedFile, ...]


def write_record(path: Path, record: Record) -> None:
    """Writes the record whole or not at all."""
    atomic.write(path, json.dumps(asdict(record), indent=1) + "\n", mode=0o644)


def read_record(path: Path) -> Record | None:
    """The record at `path`, None where there is none. Raises ModelLoadError for one that cannot be understood."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    try:
        record = parse_record(json.loads(text))
        if f"{folder_name(record.name)}.json" != path.name:
            raise ValueError(f"it is the record of {record.name}")
        return record
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelLoadError(f"{path} is damaged ({error}): delete it and pull the model again") from error


def parse_record(data: Any) -> Record:
    """A record out of JSON values. Raises ValueError, KeyError or TypeError for one that is not right in every part."""
    kind = data["kind"]
    if kind not in ("chat", "embedding"):
        raise ValueError(f"kind {kind!r}")
    files = tuple(_file(entry) for entry in data["files"])
    if not files or len({file.path for file in files}) != len(files):
        raise ValueError("no files, or one twice")
    return Record(
        name=_name(data["name"]),
        kind=kind,
        source=_text(data["source"]),
        pulled_at=_text(data["pulled_at"]),
        files=files,
    )


def _name(value: Any) -> str:
    """A name that is safe to make a folder of."""
    name = _text(value)
    if not safe_name(name):
        if not name.startswith(PREFIX):
            raise ValueError(f"name {name!r}")
        try:
            hub_model(name)
        except ModelNotFound:
            raise ValueError(f"name {name!r}") from None
    return name


def _file(data: Any) -> RecordedFile:
    path, size, sha256, trust = _text(data["path"]), data["size_bytes"], _text(data["sha256"]), data["trust"]
    if not safe_path(path) or not safe_sha256(sha256) or trust not in ("catalogue", "source", "first pull"):
        raise ValueError(f"file {path!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size {size!r}")
    return RecordedFile(path=path, size_bytes=size, sha256=sha256, trust=trust)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def known_files(model: Model, record: Record | None) -> tuple[ModelFile, ...]:
    """The files of a model; what the catalogue does not say of one is filled in from the record."""
    recorded = {file.path: file for file in record.files} if record else {}
    if not model.files:
        return tuple(ModelFile(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes) for f in recorded.values())
    return tuple(_completed(file, recorded.get(file.path)) for file in model.files)


def _completed(file: ModelFile, recorded: RecordedFile | None) -> ModelFile:
    if file.sha256 is not None or recorded is None:
        return file
    return ModelFile(path=file.path, sha256=recorded.sha256, size_bytes=file.size_bytes or recorded.size_bytes)
