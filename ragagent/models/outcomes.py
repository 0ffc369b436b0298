"""What the model folder answers: records that print as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragagent.models.catalogue import ModelKind
from ragagent.models.record import RecordedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One line of a list of models. `damaged` means that a file has another size than it should."""

    name: str
    kind: ModelKind
    state: Literal["present", "absent", "damaged"]
    present: bool
    size_bytes: int | None
    licence: str
    context_tokens: int | None
    dimension: int | None
    description: str
    template: str
    path: Path
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """How a model got into the folder. `source` is empty when everything was there already, and right.

    `notes` says plainly which files no published hash vouches for, and which sources failed before.
    """

    name: str
    path: Path
    source: str
    size_bytes: int
    files: tuple[RecordedFile, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file against its hash. `unknown` means that neither catalogue nor record has a hash for it."""

    path: str
    state: Literal["ok", "wrong", "missing", "unknown"]
    expected_sha256: str | None
    found_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every file of a model, hashed anew. `ok` means that each one is right."""

    name: str
    ok: bool
    files: tuple[FileCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal freed, partial downloads included."""

    name: str
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where models were written, which, and how many bytes."""

    path: Path
    names: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Which models came in, which of them were here already, and the bytes written."""

    names: tuple[str, ...]
    already: tuple[str, ...]
    size_bytes: int
