"""The archive that carries models to a machine without a network: a plain tar that any tar can list.

The first member is `manifest.json`; then the files it names, in its order, one regular file each. The reader takes
nothing else: it looks at every header before it touches any data, so a link, a path that climbs, a member that is
not in the manifest, another size or a cut file is refused with nothing changed. Extension headers of tar (long names,
sparse files) are refused with the rest, because their own sizes are the attacker's to choose.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ragagent.errors import ModelLoadError
from ragagent.models.record import Record, RecordedFile, parse_record
from ragagent.models.reference import folder_name
from ragagent.models.transfer import Hashing, Meter, copy, settle

_MANIFEST = "manifest.json"
_FORMAT = "ragagent-models"
_VERSION = 1
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_MODELS = 1000
_MAX_MODEL_FILES = 1000
_MAX_NAME_BYTES = 100
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Where the bytes of one file of one model lie in an archive."""

    record: Record
    file: RecordedFile
    offset: int


def write_archive(path: Path, models: Sequence[tuple[Record, Path]], meter: Meter) -> int:
    """Writes the models, each a record with the folder of its files, and returns the archive's size in bytes.

    Files are hashed on the way; raises ModelLoadError, and leaves nothing at `path`, for one that is not as recorded.
    """
    partial = path.with_name(f".{path.name}.new")
    try:
        with partial.open("wb") as archive:
            _write_bytes(archive, _MANIFEST, _manifest([record for record, _ in models]))
            folders = {record.name: folder for record, folder in models}
            for name, record, file in _members([record for record, _ in models]):
                _write_file(archive, name, folders[record.name] / file.path, file, meter)
            archive.write(b"\0" * (2 * _BLOCK))
        settle(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def scan_archive(path: Path) -> tuple[tuple[Record, ...], tuple[Member, ...]]:
    """What an archive holds, every header checked and no data read but the manifest's. Raises ModelLoadError."""
    try:
        with path.open("rb") as archive:
            end = os.fstat(archive.fileno()).st_size
            return _scan(archive, end)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}") from error
    except _Refused as error:
        raise ModelLoadError(f"{path} is not an archive of models, or was tampered with: {error}") from error


def copy_member(path: Path, member: Member, target: Path, meter: Meter) -> None:
    """Copies one file out of an archive. Raises ModelLoadError, and keeps no copy, if its hash is not as recorded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as archive, target.open("wb") as out:
        archive.seek(member.offset)
        source = Hashing(_Section(archive, member.file.size_bytes))
        copy(source, out, limit=member.file.size_bytes, meter=meter, detail=member.file.path)
    if source.sha256() != member.file.sha256:
        target.unlink()
        raise ModelLoadError(
            f"{path}: {member.file.path} of {member.record.name} has sha256 {source.sha256()}, "
            f"{member.file.sha256} is expected"
        )


class _Refused(Exception):
    """What is wrong with an archive."""


class _Section:
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int, /) -> bytes:
        block = self._file.read(min(size, self._left))
        self._left -= len(block)
        return block


def _manifest(records: Sequence[Record]) -> bytes:
    data = {"format": _FORMAT, "version": _VERSION, "models": [asdict(record) for record in records]}
    return json.dumps(data, indent=1).encode()


def _members(records: Sequence[Record]) -> Iterator[tuple[str, Record, RecordedFile]]:
    """The members after the manifest, by name and in order."""
    number = 0
    for record in records:
        for file in record.files:
            number += 1
            name = f"{folder_name(record.name)}/{file.path}"
            # A longer name would need an extension header.
            yield (name if len(name) <= _MAX_NAME_BYTES else f"long-names/{number}"), record, file


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    # The GNU form is plain up to 8 GiB and holds larger sizes in the same header.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> int:
    return -size % _BLOCK


def _write_bytes(archive: BinaryIO, name: str, data: bytes) -> None:
    archive.write(_header(name, len(data)) + data + b"\0" * _padding(len(data)))


def _write_file(archive: BinaryIO, name: str, path: Path, file: RecordedFile, meter: Meter) -> None:
    archive.write(_header(name, file.size_bytes))
    with path.open("rb") as stream:
        source = Hashing(stream)
        copied = copy(source, archive, limit=file.size_bytes, meter=meter, detail=file.path)
    if source.sha256() != file.sha256:
        raise ModelLoadError(f"{path} is damaged: sha256 {source.sha256()} ({copied} bytes), {file.sha256} is expected")
    archive.write(b"\0" * _padding(file.size_bytes))


def _scan(archive: BinaryIO, end: int) -> tuple[tuple[Record, ...], tuple[Member, ...]]:
    size = _expect(archive, _MANIFEST, None, end)
    if size > _MAX_MANIFEST_BYTES:
        raise _Refused(f"a manifest of {size} bytes")
    records = _parse_manifest(archive.read(size))
    archive.seek(_padding(size), os.SEEK_CUR)
    members = []
    for name, record, file in _members(records):
        _expect(archive, name, file.size_bytes, end)
        members.append(Member(record=record, file=file, offset=archive.tell()))
        archive.seek(file.size_bytes + _padding(file.size_bytes), os.SEEK_CUR)
    if archive.read(_BLOCK).strip(b"\0"):
        raise _Refused("there is more in it than its manifest names")
    return records, tuple(members)


def _expect(archive: BinaryIO, name: str, size: int | None, end: int) -> int:
    """Reads a header that must be of a regular file of that name and size; its size."""
    try:
        info = tarfile.TarInfo.frombuf(archive.read(_BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise _Refused(f"where {name} should be there is no header ({error})") from error
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise _Refused(f"{info.name!r} is not a plain file")
    if info.name != name or (size is not None and info.size != size):
        raise _Refused(f"{info.name!r} of {info.size} bytes stands where the manifest has {name!r} of {size}")
    if info.size < 0 or archive.tell() + info.size > end:
        raise _Refused(f"it is cut off inside {name}")
    return info.size


def _parse_manifest(text: bytes) -> tuple[Record, ...]:
    try:
        data = json.loads(text)
        _check_form(data)
        records = tuple(parse_record(entry) for entry in data["models"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Refused(f"its manifest is wrong ({error!r})") from error
    if len({folder_name(record.name) for record in records}) != len(records):
        raise _Refused("its manifest names a model twice")
    return records


def _check_form(data: Any) -> None:
    if data["format"] != _FORMAT or data["version"] != _VERSION:
        raise ValueError(f"format {data['format']!r} version {data['version']!r}, this ragagent reads {_VERSION}")
    if not 0 < len(data["models"]) <= _MAX_MODELS:
        raise ValueError(f"{len(data['models'])} models")
    if any(len(entry["files"]) > _MAX_MODEL_FILES for entry in data["models"]):
        raise ValueError("a model of too many files")
