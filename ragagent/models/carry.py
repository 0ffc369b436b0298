"""Models out of the model folder and into another: as an archive, or as a folder that can serve as model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragagent.errors import ModelLoadError
from ragagent.models.archive import copy_member, scan_archive, write_archive
from ragagent.models.catalogue import Catalogue
from ragagent.models.layout import Layout
from ragagent.models.record import Record, RecordedFile, Trust, read_record
from ragagent.models.transfer import Hashing, Meter, copy, require_space, sha256_of


def export_archive(models: Sequence[tuple[Record, Path]], target: Path, meter: Meter) -> int:
    """Writes a tar; its size in bytes. Raises ModelLoadError for a model that is not as recorded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, sum(file.size_bytes for record, _ in models for file in record.files))
    return write_archive(target, models, meter)


def export_folder(models: Sequence[tuple[Record, Path]], target: Path, meter: Meter) -> int:
    """Copies models into another model folder; the bytes copied. Raises ModelLoadError as above."""
    target.mkdir(parents=True, exist_ok=True)
    require_space(target, sum(file.size_bytes for record, _ in models for file in record.files))
    layout = Layout(target)
    for record, folder in models:
        staged = layout.partial(record.name) / "export"
        for file in record.files:
            _copy_checked(folder / file.path, staged / file.path, file, meter)
        layout.install(staged, record, [file.path for file in record.files])
        shutil.rmtree(layout.partial(record.name))
    return sum(file.size_bytes for record, _ in models for file in record.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One model on offer; `copy` puts one of its files at a path, its hash checked, or raises ModelLoadError."""

    record: Record
    copy: Callable[[RecordedFile, Path, Meter], None]


def parcels(source: Path) -> tuple[Parcel, ...]:
    """The models in an archive or in a folder that an export wrote. Raises ModelLoadError."""
    found = tuple(_folder_parcels(source) if source.is_dir() else _archive_parcels(source))
    if not found:
        raise ModelLoadError(f"{source} holds no models: it has none of the records that an export writes")
    return found


def _archive_parcels(archive: Path) -> Iterator[Parcel]:
    records, members = scan_archive(archive)
    places = {(member.record.name, member.file.path): member for member in members}
    for record in records:

        def take(file: RecordedFile, target: Path, meter: Meter, name: str = record.name) -> None:
            copy_member(archive, places[name, file.path], target, meter)

        yield Parcel(record=record, copy=take)


def _folder_parcels(folder: Path) -> Iterator[Parcel]:
    layout = Layout(folder)
    for record in filter(None, map(read_record, layout.record_paths())):

        def take(file: RecordedFile, target: Path, meter: Meter, name: str = record.name) -> None:
            _copy_checked(layout.model(name) / file.path, target, file, meter)

        yield Parcel(record=record, copy=take)


def accepted(record: Record, catalogue: Catalogue, known: Record | None, origin: str) -> Record:
    """The record to write for an imported model: what it says of itself counts only where nobody here knows better.

    Raises ModelLoadError for a model that is not the one the catalogue, or an earlier pull, knows by that name.
    """
    pinned: dict[str, str] = {}
    if record.name in catalogue:
        model = catalogue.get(record.name)
        missing = {file.path for file in model.files} - {file.path for file in record.files}
        if model.kind != record.kind or missing or (model.files and len(model.files) != len(record.files)):
            raise ModelLoadError(f"{origin}: {record.name} is not made of the files that the catalogue lists")
        pinned = {file.path: file.sha256 for file in model.files if file.sha256}
    earlier = {file.path: file.sha256 for file in known.files} if known else {}
    files = tuple(_accepted_file(record.name, file, pinned, earlier, origin) for file in record.files)
    return replace(record, files=files, source=f"imported from {origin} ({record.source})")


def _accepted_file(
    name: str, file: RecordedFile, pinned: dict[str, str], earlier: dict[str, str], origin: str
) -> RecordedFile:
    expected = pinned.get(file.path) or earlier.get(file.path)
    if expected not in (None, file.sha256):
        raise ModelLoadError(
            f"{origin}: {file.path} of {name} has sha256 {file.sha256}, {expected} is expected"
            + ("" if file.path in pinned else " from an earlier pull; remove the model first to take this one")
        )
    trust: Trust = "catalogue" if file.path in pinned else "first pull" if file.trust == "first pull" else "source"
    return replace(file, trust=trust)


def stage(parcel: Parcel, record: Record, staged: Path, meter: Meter) -> None:
    """Puts every file of a model under `staged`, each with its hash checked."""
    staged.mkdir(parents=True, exist_ok=True)
    require_space(staged, sum(file.size_bytes for file in record.files))
    for file in record.files:
        parcel.copy(file, staged / file.path, meter)


def is_whole(layout: Layout, record: Record) -> bool:
    """Whether every file of the record is in the folder with its hash."""
    folder = layout.model(record.name)
    return all((folder / file.path).is_file() and sha256_of(folder / file.path) == file.sha256 for file in record.files)


def _copy_checked(source: Path, target: Path, file: RecordedFile, meter: Meter) -> None:
    if source.is_symlink() or not source.is_file():
        raise ModelLoadError(f"{source} is missing or not a plain file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as stream, target.open("wb") as out:
        hashing = Hashing(stream)
        copy(hashing, out, limit=file.size_bytes, meter=meter, detail=file.path)
    if hashing.sha256() != file.sha256:
        target.unlink()
        raise ModelLoadError(f"{source} is damaged: sha256 {hashing.sha256()}, {file.sha256} is expected")
