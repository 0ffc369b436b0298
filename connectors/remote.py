"""Files that fsspec reaches: object stores, SFTP, WebDAV, archives, memory, and whatever else it knows.

Credentials come from the environment's own chain of each library, or from options; an address keeps none of them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from posixpath import basename
from typing import Any
from urllib.parse import unquote, urlsplit

from ragagent.connectors.addresses import outside, public
from ragagent.connectors.ignore import matcher
from ragagent.connectors.options import read_options
from ragagent.errors import ConfigError, ConnectorError, MissingExtra, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure, Scalar, digest

EXTRAS: Mapping[str, str] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
    "adl": "azure",
    "webdav": "webdav",
    "memory": "remote",
    "zip": "remote",
    "tar": "remote",
    "ftp": "remote",
    "github": "remote",
    "sftp": "remote",
    "ssh": "remote",
    "smb": "remote",
    "hdfs": "remote",
    "dropbox": "remote",
}
"""The extra of ours that brings what a scheme needs; of some it brings fsspec alone, which names the rest."""

_NOT_FOR_US = frozenset({"file", "local", "http", "https", "git", "python", "jlab", "jupyter", "data", "generic"})
_SHARED = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
"""Making one takes long, and it holds no connection that could be lost for good, nor a file that could change."""
_WEBDAV = frozenset({"webdav", "webdavs", "dav", "davs"})
_CHUNK = 1 << 20
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "generation", "mtime", "LastModified", "last_modified")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """What every such source can be told; any other option goes to the file system of fsspec as it is."""

    files: int = field(default=1_000_000, metadata=at_least(1))
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def knows(scheme: str) -> bool:
    """Whether fsspec may have a file system for the scheme; without fsspec, whether one of ours would need it."""
    if scheme in _NOT_FOR_US:
        return False
    if scheme in EXTRAS or scheme in _WEBDAV:
        return True
    try:
        registry = importlib.import_module("fsspec.registry")
    except ImportError:
        return False
    return scheme in registry.known_implementations or scheme in registry.registry


class RemoteConnector:
    """Every file below an address; hidden names are left out, as those of a folder are."""

    def __init__(
        self,
        address: str,
        *,
        options: RemoteOptions | None = None,
        storage: Mapping[str, Any] | None = None,
        settings: IngestSettings | None = None,
    ) -> None:
        self._options = options or RemoteOptions()
        self._settings = settings or IngestSettings()
        self._shown = public(address, keep_user=True).rstrip("/")
        self._scheme = self._shown.partition(":")[0]
        self._files, path = _open(address, storage or {})
        self._root = str(path).rstrip("/")
        try:
            self._include, self._exclude = matcher(self._options.include), matcher(self._options.exclude)
        except ValueError as error:
            raise ConfigError(f"a pattern to include or exclude cannot be used: {error}") from error

    @property
    def source(self) -> str:
        """The address without what is secret in it, and without the `/` at its end."""
        return outside(self._shown)

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every file, sorted by path within its folder; one folder is listed at a time.

        Raises ConnectorError where the source is out of reach, or there is nothing at the address.
        """
        self._files.invalidate_cache()
        kind, found = self._at_root()
        if kind != "directory":
            yield self._item(self._root, found)
            return
        left = self._options.files
        for item in self._folder(self._root):
            left -= 1
            if left < 0:
                reason = f"there are more than {self._options.files} files; the rest was left out (option files)"
                yield Failure(uri=self.source, reason=reason, kind="ConnectorError")
                return
            yield item

    def fetch(self, item: SourceItem) -> Fetched:
        """The bytes of a file. Raises ReadError, or TooLarge before more than the limit is transferred."""
        path = self._path(item.uri)
        with _told(ReadError, self._scheme):
            self._files.invalidate_cache(path.rpartition("/")[0])
            info = self._files.info(path)
            self._check(int(info.get("size") or 0))
            data = self._read(path)
        return Fetched(uri=item.uri, name=basename(path), content=data, metadata=_modified(info))

    def _at_root(self) -> tuple[str, Mapping[str, Any]]:
        with _told(ConnectorError, self._shown):
            try:
                info = self._files.info(self._root)
            except FileNotFoundError:
                # A bucket without an object of that very name: there is something when something is below it.
                if not self._files.ls(self._root, detail=True):
                    raise
                return "directory", {}
            return str(info.get("type", "file")), info

    def _folder(self, folder: str) -> Iterator[SourceItem | Failure]:
        """A walk with a stack of its own."""
        stack = [iter(self._listed(folder, whole=True))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, Failure):
                yield entry
            elif entry.get("type") == "directory":
                if len(stack) < 100:
                    stack.append(iter(self._listed(str(entry["name"]).rstrip("/"))))
            else:
                yield self._item(str(entry["name"]), entry)

    def _listed(self, folder: str, *, whole: bool = False) -> list[Any]:
        """What stands in one folder, sorted and wanted; a Failure for a folder that cannot be listed."""
        try:
            with _told(ConnectorError, self._shown if whole else self._uri(folder)):
                entries = self._files.ls(folder, detail=True)
        except ConnectorError as error:
            if whole:
                raise
            return [Failure(uri=self._uri(folder), reason=str(error), kind="ConnectorError")]
        inside = [entry for entry in entries if str(entry["name"]).rstrip("/") != folder]
        return sorted((entry for entry in inside if self._wanted(entry)), key=lambda entry: str(entry["name"]))

    def _wanted(self, entry: Mapping[str, Any]) -> bool:
        folder = entry.get("type") == "directory"
        inner = str(entry["name"]).rstrip("/").removeprefix(self._root).lstrip("/")
        if not inner or basename(inner).startswith("."):
            return False
        path = inner + "/" if folder else inner
        if self._exclude is not None and self._exclude.match_file(path):
            return False
        return folder or self._include is None or self._include.match_file(path)

    def _item(self, path: str, info: Mapping[str, Any]) -> SourceItem:
        size = info.get("size")
        return SourceItem(uri=self._uri(path), stamp=_stamp(info), size_bytes=None if size is None else int(size))

    def _uri(self, path: str) -> str:
        inner = path.removeprefix(self._root).lstrip("/")
        return outside(f"{self._shown}/{inner}" if inner else self._shown).replace("\\", "%5C")

    def _path(self, uri: str) -> str:
        if uri != self.source and not uri.startswith(self.source + "/"):
            raise ReadError(f"it is not below {self.source}")
        inner = uri.removeprefix(self.source).replace("%21/", "!/").replace("%5C", "\\")
        if ".." in inner.split("/"):
            raise ReadError("its path leads upwards")
        return self._root + inner

    def _check(self, size: int) -> None:
        limit = self._settings.max_file_bytes
        if size > limit:
            raise TooLarge(f"{size} bytes; at most {limit} are read (setting ingest.max_file_bytes)")

    def _read(self, path: str) -> bytes:
        """The bytes, piece by piece: what a server says of the size need not be true."""
        data = bytearray()
        with self._files.open(path, "rb", block_size=_CHUNK) as file:
            while piece := file.read(_CHUNK):
                data += piece
                self._check(len(data))
        return bytes(data)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> RemoteConnector:
    """The files below an address that fsspec knows; options that are not ours go to its file system."""
    names = {item.name for item in fields(RemoteOptions)}
    ours = {key: value for key, value in options.items() if key in names}
    storage = {key: _native(value) for key, value in options.items() if key not in names}
    chosen = read_options(RemoteOptions, ours, source=public(address))
    return RemoteConnector(address, options=chosen, storage=storage, settings=settings)


def _open(address: str, storage: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of an address and the path within it. Raises MissingExtra, ConfigError, ConnectorError."""
    scheme = address.partition(":")[0].lower()
    try:
        fsspec = importlib.import_module("fsspec")
        if scheme not in _WEBDAV:
            _check_options(address, fsspec.get_filesystem_class(scheme), storage)
        given = {"skip_instance_cache": scheme not in _SHARED, **storage}
        if scheme in _WEBDAV:
            return _webdav(address, storage)
        return fsspec.core.url_to_fs(address, **given)  # type: ignore[no-any-return]
    except ImportError as error:
        missing = f" ({error})" if scheme not in EXTRAS or EXTRAS[scheme] == "remote" else ""
        raise MissingExtra(f"{scheme}://{missing}", EXTRAS.get(scheme, "remote")) from error
    except ConfigError:
        raise
    except TypeError as error:
        raise ConfigError(f"{public(address)}: an option that {scheme}:// does not take: {error}") from error
    except Exception as error:  # each file system raises what its own library does
        raise ConnectorError(f"{public(address)}: {_said(error)}") from error


def _check_options(address: str, kind: type[Any], storage: Mapping[str, Any]) -> None:
    """Most file systems swallow what they do not know: what none of their parameters is called is a mistake."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    rest = [one.name for one in parameters if one.kind is one.VAR_KEYWORD]
    if rest and rest[0] not in {"kwargs", "storage_options"}:
        return
    known = [one.name for one in parameters if one.name not in {"self", *rest}]
    for name, value in storage.items():
        if name not in known and not ("::" in address and isinstance(value, dict)):
            raise ConfigError(
                f"{public(address)}: unknown option {name!r}; known options: "
                f"{', '.join([*(item.name for item in fields(RemoteOptions)), *known])}"
            )


def _webdav(address: str, storage: Mapping[str, Any]) -> tuple[Any, str]:
    """`webdav://host/path`, over https; `webdav+http://` is not offered, as passwords would travel in the open.

    The option `insecure` is for a server on this machine.
    """
    module = importlib.import_module("webdav4.fsspec")
    given = dict(storage)
    scheme = "http" if given.pop("insecure", False) else "https"
    parts = urlsplit(address)
    user, password = parts.username or given.pop("user", ""), parts.password or given.pop("password", "")
    auth = (unquote(str(user)), unquote(str(password))) if user else None
    host = parts.netloc.rpartition("@")[2]
    return module.WebdavFileSystem(f"{scheme}://{host}", auth=auth, **given), unquote(parts.path.strip("/"))


class _told:
    """Turns whatever a file system raises into an error of ours, which says what happened and shows no secret."""

    def __init__(self, kind: Callable[[str], ConnectorError], about: str) -> None:
        self._kind = kind
        self._about = about

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ConnectorError):
            about = "cannot be read" if self._kind is ReadError else self._about
            raise self._kind(f"{about}: {_said(error)}") from error


def _said(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _stamp(info: Mapping[str, Any]) -> str:
    """What the store says that changes with the content, together with the size; empty where it says nothing."""
    marks = [f"{name}={_text(info[name])}" for name in _MARKS if info.get(name)]
    if not marks:
        marks = [f"{name}={_text(info[name])}" for name in _TIMES if info.get(name)]
    crc = info.get("CRC")
    if crc is not None:
        marks.append(f"crc={crc}")
    return digest("|".join(marks), str(info.get("size"))) if marks else ""


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _modified(info: Mapping[str, Any]) -> dict[str, Scalar]:
    for name in _TIMES:
        if isinstance(info.get(name), datetime):
            return {"modified": info[name].date().isoformat()}
    return {}


def _native(value: Any) -> Any:
    """What a text of the command line stands for: numbers and truth values are no texts to a file system."""
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    return int(value) if value.isascii() and value.isdigit() and not value.startswith("0") else value
