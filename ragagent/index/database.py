"""Connections to the knowledge base's SQLite database, and SQLite's errors in our terms."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragagent.errors import Corrupt, IndexStateError, Locked, StorageFull

FILE_NAME = "ragagent.db"

_WRITE_FAILURES = ("FULL", "READONLY", "IOERR_WRITE", "IOERR_FSYNC", "IOERR_DIR_FSYNC", "IOERR_TRUNCATE", "IOERR_SHM")
_BUSY_TIMEOUT_MS = 10_000
_CHECKPOINT_TIMEOUT_MS = 200
LOG_BYTES = 32 * 1024 * 1024
"""A write-ahead log longer than this is emptied by the writer."""


def connect(folder: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand. The file must exist."""
    file = folder / FILE_NAME
    with translated(folder):
        connection = _opened(file, "mode=ro" if read_only else "mode=rw")
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if not read_only or not _unshared(error, file):
                raise
            # On read-only media there is no place for WAL's shared memory, and without a log none is needed.
            connection = _opened(file, "mode=ro&immutable=1")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")
        # Removed rows are overwritten where that costs no more writing; `compact --erase` sees to the rest.
        connection.execute("PRAGMA secure_delete = FAST")
        return connection


def _opened(file: Path, parameters: str) -> sqlite3.Connection:
    # A file name may hold any character, so it goes into the URI percent-encoded.
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{parameters}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    return connection


def _unshared(error: sqlite3.Error, file: Path) -> bool:
    log = file.with_name(file.name + "-wal")
    return _name(error) in {"CANTOPEN", "READONLY_CANTINIT", "READONLY_DIRECTORY", "READONLY"} and (
        not log.exists() or log.stat().st_size == 0
    )


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_")


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Runs a block whose SQLite and file errors leave as kinds of IndexStateError that name the folder."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(folder, error) from error
    except UnicodeDecodeError as error:
        # sqlite3 itself stumbles over a damaged name of a table in the message of its error.
        raise _corrupt(folder, error) from error
    except OSError as error:
        raise StorageFull(
            f"{folder}: {error.strerror or error}; nothing that was committed is lost. "
            "Make room or give permission to write, then run it again"
        ) from error


def _translation(folder: Path, error: sqlite3.Error) -> IndexStateError:
    name = _name(error)
    if name.startswith(_WRITE_FAILURES) or name.startswith("CANTOPEN"):
        return StorageFull(
            f"{folder}: cannot be written ({error}); nothing that was committed is lost. "
            "Make room or give permission to write, then run it again"
        )
    if name.startswith(("BUSY", "LOCKED")):
        if reason := _unlockable(folder):
            return IndexStateError(
                f"{folder}: this file system cannot lock files ({reason}), so two programs would write at once; "
                "move the knowledge base to a local disk"
            )
        return Locked(f"{folder}: the database is held by another program ({error}); try again when it is done")
    # What a statement asks for is always there, so an error in one means that the schema or a text is damaged.
    damaged = name.startswith(("NOTADB", "CORRUPT", "IOERR", "ERROR", "SCHEMA", "MISMATCH", "FORMAT"))
    if damaged or isinstance(error, sqlite3.DataError) or not name:
        return _corrupt(folder, error)
    return IndexStateError(f"{folder / FILE_NAME}: {error}")


def _unlockable(folder: Path) -> str:
    """Why no file in `folder` can be locked; empty where one can, or where that cannot be tried.

    SQLite takes such a file system for one where somebody else holds the lock.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return (error.strerror or "no locks") if error.errno in _NO_LOCKS else ""
    return ""


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def _corrupt(folder: Path, error: Exception) -> Corrupt:
    return Corrupt(
        f"{folder / FILE_NAME}: not a sound knowledge base ({error}). "
        "Restore it from a backup, or move the folder away and ingest again"
    )


def _fault(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong first, reading everything; empty when all is well."""
    found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return "" if found == "ok" else found


def single(row: Sequence[Any] | None) -> Any:
    """The value of a row that is always there. Raises sqlite3.DatabaseError, which is `translated`, where it is not."""
    if row is None:
        raise sqlite3.DatabaseError("a row that every knowledge base has is missing")
    return row[0]


def shorten_log(folder: Path, connection: sqlite3.Connection) -> None:
    """Empties the write-ahead log when it has grown long.

    SQLite starts it over only at a moment without readers, and a busy server has none. This waits a moment for those
    that are reading; if they do not end, the next write tries again.
    """
    log = folder / f"{FILE_NAME}-wal"
    if not log.exists() or log.stat().st_size < LOG_BYTES:
        return
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT_MS}")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")


NEWEST = "newest"
"""The file that says which commit was the last to be acknowledged."""
_NEWEST = struct.Struct("<QI")


def remember(folder: Path, generation: int) -> None:
    """Writes down, beside the database, that this commit was acknowledged: 10 us. It is not synced, and may be lost."""
    number = generation.to_bytes(8, "little")
    # Only for the finding that commits are missing: a full disk must not fail a commit that is done.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / NEWEST, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, _NEWEST.pack(generation, zlib.crc32(number)), 0)
        finally:
            os.close(descriptor)


def remembered(folder: Path) -> int:
    """The last commit that was written down; 0 where none is, or not soundly."""
    try:
        generation, checksum = _NEWEST.unpack((folder / NEWEST).read_bytes())
    except (OSError, struct.error):
        return 0
    return int(generation) if zlib.crc32(generation.to_bytes(8, "little")) == checksum else 0


class Readers:
    """A pool of read-only connections: one for each search that is under way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: everything read in the block is of one commit."""
        connection = self._taken()
        sound = False
        try:
            with translated(self._folder):
                connection.execute("BEGIN")
                try:
                    yield connection
                except (TypeError, ValueError, AttributeError, LookupError) as error:
                    # Values of another kind than was written? Then it is the file that is at fault.
                    fault = _fault(connection)
                    if fault:
                        raise sqlite3.DatabaseError(fault) from error
                    raise
            sound = True
        finally:
            self._returned(connection, sound=sound)

    def _taken(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise IndexStateError(f"{self._folder}: the index is closed")
            if self._idle:
                return self._idle.pop()
        return connect(self._folder, read_only=True)

    def _returned(self, connection: sqlite3.Connection, *, sound: bool) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            # An error keeps the cursors of its frames alive, and a cursor that is not done keeps its commit in sight
            # beyond the transaction: who came next would read what was then.
            if sound and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes what is idle; what is in use is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
