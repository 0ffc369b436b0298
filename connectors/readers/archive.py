"""Archives (.zip, .tar, and .gz, .bz2, .xz, .zst around one file or a .tar): a list of what is in them, and the files.

Nothing is ever written to a disk, so a name like `../../x` is only a name. What a member unpacks to is bounded while
it is unpacked; how many members are read, how deep and how much in all, is the business of `inside`.
"""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import IO, Any, cast

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Member, Parsed, TextBuilder, one_line
from ragagent.errors import EncryptedDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.settings import IngestSettings

MEDIA_TYPE, TAR_MEDIA_TYPE = "application/zip", "application/x-tar"
MAX_LISTED = 20_000
MAX_RATIO = 200
_RATIO_FREE_BYTES = 16 * 1024 * 1024
_MAX_SCANNED_BYTES = 1024 * 1024 * 1024
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
)
_JUNK = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def read_zip(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """A table of the members with their sizes and dates, and the members."""
    with _translated():
        entries = [one for one in zipfile.ZipFile(io.BytesIO(data)).infolist() if not one.is_dir()]
    listed = [(one.filename, one.file_size, _date(one.date_time)) for one in entries]
    return _listing(MEDIA_TYPE, listed, limits, partial(_zip_members, data, entries))


def read_tar(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The same for a .tar; links and devices are listed and not followed."""
    return _read_tar(TAR_MEDIA_TYPE, partial(io.BytesIO, data), limits)


def _read_packed(kind: str, open_: Callable[[IO[bytes]], IO[bytes]], data: bytes, name: str, limits: Any) -> Parsed:
    def stream() -> IO[bytes]:
        return cast(IO[bytes], _Bounded(open_(io.BytesIO(data)), _allowed(len(data))))

    with _translated():
        head = stream().read(512)
    if head[257:262] == b"ustar" or PurePath(name).suffix.lower() in {".tgz", ".tbz2", ".txz"}:
        return _read_tar(kind, stream, limits)
    path = PurePath(name).stem or "content"
    member = Member(path=path, open=lambda most: _taken(stream(), most))
    return _listing(kind, [(path, None, "")], limits, lambda: iter([member]))


def _xz(raw: IO[bytes]) -> IO[bytes]:
    return lzma.LZMAFile(raw, format=lzma.FORMAT_XZ)


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    try:
        import zstandard
    except ImportError:
        raise UnsupportedFormat("reading .zst files needs a package: pip install 'ragagent[archives]'") from None
    return cast(IO[bytes], zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw))


def _read_tar(kind: str, stream: Callable[[], IO[bytes]], limits: IngestSettings) -> Parsed:
    listed: list[tuple[str, int | None, str]] = []
    with _translated(), tarfile.open(fileobj=stream(), mode="r|") as archive:
        for entry in archive:
            if not entry.isdir():
                listed.append((entry.name, entry.size if entry.isreg() else None, _moment(entry.mtime)))
            if len(listed) > MAX_LISTED:
                break
            cast(Any, archive).members.clear()  # else every header stays in memory
    return _listing(kind, listed, limits, partial(_tar_members, stream))


def _listing(
    kind: str,
    listed: Sequence[tuple[str, int | None, str]],
    limits: IngestSettings,
    inside: Callable[[], Iterator[Member]],
) -> Parsed:
    builder = TextBuilder(max_chars=limits.max_text_chars)
    shown = [[one_line(path), "" if size is None else str(size), date] for path, size, date in listed[:MAX_LISTED]]
    builder.add("paragraph", f"An archive of {len(listed)} file{'s' if len(listed) != 1 else ''}.")
    if shown:
        builder.rows([["name", "bytes", "date"], *shown])
    notes = (f"only the first {MAX_LISTED} members are listed",) if len(listed) > MAX_LISTED else ()
    return builder.parsed(media_type=kind, metadata={"members": len(listed)}, inside=inside, notes=notes)


def _zip_members(data: bytes, entries: list[zipfile.ZipInfo]) -> Iterator[Member]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    for entry in entries:
        if not any(part in entry.filename for part in _JUNK):
            yield Member(path=entry.filename, open=partial(_zip_content, archive, entry))


def _zip_content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.flag_bits & 0x1:
        raise EncryptedDocument("it is encrypted and wants a password")
    if entry.file_size > max(_RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
        raise TooLarge(f"it unpacks to {entry.file_size} bytes from {entry.compress_size}, like a zip bomb")
    with _translated(), archive.open(entry) as stream:
        return _taken(stream, most)


def _tar_members(stream: Callable[[], IO[bytes]]) -> Iterator[Member]:
    with _translated(), tarfile.open(fileobj=stream(), mode="r|") as archive:
        for entry in archive:
            if entry.isreg() and not any(part in entry.name for part in _JUNK):
                yield Member(path=entry.name, open=partial(_tar_content, archive, entry))
            cast(Any, archive).members.clear()


def _tar_content(archive: tarfile.TarFile, entry: tarfile.TarInfo, most: int) -> bytes:
    if entry.size > most:
        raise TooLarge(f"it is {entry.size} bytes long; {most} more may be read")
    with _translated():
        stream = archive.extractfile(entry)
        return _taken(stream, most) if stream is not None else b""


def _taken(stream: IO[bytes], most: int) -> bytes:
    with _translated():
        content = stream.read(most + 1)
    if len(content) > most:
        raise TooLarge(f"it unpacks to more than the {most} bytes that may still be read")
    return content


class _Bounded(io.RawIOBase):
    """A stream of unpacked bytes that ends in TooLarge where a bomb would go on."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._left = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise TooLarge("it unpacks to far more than its size, like a bomb")
        return content


def _allowed(packed: int) -> int:
    return min(_MAX_SCANNED_BYTES, max(_RATIO_FREE_BYTES, MAX_RATIO * packed))


class _translated:
    """What the standard library raises on a damaged archive, as ReadError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RuntimeError) and "password" in str(error):
            raise EncryptedDocument("it is encrypted and wants a password") from error
        if isinstance(error, (*_BROKEN, RuntimeError)) and not isinstance(error, ReadError):
            raise ReadError(f"the archive is damaged, cut off, or packed in an unknown way: {error}") from error


def _date(stamp: tuple[int, int, int, int, int, int]) -> str:
    try:
        return datetime.datetime(*stamp).isoformat(sep=" ")
    except ValueError:
        return ""


def _moment(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


def _packed(kind: str, magic: bytes, suffixes: tuple[str, ...], open_: Callable[[IO[bytes]], IO[bytes]]) -> Format:
    def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
        return _read_packed(kind, open_, data, name, limits)

    return Format(media_type=kind, read=read, magic=(magic,), suffixes=suffixes)


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read_zip),
    Format(media_type=TAR_MEDIA_TYPE, read=read_tar, suffixes=(".tar",)),
    _packed("application/gzip", b"\x1f\x8b", (".gz", ".tgz"), lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw))),
    _packed("application/x-bzip2", b"BZh", (".bz2", ".tbz2"), lambda raw: bz2.BZ2File(raw)),
    _packed("application/x-xz", b"\xfd7zXZ\0", (".xz", ".txz"), _xz),
    _packed("application/zstd", b"\x28\xb5\x2f\xfd", (".zst",), _zstandard),
)
