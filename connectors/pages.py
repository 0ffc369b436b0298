"""Pages of the web that are asked for only when they changed: their bodies and validators, kept in a folder.

The folder belongs to us alone, is bounded in size and may be deleted at any time; then pages are fetched again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ragagent.connectors.http import Response, Web
from ragagent.errors import ReadError
from ragagent.protocols import Fetched
from ragagent.types import digest

MAX_CACHE_BYTES = 512 * 1024 * 1024
_MAX_FILES = 100_000
_EXTENSIONS = {"text/markdown": ".md", "text/html": ".html", "application/xhtml+xml": ".html", "text/csv": ".csv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is known of a page: where its redirects led, what the server called it, and the digest of its bytes."""

    url: str
    media_type: str
    digest: str
    size: int
    etag: str = ""
    last_modified: str = ""


class Pages:
    """Looks at pages with conditional requests, and remembers what they hold: in `folder`, or for its own lifetime."""

    def __init__(self, web: Web, folder: Path | None, *, max_cache_bytes: int = MAX_CACHE_BYTES) -> None:
        self._web = web
        self._max_bytes = max_cache_bytes
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="ragagent-pages-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self.fresh = not any(self._folder.iterdir())
        """Whether nothing at all was remembered when this began."""

    def look(self, url: str) -> Page:
        """The page as it is now; its body is transferred only when it changed. Raises ReadError, TooLarge."""
        known = self.known(url)
        found = self._web.get(url, _validators(known))
        if found.status == 304 and known is not None:
            self._used(url, known)
            return known
        if found.status == 304:
            raise ReadError("the server says that the page did not change since it was never asked")
        return self._keep(url, found)

    def known(self, url: str) -> Page | None:
        """The page as it was when it was looked at last, if its body is still here."""
        try:
            page = Page(**json.loads(self._record(url).read_text("utf-8")))
            return page if self._body(page).stat().st_size == page.size else None
        except (OSError, ValueError, TypeError):
            return None

    def had(self, url: str) -> bool:
        """Whether the page could be had once, even if its body was dropped since."""
        return self._record(url).exists()

    def body(self, page: Page) -> bytes | None:
        """The bytes of the page; None where they were dropped or are damaged."""
        try:
            data = self._body(page).read_bytes()
        except OSError:
            return None
        return data if digest(data) == page.digest else None

    def fetched(self, url: str, page: Page | None = None) -> Fetched:
        """The page for a reader, looked at again where its bytes are not here. Raises ReadError."""
        page = page or self.known(url)
        data = self.body(page) if page is not None else None
        if page is None or data is None:
            page = self.look(url)
            data = self.body(page)
        if data is None:
            raise ReadError("the page was fetched and its copy was lost at once; is the disk full?")
        return Fetched(
            uri=url,
            name=file_name(page.url, page.media_type),
            content=data,
            media_type=page.media_type,
            metadata={"url": page.url},
        )

    def trim(self) -> None:
        """Drops the bodies that were not looked at for the longest time until the rest is within its bound."""
        bodies = sorted(self._sizes(".body"), reverse=True)
        total = 0
        for position, (_, size, path) in enumerate(bodies):
            total += size
            if total > self._max_bytes or position >= _MAX_FILES:
                _drop(path)
        for _, _, path in sorted(self._sizes(".json"), reverse=True)[_MAX_FILES:]:
            _drop(path)

    def _keep(self, url: str, found: Response) -> Page:
        page = Page(
            url=found.url,
            media_type=found.media_type,
            digest=digest(found.body),
            size=len(found.body),
            etag=found.headers.get("etag", ""),
            last_modified=found.headers.get("last-modified", ""),
        )
        try:
            _write(self._body(page), found.body)
            _write(self._record(url), json.dumps(asdict(page)).encode())
        except OSError as error:
            raise ReadError(f"no room for a copy of the page in {self._folder}: {error.strerror}") from error
        return page

    def _record(self, url: str) -> Path:
        return self._folder / f"{digest(url)}.json"

    def _body(self, page: Page) -> Path:
        return self._folder / f"{page.digest}.body"

    def _used(self, url: str, page: Page) -> None:
        for path in (self._record(url), self._body(page)):
            with contextlib.suppress(OSError):
                os.utime(path)

    def _sizes(self, suffix: str) -> list[tuple[float, int, str]]:
        """When each file was last of use, its size and its path."""
        found: list[tuple[float, int, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(suffix):
                        found.append((status.st_mtime, status.st_size, entry.path))
        return found


def _drop(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def file_name(url: str, media_type: str) -> str:
    """A name for the content of an address, with the ending that the media type asks for."""
    name = urlsplit(url).path.rstrip("/").rpartition("/")[2] or "index"
    if not name.endswith(_EXTENSIONS.get(media_type, "")):
        name += _EXTENSIONS[media_type]
    return name


def _validators(known: Page | None) -> dict[str, str]:
    if known is None:
        return {}
    stated = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in stated.items() if value}


def _write(path: Path, data: bytes) -> None:
    """The whole file or nothing of it; what was read a moment ago and is the same is only marked as used."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            os.utime(path)
            return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        _drop(name)
        raise
