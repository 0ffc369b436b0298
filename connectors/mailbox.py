"""Mailboxes on this disk, one message an item: mbox files, and folders in the form of maildir."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ragagent.connectors.addresses import outside
from ragagent.connectors.options import read_options
from ragagent.errors import ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Failure, digest

MEDIA_TYPE = "message/rfc822"
_FROM = re.compile(rb"From [^\n]{0,900}\d\d:\d\d")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?([^\r\n]{1,998})", re.MULTILINE | re.IGNORECASE)
_STATE = re.compile(
    rb"^(?:status|x-status|x-uid|x-keywords|x-mozilla-[a-z0-9-]+|x-imap[a-z]*):[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.MULTILINE | re.IGNORECASE,
)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_MAX_HEAD = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxOptions:
    """A mailbox takes no options."""


class _Place(NamedTuple):
    begin: int
    end: int
    stamp: str


class MboxConnector:
    """The messages of one mbox file, each under its Message-ID: a mailbox that grew brings only what is new.

    What a mail program notes in the headers (read, flagged) is no content. A second message of the same id is told
    apart by its number among them.
    """

    def __init__(self, path: str, *, settings: IngestSettings | None = None) -> None:
        self._settings = settings or IngestSettings()
        self._path = os.path.realpath(path)
        self._given = path
        self._found: dict[str, _Place] = {}

    @property
    def source(self) -> str:
        """`mbox://` and the path of the file."""
        return outside("mbox://" + quote(os.fsencode(self._path)))

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every message in the order of the file, which is scanned as a whole. Raises ConnectorError without a file."""
        self._found = dict(self._scan())
        for uri, place in self._found.items():
            yield SourceItem(uri=uri, stamp=place.stamp, size_bytes=place.end - place.begin)

    def fetch(self, item: SourceItem) -> Fetched:
        """The message as it is now, wherever in the file. Raises ReadError where it is not there any more."""
        place = self._found.get(item.uri)
        if place is None:
            raise ReadError("the mailbox has no such message")
        if place.end - place.begin > self._settings.max_file_bytes:
            raise TooLarge(f"more than {self._settings.max_file_bytes} bytes (setting ingest.max_file_bytes)")
        data = self._read(place)
        if _stamp(data) != place.stamp:
            # Another program wrote to the file: look where the message is now.
            self._found = dict(self._scan())
            place = self._found.get(item.uri)
            if place is None:
                raise ReadError("the message is not there any more")
            data = self._read(place)
            if _stamp(data) != place.stamp:
                raise ReadError("the mailbox keeps changing while it is read; ingest it again")
        return _message(item.uri, _QUOTED.sub(rb"\1", data))

    def _scan(self) -> Iterator[tuple[str, _Place]]:
        """The messages by uri with their places; a file that is not an mbox is one error."""
        seen: dict[str, int] = {}
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise ConnectorError(f"{self._given}: not a file")
                if not found.st_size:
                    return
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    for begin, end in _bounds(data, self._given):
                        message = data[begin:end]
                        name = _name(message)
                        seen[name] = seen.get(name, 0) + 1
                        tail = f"~{seen[name]}" if seen[name] > 1 else ""
                        yield f"{self.source};id={name}{tail}", _Place(begin, end, _stamp(message))
        except OSError as error:
            raise ConnectorError(f"{self._given}: {error.strerror or error}; give an mbox file") from error

    def _read(self, place: _Place) -> bytes:
        try:
            with open(self._path, "rb") as file:
                file.seek(place.begin)
                return file.read(place.end - place.begin)
        except OSError as error:
            raise ReadError(f"cannot be read: {error.strerror or error}") from error


class MaildirConnector:
    """The messages of a maildir and of the folders in it, each under the part of its name that never changes."""

    def __init__(self, path: str, *, settings: IngestSettings | None = None) -> None:
        self._settings = settings or IngestSettings()
        self._root = os.path.realpath(path)
        self._given = path
        self._found: dict[str, str] = {}

    @property
    def source(self) -> str:
        """`maildir://` and the path of the folder."""
        return outside("maildir://" + quote(os.fsencode(self._root)))

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every message, sorted by name within its folder. Raises ConnectorError for what is no maildir."""
        if not os.path.isdir(os.path.join(self._root, "cur")):
            raise ConnectorError(f"{self._given}: no maildir, which has folders named cur and new")
        self._found.clear()
        for folder in _folders(self._root):
            names = dict(_listed(folder))
            for unique, path in sorted(names.items()):
                uri = f"{self._uri(folder)}/{quote(os.fsencode(unique))}"
                try:
                    found = os.lstat(path)
                except OSError:
                    continue  # it was moved this very moment: the next ingest finds it
                if stat.S_ISREG(found.st_mode):
                    self._found[uri] = path
                    # A flag that is set renames the file, and touches neither its size nor its time.
                    yield SourceItem(uri=uri, stamp=f"{found.st_size}-{found.st_mtime_ns}", size_bytes=found.st_size)

    def fetch(self, item: SourceItem) -> Fetched:
        """The message, also where it was moved or flagged meanwhile. Raises ReadError where it is gone."""
        path = self._found.get(item.uri)
        if path is None:
            raise ReadError("the maildir has no such message")
        for _ in range(2):
            try:
                with open(path, "rb") as file:
                    data = file.read(self._settings.max_file_bytes + 1)
            except OSError:
                path = dict(_listed(os.path.dirname(os.path.dirname(path)))).get(_unique(os.path.basename(path)), path)
                continue
            if len(data) > self._settings.max_file_bytes:
                raise TooLarge(f"more than {self._settings.max_file_bytes} bytes (setting ingest.max_file_bytes)")
            return _message(item.uri, data)
        raise ReadError("the message is not there any more")

    def _uri(self, folder: str) -> str:
        inner = os.path.relpath(folder, self._root)
        return self.source if inner == "." else f"{self.source}/{outside(quote(os.fsencode(inner)))}"


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> MboxConnector | MaildirConnector:
    """The mailbox at `mbox://PATH` or `maildir://PATH`."""
    read_options(MailboxOptions, options, source=address)
    scheme, _, rest = address.partition("://")
    path = os.fsdecode(unquote_to_bytes(rest))
    if scheme.lower() == "mbox":
        return MboxConnector(path, settings=settings)
    return MaildirConnector(path, settings=settings)


def _bounds(data: mmap.mmap, given: str) -> Iterator[tuple[int, int]]:
    """Where each message begins, after its `From ` line, and ends."""
    if data[:5] != b"From ":
        raise ConnectorError(f"{given}: no mbox file, which begins with a line `From ...`")
    begin = _after_line(data, 0)
    at = data.find(b"\nFrom ", 0)
    while at >= 0:
        # A line in a text may begin like this after a blank one; only that of a mailbox holds a time.
        after_blank = data[at - 1 : at] == b"\n" or data[at - 2 : at] == b"\n\r"
        if after_blank and _FROM.match(data, at + 1, at + 1000):
            yield begin, at + 1
            begin = _after_line(data, at + 1)
        at = data.find(b"\nFrom ", at + 1)
    yield begin, len(data)


def _after_line(data: mmap.mmap, at: int) -> int:
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end + 1


def _name(message: bytes) -> str:
    """What a message is known by: its Message-ID, else its head."""
    end = _HEAD_END.search(message, 0, _MAX_HEAD)
    head = message[: end.start() + 1] if end else message[:_MAX_HEAD]
    found = _ID.search(head)
    return digest(found[1].strip() if found else _STATE.sub(b"", head))[:20]


def _stamp(message: bytes) -> str:
    """Changes with the message, and not with what a mail program notes in its head."""
    end = _HEAD_END.search(message, 0, _MAX_HEAD)
    cut = end.end() if end else 0
    return digest(_STATE.sub(b"", message[:cut]), message[cut:].rstrip(b"\r\n"))


def _message(uri: str, data: bytes) -> Fetched:
    return Fetched(uri=uri, name="message.eml", content=data, media_type=MEDIA_TYPE)


def _folders(root: str) -> Iterator[str]:
    """The maildir itself and the folders in it: `.Name` beside `cur`, as servers keep them, or below it."""
    yield root
    with os.scandir(root) as entries:
        inner = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    for path in inner:
        if os.path.basename(path) not in {"cur", "new", "tmp"} and os.path.isdir(os.path.join(path, "cur")):
            yield from _folders(path)


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """The unique part of each message's name, and its path; what was read stands in `cur`, what is new in `new`."""
    for state in ("new", "cur"):
        try:
            with os.scandir(os.path.join(folder, state)) as entries:
                yield from [(_unique(entry.name), entry.path) for entry in entries if not entry.name.startswith(".")]
        except OSError:
            continue


def _unique(name: str) -> str:
    return name.partition(":")[0]
