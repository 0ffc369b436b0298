"""Mail on an IMAP server, one message an item. The server is only read: nothing is marked, moved or deleted."""

from __future__ import annotations

import base64
import binascii
import imaplib
import ipaddress
import re
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

from ragagent.connectors.addresses import outside, public, split_credentials
from ragagent.connectors.options import SECRET, read_options
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure

T = TypeVar("T")
_PORTS = {"imap": 143, "imaps": 993}
_MARK = ";UID="
_WINDOW = 50_000
"""So many numbers are searched at a time: the answer is one line, and a line is bounded."""
_BATCH = 500
_LISTED = re.compile(rb'\((?P<flags>[^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (?P<name>.*)')
_SIZES = re.compile(rb"\bUID (\d+)\b.*?\bRFC822\.SIZE (\d+)|\bRFC822\.SIZE (\d+)\b.*?\bUID (\d+)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LOST = (imaplib.IMAP4.abort, OSError, EOFError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapOptions:
    """What a mail account can be told. Where no folder stands in the address, it is all of them."""

    user: str = ""
    password: str = field(default="", repr=False, metadata=SECRET)
    oauth_token: str = field(default="", repr=False, metadata=SECRET)
    """In place of a password, for servers that want XOAUTH2."""
    since: str = ""
    """Only messages that came on this day or later: 2025-01-31."""
    limit: int | None = field(default=None, metadata=at_least(1))
    """So many of the newest messages of each folder."""
    exclude: tuple[str, ...] = ("Trash", "Junk", "Spam", "Drafts")
    """Folders that are left out where the address names none."""
    ca_file: str = ""
    """A file of certificates to trust beside those of the system."""
    insecure: bool = False
    """Whether the password may travel unencrypted to another machine."""
    timeout_s: float = field(default=30.0, metadata=at_least(0.1))


class _Message(NamedTuple):
    folder: str
    uid: int
    validity: str


class ImapConnector:
    """The messages of one folder, or of all folders of an account: `imaps://user@host/FOLDER`."""

    def __init__(
        self, address: str, *, options: ImapOptions | None = None, settings: IngestSettings | None = None
    ) -> None:
        self._options = options or ImapOptions()
        self._settings = settings or IngestSettings()
        plain, given = split_credentials(address)
        parts = urlsplit(plain)
        user = self._options.user or (given.user if given else "")
        if not parts.hostname or not user:
            raise ConfigError(f"{public(address)}: write it as imaps://USER@HOST/FOLDER, or give the option user")
        password = self._options.password or (given.password if given else "")
        self._folder = unquote(parts.path.strip("/"))
        self._base = f"{parts.scheme.lower()}://{quote(user, safe='@')}@{parts.netloc}"
        self._server = _Server(plain, user, password, self._options)
        self._since = _day(self._options.since)
        self._found: dict[str, _Message] = {}

    @property
    def source(self) -> str:
        """The account without its password, and the folder where there is one."""
        return outside(f"{self._base}/{quote(self._folder)}" if self._folder else self._base)

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every message that is not marked as deleted, folder by folder, oldest first.

        Raises ConnectorError where the server is out of reach, does not let us in, or has no such folder.
        """
        self._found.clear()
        for folder in [self._folder] if self._folder else self._server.folders(self._options.exclude):
            try:
                yield from self._messages(folder)
            except ConnectorError as error:
                if self._folder:
                    raise
                # Named as the whole source: the addresses of a folder's messages are not below that of the folder.
                yield Failure(uri=self.source, reason=f"{folder}: {error}", kind="ConnectorError")

    def fetch(self, item: SourceItem) -> Fetched:
        """The message as it is stored. Raises ReadError where it is not there any more, TooLarge before it comes."""
        message = self._found.get(item.uri)
        if message is None:
            raise ReadError("the server does not list such a message")
        limit = self._settings.max_file_bytes
        if item.size_bytes is not None and item.size_bytes > limit:
            raise TooLarge(f"{item.size_bytes} bytes; at most {limit} are read (setting ingest.max_file_bytes)")
        try:
            data = self._server.message(message)
        except ReadError:
            raise
        except ConnectorError as error:
            raise ReadError(str(error)) from error
        return Fetched(
            uri=item.uri,
            name=f"{message.uid}.eml",
            content=data,
            media_type="message/rfc822",
            metadata={"folder": message.folder},
        )

    def _messages(self, folder: str) -> Iterator[SourceItem]:
        validity, sizes = self._server.sizes(folder, self._since, self._options.limit)
        for uid, size in sizes:
            uri = f"{self._address(folder)}{_MARK}{uid}"
            self._found[uri] = _Message(folder, uid, validity)
            # A message never changes under its number, and numbers are given anew under another validity.
            yield SourceItem(uri=uri, stamp=f"{validity}-{size}", size_bytes=size)

    def _address(self, folder: str) -> str:
        return outside(f"{self._base}/{quote(folder)}")


class _Server:
    """One connection, made when it is first needed and again when it was lost. Safe to use from several threads."""

    def __init__(self, address: str, user: str, password: str, options: ImapOptions) -> None:
        self._address = address
        self._user = user
        self._password = password
        self._options = options
        self._lock = threading.RLock()
        self._open: list[imaplib.IMAP4] = []
        self._selected: tuple[str, str] = ("", "")
        weakref.finalize(self, _close, self._open)

    def folders(self, exclude: Sequence[str]) -> list[str]:
        """The names of the folders that hold messages, sorted."""
        listed = self._ask(lambda client: _good(client.list(), "the folders cannot be listed"))
        found = []
        for entry in listed:
            line = b" ".join(entry) if isinstance(entry, tuple) else entry or b""
            match = _LISTED.match(re.sub(rb"\{\d+\} ?", b"", line))
            if match is None or b"\\noselect" in match["flags"].lower():
                continue
            name = decoded_name(_unquoted(match["name"].strip()))
            if not any(part in exclude for part in re.split(r"[/.]", name)):
                found.append(name)
        return sorted(found)

    def sizes(self, folder: str, since: str, limit: int | None) -> tuple[str, list[tuple[int, int]]]:
        """The validity of a folder's numbers, and (number, size) of its messages in order."""

        def ask(client: imaplib.IMAP4) -> tuple[str, list[tuple[int, int]]]:
            validity = self._select(client, folder)
            last = _told(client, "UIDNEXT")
            uids = sorted(self._search(client, since, int(last) if last.isdigit() else 0))
            uids = uids[-limit:] if limit else uids
            return validity, [
                pair for begin in range(0, len(uids), _BATCH) for pair in _sized(client, uids[begin : begin + _BATCH])
            ]

        return self._ask(ask)

    def message(self, message: _Message) -> bytes:
        """The bytes of a message. Raises ReadError where it is not there any more."""

        def ask(client: imaplib.IMAP4) -> bytes:
            if self._select(client, message.folder) != message.validity:
                raise ReadError("the server has numbered the messages anew; ingest the folder again")
            answer = _good(client.uid("FETCH", str(message.uid), "(BODY.PEEK[])"), "the message cannot be fetched")
            for part in answer:
                if isinstance(part, tuple):
                    return bytes(part[1])
            raise ReadError("the message is not there any more")

        return self._ask(ask)

    def _search(self, client: imaplib.IMAP4, since: str, end: int) -> Iterator[int]:
        wanted = ["UNDELETED", *(["SINCE", since] if since else [])]
        windows = [f"{low}:{low + _WINDOW - 1}" for low in range(1, end, _WINDOW)] if end else ["1:*"]
        for window in windows:
            (line,) = _good(client.uid("SEARCH", *wanted, "UID", window), "the folder cannot be searched")[-1:] or [b""]
            yield from map(int, (line or b"").split())

    def _select(self, client: imaplib.IMAP4, folder: str) -> str:
        """The validity of the numbers of `folder`, which is opened for reading alone."""
        if self._selected[0] != folder or client.state != "SELECTED":
            self._selected = ("", "")
            name = '"' + encoded_name(folder).replace("\\", "\\\\").replace('"', '\\"') + '"'
            _good(client.select(name, readonly=True), f"no folder {folder!r} can be opened")
            self._selected = (folder, _told(client, "UIDVALIDITY"))
        return self._selected[1]

    def _ask(self, question: Callable[[imaplib.IMAP4], T]) -> T:
        """The answer, over a new connection where the one in use was lost."""
        with self._lock:
            for attempt in range(2):
                fresh = not self._open
                try:
                    return question(self._client())
                except _LOST as error:
                    self._drop()
                    if fresh or attempt:
                        raise ConnectorError(f"{self._shown}: {_said(error)}") from error
                except imaplib.IMAP4.error as error:
                    raise ConnectorError(f"{self._shown}: {_said(error)}") from error
        raise AssertionError("the second attempt returns or raises")

    def _client(self) -> imaplib.IMAP4:
        if not self._open:
            client = self._connect()
            self._open.append(client)
            self._log_in(client)
        return self._open[0]

    def _connect(self) -> imaplib.IMAP4:
        parts = urlsplit(self._address)
        host, scheme = parts.hostname or "", parts.scheme.lower()
        port = parts.port or _PORTS[scheme]
        if scheme == "imaps":
            return imaplib.IMAP4_SSL(host, port, ssl_context=self._context(), timeout=self._options.timeout_s)
        client = imaplib.IMAP4(host, port, timeout=self._options.timeout_s)
        if "STARTTLS" in client.capabilities and not self._options.insecure:
            client.starttls(self._context())
        elif not (self._options.insecure or _is_here(host)):
            client.shutdown()
            raise ConnectorError(f"{self._shown}: the server offers no encryption (option insecure)")
        return client

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context()
            if self._options.ca_file:
                context.load_verify_locations(self._options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file = {self._options.ca_file}: {error}") from error
        return context

    def _log_in(self, client: imaplib.IMAP4) -> None:
        try:
            if self._options.oauth_token:
                said = f"user={self._user}\1auth=Bearer {self._options.oauth_token}\1\1"
                client.authenticate("XOAUTH2", lambda _: said.encode())
            elif "AUTH=PLAIN" in client.capabilities:
                client.authenticate("PLAIN", lambda _: f"\0{self._user}\0{self._password}".encode())
            else:
                client.login(self._user, self._password)
        except imaplib.IMAP4.error as error:
            self._drop()
            raise ConnectorError(f"{self._shown}: the server does not let {self._user} in") from error

    def _drop(self) -> None:
        _close(self._open)
        self._selected = ("", "")

    @property
    def _shown(self) -> str:
        return public(self._address)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> ImapConnector:
    """The account or folder at `imaps://user@host/FOLDER`."""
    chosen = read_options(ImapOptions, options, source=public(address))
    return ImapConnector(address, options=chosen, settings=settings)


def encoded_name(name: str) -> str:
    """A folder's name as IMAP spells it: modified UTF-7 (RFC 3501, section 5.1.3)."""
    return re.sub(r"[^\x20-\x7e]+|&", lambda found: _encoded(found[0]), name)


def _encoded(piece: str) -> str:
    if piece == "&":
        return "&-"
    return "&" + base64.b64encode(piece.encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",") + "-"


def decoded_name(name: bytes) -> str:
    """The reverse of `encoded_name`; what is no such spelling stays as it is."""
    return re.sub(r"&([^-]*)-", lambda found: _decoded(found[1], found[0]), name.decode("utf-8", "replace"))


def _unquoted(name: bytes) -> bytes:
    if not name.startswith(b'"'):
        return name
    return re.sub(rb"\\(.)", rb"\1", name[1:-1])


def _decoded(piece: str, spelt: str) -> str:
    if not piece:
        return "&"
    try:
        padded = piece.replace(",", "/") + "=" * (-len(piece) % 4)
        return base64.b64decode(padded, validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeError):
        return spelt


def _sized(client: imaplib.IMAP4, uids: Sequence[int]) -> list[tuple[int, int]]:
    answer = _good(client.uid("FETCH", ",".join(map(str, uids)), "(UID RFC822.SIZE)"), "the sizes cannot be had")
    found: dict[int, int] = {}
    for line in answer:
        match = _SIZES.search(line if isinstance(line, bytes) else b"")
        if match is not None:
            uid, size = (match[1], match[2]) if match[1] else (match[4], match[3])
            found[int(uid)] = int(size)
    return sorted(found.items())


def _good(answer: tuple[str, list[Any]], trouble: str) -> list[Any]:
    status, data = answer
    if status != "OK":
        said = " ".join(piece.decode("utf-8", "replace") for piece in data if isinstance(piece, bytes))[:200]
        raise ConnectorError(f"{trouble}: {said}")
    return data


def _told(client: imaplib.IMAP4, name: str) -> str:
    """What the server told beside its answer to the last selection."""
    found = client.response(name)[1]
    return found[-1].decode("ascii", "replace") if found and found[-1] else ""


def _day(text: str) -> str:
    """The day as IMAP writes it. Raises ConfigError for another spelling than 2025-01-31."""
    if not text:
        return ""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"option since = {text!r}: write the day as 2025-01-31") from None
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year}"


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _close(connections: list[imaplib.IMAP4]) -> None:
    for client in connections:
        try:
            client.shutdown()
        except OSError:
            continue
    connections.clear()
