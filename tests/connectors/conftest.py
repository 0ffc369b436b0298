"""Sources on this machine for the connectors: real servers on loopback, started once where that is slow."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Answer:
    """What the server says to one path; `headers` may name any."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    validators: bool = True


class WebServer:
    """Answers by path, with ETags; `asked` is every request: (method, path, status)."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.asked: list[tuple[str, str, int]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self.listen: Callable[..., int]
        self.stop: Callable[[], None]

    def page(self, path: str, text: str, *links: str, head: str = "", media_type: str = "text/html") -> None:
        """A page of HTML with a heading, a paragraph and links."""
        anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
        title = path.strip("/") or "Home"
        body = f"<html><head><title>{title}</title>{head}</head><body><p>{text}</p>{anchors}</body></html>"
        self.answers[path] = Answer(body.encode(), media_type=media_type)

    def put(self, path: str, body: bytes, media_type: str = "text/html", **said: Any) -> None:
        """Any answer: `status`, `headers`, `validators`."""
        self.answers[path] = Answer(body, media_type=media_type, **said)

    def redirect(self, path: str, target: str) -> None:
        """A redirect."""
        self.answers[path] = Answer(status=302, headers={"Location": target})

    def paths(self, status: int | None = None) -> list[str]:
        """The paths asked for with GET, in order."""
        return [path for method, path, said in self.asked if method == "GET" and status in {None, said}]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: WebServer

    def do_GET(self) -> None:
        plain = self.path.partition("?")[0]
        if plain.startswith("/trap/"):
            self.close_connection = True
            self.site.asked.append((self.command, self.path, 0))
            with contextlib.suppress(OSError):
                getattr(self, "_" + plain.removeprefix("/trap/").replace("-", "_"))()
            return
        found = self.site.answers.get(self.path, self.site.answers.get(plain, Answer(b"Not here.", 404)))
        self._send(found() if callable(found) else found)

    do_HEAD = do_GET

    def _send(self, found: Answer) -> None:
        etag = f'"{hashlib.md5(found.body).hexdigest()}"'
        status = found.status
        if found.validators and status == 200 and self.headers.get("If-None-Match") == etag:
            status = 304
        self.site.asked.append((self.command, self.path, status))
        self.site.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        body = b"" if status == 304 else found.body
        if found.validators and status in {200, 304}:
            self.send_header("ETag", etag)
        if found.media_type:
            self.send_header("Content-Type", found.media_type)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100_000):
            self.wfile.write(b"more and more " * 1000)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self._slowly(b"<p>")

    def _slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._slowly(b"x")

    def _slowly(self, piece: bytes) -> None:
        for _ in range(400):
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(0.05)

    def _silent(self) -> None:
        time.sleep(20)

    def _bomb(self) -> None:
        body = gzip.compress(b"\0" * 50_000_000)
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _brotli(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "br")
        self.end_headers()
        self.wfile.write(b"\x0b\x02\x80hello\x03")

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _nonsense(self) -> None:
        self.wfile.write(b"\x00\xff this is not HTTP at all\r\n\r\n")

    def _cut_off(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"<p>The beginning")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of a certificate for localhost that nobody else has signed, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key", "-out", folder / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert", folder / "key"


@pytest.fixture
def site() -> Iterator[WebServer]:
    """A web server that serves what a test gives it, and traps below /trap/, at `http://localhost:PORT`."""
    site = WebServer()
    handler = type("Handler", (_Handler,), {"site": site})
    stops: list[Callable[[], None]] = []

    def listen(host: str, port: int = 0, tls: tuple[Path, Path] | None = None) -> int:
        server = ThreadingHTTPServer((host, port), handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        stops.append(_serving(server))
        return server.server_port

    site.listen = listen
    site.url = f"http://localhost:{listen('127.0.0.1')}"
    site.stop = stops[0]
    yield site
    for stop in stops:
        stop()


@pytest.fixture
def folder_server() -> Iterator[Callable[[Path], tuple[str, Callable[[], None]]]]:
    """Serves a folder as `python -m http.server` does: gives its address and what stops it."""
    running: list[Callable[[], None]] = []

    def serve(folder: Path) -> tuple[str, Callable[[], None]]:
        handler = partial(_QuietFiles, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        stop = _serving(server)
        running.append(stop)
        return f"http://127.0.0.1:{server.server_port}", stop

    yield serve
    for stop in running:
        stop()


class _QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _serving(server: ThreadingHTTPServer) -> Callable[[], None]:
    """Runs the server in a thread; gives what stops it, which may be called twice."""
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


@pytest.fixture
def serve() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], str]]:
    """Serves with a handler of the test's own: gives host and port."""
    running: list[Callable[[], None]] = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.append(_serving(server))
        return f"127.0.0.1:{server.server_port}"

    yield start
    for stop in running:
        stop()
