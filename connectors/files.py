"""Files and folders on this machine."""

from __future__ import annotations

import errno
import os
import stat
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragagent.connectors.ignore import FILES as IGNORE_FILES
from ragagent.connectors.ignore import Ignore, matcher
from ragagent.connectors.options import read_options
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Failure

_READS = 3
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def file_uri(path: str) -> str:
    """The `file://` URI of an absolute path; bytes that are not UTF-8 are percent-encoded as they are."""
    return "file://" + urllib.parse.quote(os.fsencode(path))


def file_path(uri: str) -> str:
    """The path of a `file://` URI, the exact bytes that `file_uri` was given."""
    return os.fsdecode(urllib.parse.unquote_to_bytes(uri.removeprefix("file://")))


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesOptions:
    """What a folder can be told: patterns as in .gitignore, against the path within the folder."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class FilesConnector:
    """A file, or every file below a folder.

    Left out without a word: hidden names, what .gitignore and .ragagentignore files say, and what `include` and
    `exclude` (patterns as in .gitignore, against the path within the folder) leave out. Symbolic links are followed
    within the folder, each target once, and reported when they lead out of it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        settings: IngestSettings | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        self._settings = settings or IngestSettings()
        self._root = os.path.realpath(path)
        self._given = str(path)
        try:
            self._include, self._exclude = matcher(include), matcher(exclude)
        except ValueError as error:
            raise ConfigError(f"a pattern to include or exclude cannot be used: {error}") from error

    @property
    def source(self) -> str:
        """The file URI of the file or folder."""
        return file_uri(self._root)

    @property
    def path(self) -> str:
        """The real path of the file or folder."""
        return self._root

    def narrowed(self, places: Sequence[str]) -> NarrowedFiles:
        """The same source with an eye on some paths in it alone."""
        return NarrowedFiles(self, places)

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every file, sorted by name within its folder. Raises ConnectorError for a path that is not there."""
        try:
            found = os.stat(self._root)
        except OSError as error:
            raise ConnectorError(f"{self._given}: {error.strerror or error}; give a file or a folder") from error
        if stat.S_ISDIR(found.st_mode):
            yield from self.walk()
        else:
            yield _item(self._root, found)

    def fetch(self, item: SourceItem) -> Fetched:
        """The bytes of a file below the root. Raises ReadError, or TooLarge."""
        path = file_path(item.uri)
        real = os.path.realpath(path)
        if real != self._root and not real.startswith(self._root.rstrip(os.sep) + os.sep):
            raise ReadError("it leads out of the folder that was given")
        data, modified = _read(real, self._settings.max_file_bytes)
        return Fetched(
            uri=item.uri,
            name=os.path.basename(path),
            content=data,
            metadata={"modified": datetime.fromtimestamp(modified, UTC).date().isoformat()},
        )

    def walk(self, places: Sequence[str] | None = None) -> Iterator[SourceItem | Failure]:
        """The files below the folder, or those at and below `places` in it.

        A walk with a stack of its own, so that depth is bounded by the file system alone.
        """
        seen = {self._root}
        stack: list[tuple[Iterator[str], Ignore]] = []
        yield from self._open(self._root, Ignore(), stack, places)
        while stack:
            names, ignore = stack[-1]
            path = next(names, None)
            if path is None:
                stack.pop()
                continue
            try:
                target, found = self._look(path)
            except OSError as error:
                if places is None or not isinstance(error, FileNotFoundError):
                    yield Failure(uri=file_uri(path), reason=_reason(error))
                continue
            if target is None:
                yield Failure(uri=file_uri(path), reason="a symbolic link out of the folder", kind="ConnectorError")
            elif target in seen or not self._wanted(target, found, ignore):
                continue
            else:
                seen.add(target)
                if stat.S_ISDIR(found.st_mode):
                    yield from self._open(target, ignore, stack, places)
                else:
                    yield _item(target, found)

    def _open(
        self,
        folder: str,
        ignore: Ignore,
        stack: list[tuple[Iterator[str], Ignore]],
        places: Sequence[str] | None,
    ) -> Iterator[SourceItem | Failure]:
        try:
            names = _names(folder, places)
            inner, broken = ignore.entered(folder, names)
        except OSError as error:
            yield Failure(uri=file_uri(folder), reason=_reason(error))
            return
        yield from (Failure(uri=file_uri(path), reason=reason, kind="ConnectorError") for path, reason in broken)
        stack.append((iter([os.path.join(folder, name) for name in names if not name.startswith(".")]), inner))

    def _look(self, path: str) -> tuple[str | None, os.stat_result]:
        """The real path and its status; None for a link that leads out of the root."""
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode):
            return path, found
        real = os.path.realpath(path, strict=True)
        inside = real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)
        return (real if inside else None), os.lstat(real)

    def _wanted(self, path: str, found: os.stat_result, ignore: Ignore) -> bool:
        folder = stat.S_ISDIR(found.st_mode)
        inside = os.path.relpath(path, self._root) + (os.sep if folder else "")
        if ignore.matches(path, folder=folder) or (self._exclude and self._exclude.match_file(inside)):
            return False
        return folder or self._include is None or self._include.match_file(inside)


class NarrowedFiles:
    """Some paths of a folder: what is there now, and, as nothing else is looked at, what is there no more."""

    def __init__(self, files: FilesConnector, places: Sequence[str]) -> None:
        self._files = files
        self._places = tuple(dict.fromkeys(places))

    @property
    def source(self) -> str:
        """That of the whole folder."""
        return self._files.source

    @property
    def places(self) -> tuple[str, ...]:
        """The addresses of the paths."""
        return tuple(map(file_uri, self._places))

    def items(self) -> Iterator[SourceItem | Failure]:
        """The files at and below the paths; only the folders on the way to them are looked into.

        Raises ConnectorError where the folder is gone or empty: an unmounted disk must not empty a knowledge base.
        """
        root = self._files.path
        if os.path.isfile(root):
            yield from self._files.items()
            return
        try:
            with os.scandir(root) as entries:
                is_empty = all(entry.name.startswith(".") for entry in entries)
        except OSError as error:
            raise ConnectorError(f"{root}: {error.strerror or error}; nothing was removed") from error
        if is_empty:
            raise ConnectorError(f"{root}: the folder is empty; nothing was removed")
        yield from self._files.walk(self._places)

    def fetch(self, item: SourceItem) -> Fetched:
        """As the whole folder's connector does."""
        return self._files.fetch(item)


def _names(folder: str, places: Sequence[str] | None) -> list[str]:
    """The names in a folder, sorted; those that lead to `places` where the folder is above these."""
    if places is None or any(_is_within(folder, place) for place in places):
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    start = folder.rstrip(os.sep) + os.sep
    leading = {place[len(start) :].partition(os.sep)[0] for place in places if place.startswith(start)}
    return sorted({*leading, *(name for name in IGNORE_FILES if os.path.lexists(start + name))})


def _is_within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> FilesConnector:
    """The file or folder at a path, or at a `file://` address."""
    chosen = read_options(FilesOptions, options, source=address)
    path = file_path(address) if address.lower().startswith("file://") else address
    return FilesConnector(path, settings=settings, include=chosen.include, exclude=chosen.exclude)


def _item(path: str, found: os.stat_result) -> SourceItem | Failure:
    for is_kind, noun in _KINDS:
        if is_kind(found.st_mode):
            return Failure(uri=file_uri(path), reason=f"it is {noun}, not a file", kind="UnsupportedFormat")
    return SourceItem(uri=file_uri(path), stamp=_stamp(found), size_bytes=found.st_size)


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _read(path: str, max_bytes: int) -> tuple[bytes, float]:
    """The bytes of a file that did not change while they were read, and when it was last modified."""
    for _ in range(_READS):
        try:
            data, before, after = _read_once(path, max_bytes)
        except OSError as error:
            raise ReadError(_reason(error)) from error
        if _stamp(before) == _stamp(after) and len(data) == after.st_size:
            return data, after.st_mtime
    raise ReadError("it keeps changing while it is read; ingest it again when it is complete")


def _read_once(path: str, max_bytes: int) -> tuple[bytes, os.stat_result, os.stat_result]:
    # Without O_NONBLOCK, opening a pipe that took the file's place would wait for a writer forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if before.st_size > max_bytes:
            raise TooLarge(f"{before.st_size} bytes; at most {max_bytes} are read (setting ingest.max_file_bytes)")
        data = file.read(max_bytes + 1)
        return data, before, os.fstat(descriptor)
