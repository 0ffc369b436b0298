"""One file over http(s), with resume: a cut download goes on where it stopped, as long as the file is the same one.

The bytes go to `<file>.part`; `.<file>.part.json` beside it keeps the validator (a strong ETag, or Last-Modified)
that the server gave. The rest is asked for with Range and If-Range, so a file that changed meanwhile comes whole.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ragagent import atomic
from ragagent.errors import ModelDownloadError
from ragagent.models.access import Access, Network
from ragagent.models.catalogue import ModelFile, UrlSource, safe_sha256
from ragagent.models.transfer import Meter, require_space, settle

if TYPE_CHECKING:
    import httpx

_MAX_REDIRECTS = 10
_MAX_FILE_BYTES = 1 << 40
_MAX_WAIT_S = 30.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """A try that may go better next time; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What to get and what is known of it."""

    url: str
    file: ModelFile
    headers: Mapping[str, str]


def fetch_url(
    source: UrlSource, files: Sequence[ModelFile], into: Path, access: Access, meter: Meter
) -> tuple[ModelFile, ...]:
    """Puts every file under `into` and returns `files`. Raises ModelDownloadError."""
    if access.offline:
        raise ModelDownloadError(access.offline)
    wanted = [Download(url=source.url.replace("{file}", file.path), file=file, headers={}) for file in files]
    return fetch_all(wanted, into, access, meter)


def fetch_all(downloads: Sequence[Download], into: Path, access: Access, meter: Meter) -> tuple[ModelFile, ...]:
    """Puts the file of every download under `into`; a hash that the server states fills in one that is not known."""
    with _client(access.network) as client:
        return tuple(_fetch_one(client, download, into, access.network, meter) for download in downloads)


def read_text(url: str, headers: Mapping[str, str], network: Network, limit: int) -> str:
    """A small text, at most `limit` bytes. Raises ModelDownloadError."""
    import httpx

    body = b""
    try:
        with _client(network) as client, client.stream("GET", url, headers=headers) as response:
            _check_status(response, url)
            for block in response.iter_bytes():
                body += block
                if len(body) > limit:
                    raise ModelDownloadError(f"{url} gives more than {limit} bytes")
    except (httpx.HTTPError, httpx.InvalidURL, _Interrupted) as error:
        raise ModelDownloadError(f"{url}: {_explain(error)}") from error
    return body.decode("utf-8", "replace")


def _client(network: Network) -> httpx.Client:
    import httpx

    return httpx.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx.Timeout(network.read_timeout_s, connect=network.connect_timeout_s),
    )


def _fetch_one(client: httpx.Client, download: Download, into: Path, network: Network, meter: Meter) -> ModelFile:
    final = into / download.file.path
    if final.is_file():
        meter.add(final.stat().st_size, download.file.path)
        return download.file
    part = final.with_name(f"{final.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(client, download, part, meter)
    transfer.run(network)
    settle(part, final)
    transfer.notes.unlink(missing_ok=True)
    return replace(download.file, sha256=download.file.sha256 or transfer.stated_sha256)


class _Transfer:
    """One file on its way; its state is the part on the disk and the validator beside it."""

    def __init__(self, client: httpx.Client, download: Download, part: Path, meter: Meter) -> None:
        self._client = client
        self._download = download
        self._part = part
        self._meter = meter
        self.notes = part.with_name(f".{part.name}.json")
        self.stated_sha256: str | None = None
        self._reached = False
        if not (part.is_file() and self._validator()):
            part.write_bytes(b"")
        meter.add(self._size(), download.file.path)

    def run(self, network: Network) -> None:
        """Tries until the file is whole; gives up when `attempts` tries in a row brought nothing.

        A server that cannot be reached at all is not tried again: there is another source, or the user knows why.
        Raises ModelDownloadError.
        """
        import httpx

        failures = 0
        while True:
            before = self._size()
            try:
                return self._attempt()
            except (httpx.TransportError, httpx.StreamError, _Interrupted) as error:
                failures = 1 if self._size() > before else failures + 1
                unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not self._reached
                if unreachable or failures >= network.attempts:
                    kept = f" ({self._size()} bytes are kept; pull again to go on)" if self._size() else ""
                    raise ModelDownloadError(f"{self._download.url}: {_explain(error)}{kept}") from error
                asked = error.wait_s if isinstance(error, _Interrupted) else 0.0
                time.sleep(min(_MAX_WAIT_S, max(asked, network.backoff_s * 2 ** (failures - 1))))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ModelDownloadError(f"{self._download.url}: {_explain(error)}") from error

    def _attempt(self) -> None:
        # identity: a compressed answer would make lengths and ranges mean something else.
        headers = {**self._download.headers, "Accept-Encoding": "identity"}
        size = self._size()
        if size:
            headers |= {"Range": f"bytes={size}-", "If-Range": self._validator()}
        with self._client.stream("GET", self._download.url, headers=headers) as response:
            self._reached = True
            if response.status_code == 416:
                return self._range_refused(response)
            _check_status(response, self._download.url)
            self._note(response)
            total = self._begin(response)
            self._receive(response, total)
        if total is not None and self._size() != total:
            raise _Interrupted(f"the connection ended after {self._size()} of {total} bytes")
        return None

    def _begin(self, response: httpx.Response) -> int | None:
        """Makes the part ready for the body of `response`; the size of the whole file, if it is said."""
        length = response.headers.get("Content-Length", "")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ModelDownloadError(f"{self._download.url}: the server compresses the answer though told not to")
        size = self._size()
        if response.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not match or int(match[1]) != size:
                self._restart()
                raise _Interrupted("the server gave another range than the one asked for")
            total = int(match[2]) if match[2] != "*" else None
        else:
            self._restart()
            total = int(length) if length.isdecimal() else None
        self._check_total(total)
        return total

    def _check_total(self, total: int | None) -> None:
        expected = self._download.file.size_bytes
        if total is None:
            return
        if expected is not None and total != expected:
            self._restart()
            raise ModelDownloadError(f"{self._download.url}: {total} bytes are offered, {expected} are expected")
        if total > _MAX_FILE_BYTES:
            raise ModelDownloadError(f"{self._download.url}: {total} bytes are more than any model file may have")
        require_space(self._part.parent, total - self._size())

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        limit = total or self._download.file.size_bytes or _MAX_FILE_BYTES
        size = self._size()
        with self._part.open("ab") as part:
            # Without a block size: one would be held back until it is full, and lost when the connection is.
            for block in response.iter_raw():
                size += len(block)
                if size > limit:
                    raise ModelDownloadError(f"{self._download.url}: more than the {limit} bytes announced")
                part.write(block)
                self._meter.add(len(block), self._download.file.path)

    def _range_refused(self, response: httpx.Response) -> None:
        match = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match and int(match[1]) == self._size():
            return
        self._restart()
        raise _Interrupted("the server has no such range any more")

    def _note(self, response: httpx.Response) -> None:
        # A hub names the SHA-256 of a large file in the answer that redirects to where the bytes are.
        for answer in (*response.history, response):
            stated = answer.headers.get("X-Linked-Etag", "").strip('"')
            self.stated_sha256 = stated if safe_sha256(stated) else self.stated_sha256
        known = self._download.file.sha256
        if known and self.stated_sha256 and known != self.stated_sha256:
            raise ModelDownloadError(f"{self._download.url}: offers sha256 {self.stated_sha256}, {known} is expected")
        etag = response.headers.get("ETag", "")
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        atomic.write(self.notes, json.dumps({"validator": validator}), mode=0o644)

    def _restart(self) -> None:
        self._meter.add(-self._size(), self._download.file.path)
        self._part.write_bytes(b"")

    def _validator(self) -> str:
        try:
            found = json.loads(self.notes.read_text(encoding="utf-8"))["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return found if isinstance(found, str) else ""

    def _size(self) -> int:
        return self._part.stat().st_size


def _check_status(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if url.startswith("https://") and response.url.scheme != "https":
        raise ModelDownloadError(f"{url}: redirects to {response.url.host} without encryption")
    if status in _RETRIED:
        wait = response.headers.get("Retry-After", "")
        raise _Interrupted(f"the server answered {status}", float(wait) if wait.isdecimal() else 0.0)
    if status in (401, 403):
        raise ModelDownloadError(
            f"{url}: refused ({status}); it may be private, or its licence may have to be accepted first: set HF_TOKEN"
        )
    if status not in (200, 206):
        raise ModelDownloadError(f"{url}: the server answered {status}")


def _explain(error: Exception) -> str:
    return str(error) or type(error).__name__
