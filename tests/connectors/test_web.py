from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ragagent.connectors import readers
from ragagent.connectors.web import WebPageConnector, is_public
from ragagent.errors import ConnectorError, ReadError, TooLarge
from ragagent.protocols import SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Document


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/page":
            self._send(b"<html><title>Opening hours</title><h1>Hours</h1><p>Open from nine.</p></html>", "text/html")
        elif self.path == "/notes":
            self._send(b"# Notes\n\nBring *milk*.", "text/markdown; charset=utf-8")
        elif self.path.startswith("/hop"):
            self._redirect(f"/hop{int(self.path[4:] or 0) + 1}" if self.path != "/hop3" else "/page")
        elif self.path == "/loop":
            self._redirect("/loop")
        elif self.path == "/local":
            self._redirect("file:///etc/passwd")
        elif self.path == "/endless":
            self._endless()
        else:
            self.send_error(404)

    def _send(self, body: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"more and more " * 1000)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _load(url: str, *, allow_private: bool = True, max_bytes: int = 1_000_000) -> Document:
    settings = IngestSettings(max_file_bytes=max_bytes)
    connector = WebPageConnector(url, settings=settings, allow_private=allow_private, timeout_s=20)
    (item,) = connector.items()
    assert isinstance(item, SourceItem)
    return readers.read(connector.fetch(item), settings=IngestSettings()).document


def test_a_page_becomes_a_document(site: str) -> None:
    document = _load(f"{site}/page#top")
    assert (document.title, document.uri) == ("Opening hours", f"{site}/page")
    assert document.text == "Hours\n\nOpen from nine."


def test_the_stated_media_type_counts_where_the_bytes_do_not_tell(site: str) -> None:
    assert _load(f"{site}/notes").text == "Notes\n\nBring milk."


def test_redirects_are_followed_and_counted(site: str) -> None:
    assert _load(f"{site}/hop0").metadata["url"] == f"{site}/page"
    with pytest.raises(ReadError, match="redirects"):
        _load(f"{site}/loop")


def test_private_addresses_are_refused_unless_allowed(site: str) -> None:
    with pytest.raises(ReadError, match="not a public address"):
        _load(f"{site}/page", allow_private=False)
    with pytest.raises(ReadError, match=r"169\.254\.169\.254"):
        _load("http://169.254.169.254/", allow_private=False)


def test_a_redirect_leads_to_http_only(site: str) -> None:
    with pytest.raises(ReadError, match="file:///etc/passwd"):
        _load(f"{site}/local")


def test_a_page_without_end_is_cut_off(site: str) -> None:
    with pytest.raises(TooLarge):
        _load(f"{site}/endless")


def test_what_the_server_says_is_reported(site: str) -> None:
    with pytest.raises(ReadError, match="404"):
        _load(f"{site}/nothing")
    with pytest.raises(ReadError, match="cannot be fetched"):
        _load("http://127.0.0.1:1/")


@pytest.mark.parametrize("url", ["https://", "http:///path", "gopher://example.org/"])
def test_an_address_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ConnectorError):
        WebPageConnector(url)


PRIVATE = """127.0.0.1 10.1.2.3 192.168.1.1 169.254.169.254 0.0.0.0 224.0.0.1 ::1 fe80::1 fd00::1 ::ffff:10.0.0.1
64:ff9b::a00:1 2002:a00:1::"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_every_kind_of_private_address_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
