"""Backups: a knowledge base as one file, and back.

The file is a plain zip archive: `manifest.json` with the SHA-256 of every member, the database as of one commit, the
segment files that this commit lists, how the sources were opened, which holds no secrets, and a backup of the agents'
memory where there is one. Segments are only speed: one that cannot be read is left out, and built again by whoever
writes to the restored knowledge base.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ragagent.atomic import sync_folder
from ragagent.errors import ConfigError, Corrupt, NewerVersion
from ragagent.index import block, schema, segments
from ragagent.index.database import FILE_NAME, connect, translated
from ragagent.index.view import listed
from ragagent.protocols import Progress

_MANIFEST = "manifest.json"
_FORMAT = 3
_WITHOUT_MEMORY = 2
"""The format of a backup without a memory, which versions from before there was one can restore."""
SOURCES = "sources.json"
"""Beside the index: how each source was opened, so that a restored knowledge base can be brought up to date."""
_PAGES = 1024
_PIECE = 1 << 20
_LEVEL = 1
# What zipfile raises, depending on where the damage is: a flipped bit may name another compression, ask for a password
# or point before the beginning of the file.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, KeyError, RuntimeError, ValueError, OverflowError, OSError),
)
MEMORY = "memory"
"""Beside the index: the folder of the index of what agents remember."""
_MEMORY_FILE = f"{MEMORY}.zip"
_MEMBER = re.compile(
    rf"{re.escape(FILE_NAME)}|{re.escape(SOURCES)}|{re.escape(_MEMORY_FILE)}|{segments.FOLDER}/[0-9a-f]+\.[a-z]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """A backup: what is in it, the commit it is of, and the size of the file."""

    file: str
    documents: int
    generation: int
    size_bytes: int


def create(
    folder: Path,
    connection: sqlite3.Connection,
    file: Path,
    progress: Progress | None = None,
    memory: Path | None = None,
) -> BackupReport:
    """Writes the commit that `connection` sees, in a read transaction, to `file`; writers are not kept waiting.

    `memory` is a backup of the agents' memory, to go with it. Needs room beside `file` for the database as well.
    Raises ConfigError when the file is there already, StorageFull.
    """
    with translated(file.parent):
        if file.exists():
            raise ConfigError(f"{file}: there already; choose another name, or move it away")
        file.parent.mkdir(parents=True, exist_ok=True)
        aside, copy = file.with_name(f"{file.name}.aside"), file.with_name(f"{file.name}.aside-db")
        try:
            _copy_database(connection, copy, progress)
            facts = {
                "documents": connection.execute("SELECT count(*) FROM documents").fetchone()[0],
                "generation": schema.generation(connection),
            }
            members = {FILE_NAME: copy, **_segment_files(folder, connection), SOURCES: folder / SOURCES}
            members |= {_MEMORY_FILE: memory} if memory is not None else {}
            _write(aside, members, facts, progress)
            aside.replace(file)
            sync_folder(file.parent)
        finally:
            for leftover in (aside, copy):
                leftover.unlink(missing_ok=True)
        return BackupReport(file=str(file), size_bytes=file.stat().st_size, **facts)


def restore(file: Path, folder: Path, progress: Progress | None = None) -> BackupReport:
    """Unpacks a backup into `folder`, which is not there yet or empty. Every byte is held against its checksum.

    Raises Corrupt, naming what is damaged, ConfigError, NewerVersion or StorageFull; `folder` is as it was then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: not empty; restore into a new folder")
    if not file.is_file():
        raise ConfigError(f"{file}: no such file")
    with translated(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f"{folder.name}.restoring")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
    try:
        manifest = _unpack(file, aside, progress)
        _verify(file, aside)
        _restore_memory(aside)
        with translated(folder.parent):
            aside.replace(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return BackupReport(
        file=str(file),
        documents=manifest["documents"],
        generation=manifest["generation"],
        size_bytes=file.stat().st_size,
    )


def _restore_memory(aside: Path) -> None:
    """Unpacks the backup of the memory that came in a backup; a memory has none itself."""
    inner = aside / _MEMORY_FILE
    if not inner.exists():
        return
    if aside.name == f"{MEMORY}.restoring":
        raise Corrupt(f"{inner.name}: a backup of a memory with a memory in it, which none has; use another backup")
    restore(inner, aside / MEMORY)
    inner.unlink()


def _copy_database(connection: sqlite3.Connection, copy: Path, progress: Progress | None) -> None:
    def shown(_: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress.update("copy", total - remaining, total)

    copy.unlink(missing_ok=True)
    target = sqlite3.connect(copy)
    try:
        # The connection is in a read transaction, so every step copies pages of the same commit.
        connection.backup(target, pages=_PAGES, progress=shown, sleep=0)
    finally:
        target.close()


def _segment_files(folder: Path, connection: sqlite3.Connection) -> dict[str, Path]:
    files = {}
    for one in listed(connection):
        for suffix in block.SUFFIXES:
            file = segments.path(folder, getattr(one, suffix), suffix)
            if file.is_file() and _MEMBER.fullmatch(name := f"{segments.FOLDER}/{file.name}"):
                files[name] = file
    return files


def _write(aside: Path, members: dict[str, Path], facts: dict[str, int], progress: Progress | None) -> None:
    total, done = sum(_size(one) for one in members.values()), 0
    digests: dict[str, str] = {}
    with aside.open("wb") as opened:
        with zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for name, file in members.items():
                try:
                    source = file.open("rb")
                except FileNotFoundError:
                    # Merged away meanwhile; or no source was opened in a way that has to be remembered.
                    continue
                state = hashlib.sha256()
                with source, archive.open(name, "w", force_zip64=True) as target:
                    for piece in _pieces(source):
                        state.update(piece)
                        target.write(piece)
                        done += len(piece)
                        if progress is not None:
                            progress.update("write", done >> 20, max(total, done) >> 20, name)
                digests[name] = state.hexdigest()
            made = _FORMAT if _MEMORY_FILE in members else _WITHOUT_MEMORY
            manifest = {"format": made, **facts, "sha256": digests}
            archive.writestr(_MANIFEST, json.dumps(manifest, indent=2))
        opened.flush()
        os.fsync(opened.fileno())


def _unpack(file: Path, into: Path, progress: Progress | None) -> dict[str, int]:
    with _reading(file), zipfile.ZipFile(file) as archive:
        try:
            manifest = json.loads(archive.read(_MANIFEST))
            digests = dict(manifest["sha256"])
            if manifest["format"] > _FORMAT:
                raise NewerVersion(f"{file}: a backup by a newer ragagent; upgrade ragagent to restore it")
        except (KeyError, ValueError, TypeError) as error:
            raise Corrupt(f"{file}: not a whole backup of a knowledge base ({error}); use another one") from error
        total, done = sum(archive.getinfo(name).file_size for name in digests), 0
        for name, expected in digests.items():
            if not _MEMBER.fullmatch(name):
                raise Corrupt(f"{file}: holds {name!r}, which no backup does; use another one")
            target = into / name
            target.parent.mkdir(exist_ok=True)
            state = hashlib.sha256()
            with archive.open(name) as source, translated(into), target.open("wb") as opened:
                for piece in _pieces(source):
                    state.update(piece)
                    opened.write(piece)
                    done += len(piece)
                    if progress is not None:
                        progress.update("restore", done >> 20, total >> 20, name)
                opened.flush()
                os.fsync(opened.fileno())
            if state.hexdigest() != expected:
                raise Corrupt(f"{file}: {name} in it is damaged; use another backup")
    return dict(manifest)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise Corrupt(f"{file}: not a whole backup of a knowledge base ({error}); use another one") from error


def _verify(file: Path, folder: Path) -> None:
    """Whether what was unpacked is a knowledge base of a format that is known."""
    if not schema.exists(folder):
        raise Corrupt(f"{file}: holds no knowledge base; use another backup")
    connection = connect(folder, read_only=True)
    try:
        with translated(folder):
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        connection.close()
    if found != "ok":
        raise Corrupt(f"{file}: its database was damaged before it was backed up ({found}); use another backup")


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
