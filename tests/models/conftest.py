"""A model hub, a plain web server and a package index on the loopback, that can also misbehave on request."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ragagent.models.access import Access, HubOptions, Network

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Web:
    """What the server serves, how it misbehaves, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.large: set[str] = set()
        """Files whose SHA-256 the hub states, as it does for large files."""
        self.cuts: list[int] = []
        """Each download of bytes ends after so many of them, the first by the first number."""
        self.statuses: list[int] = []
        """Answers given to the next requests for bytes instead of bytes."""
        self.swaps: dict[str, bytes] = {}
        """What is really sent for a file, whatever was announced for it."""
        self.pause_s = 0.0
        """Before each block of 64 KiB."""
        self.ranges = True
        self.validators = True
        self.bytes_host = ""
        """Where the hub sends clients for the bytes of a file; empty: to itself."""
        self.needs_token: str | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def put(self, path: str, data: bytes, *, large: bool = True) -> str:
        """Serves a file of a repository (`owner/name/file`); its SHA-256."""
        self.files[path] = data
        if large:
            self.large.add(path)
        return hashlib.sha256(data).hexdigest()

    def put_wheel(self, name: str, version: str, members: dict[str, bytes]) -> bytes:
        """Serves a wheel with `members` in the package index."""
        stem = f"{name.replace('-', '_')}-{version}"
        body = BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as wheel:
            for member, data in members.items():
                wheel.writestr(member, data)
            wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
        self.files[f"wheels/{stem}-py3-none-any.whl"] = body.getvalue()
        return body.getvalue()

    def bytes_requests(self) -> list[dict[str, str]]:
        """The headers of every request for the bytes of a file."""
        return [headers for path, headers in self.requests if path.startswith("/bytes/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.web.requests.append((self.path, dict(self.headers)))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/.+", path):
            return self._listing(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            return self._resolve(f"{match[1]}/{match[2]}")
        if match := re.fullmatch(r"/simple/([^/]+)/", path):
            return self._index(match[1])
        return self._bytes(path.removeprefix("/bytes/").removeprefix("/"))

    def _plain(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _listing(self, repository: str) -> None:
        found = [name for name in self.web.files if name.startswith(f"{repository}/")]
        siblings = [
            {"rfilename": name.removeprefix(f"{repository}/"), "size": len(self.web.files[name])}
            | ({"lfs": {"sha256": _sha(self.web.files[name])}} if name in self.web.large else {})
            for name in found
        ]
        body = json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
        self._plain(200 if found else 404, {"Content-Type": "application/json"}, body)

    def _resolve(self, name: str) -> None:
        if self.web.needs_token and self.headers.get("Authorization") != f"Bearer {self.web.needs_token}":
            return self._plain(401, {})
        if name not in self.web.files:
            return self._plain(404, {})
        data = self.web.files[name]
        etag = _sha(data) if name in self.web.large else hashlib.sha1(data).hexdigest()
        headers = {
            "Location": f"{self.web.bytes_host}/bytes/{name}",
            "X-Linked-Etag": f'"{etag}"',
            "X-Repo-Commit": COMMIT,
        }
        return self._plain(302, headers)

    def _index(self, name: str) -> None:
        stem = f"wheels/{name.replace('-', '_')}-"
        links = [f'<a href="/{path}">{path.split("/")[1]}</a>' for path in self.web.files if path.startswith(stem)]
        self._plain(200 if links else 404, {"Content-Type": "text/html"}, "".join(links).encode())

    def _bytes(self, name: str) -> None:
        if self.web.statuses:
            return self._plain(self.web.statuses.pop(0), {"Retry-After": "0"})
        if name not in self.web.files:
            return self._plain(404, {})
        announced, data = self.web.files[name], self.web.swaps.get(name, self.web.files[name])
        etag = f'"{_sha(announced)}"'
        start = self._start(etag)
        if start > len(data) or (start and start == len(data)):
            return self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.web.validators:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        return self._send(data[start:])

    def _start(self, etag: str) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or not self.web.ranges or self.headers.get("If-Range") != etag:
            return 0
        return int(match[1])

    def _send(self, data: bytes) -> None:
        cut = self.web.cuts.pop(0) if self.web.cuts else len(data)
        try:
            for begin in range(0, min(cut, len(data)), 1 << 16):
                time.sleep(self.web.pause_s)
                self.wfile.write(data[begin : min(begin + (1 << 16), cut)])
                self.wfile.flush()
        except OSError:
            pass  # the client went away, as some tests want
        if cut < len(data):
            self.close_connection = True


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A running server; pip is pointed at it too, and at nothing else."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("HTTP_PROXY", "http_proxy", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "NO_PROXY": "127.0.0.1,localhost",
        "PIP_INDEX_URL": f"{web.url}/simple",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def access(web: Web) -> Access:
    """Access to the server above as the hub, impatient."""
    network = Network(connect_timeout_s=5, read_timeout_s=5, attempts=3, backoff_s=0.01, index_timeout_s=60)
    return Access(hub=HubOptions(endpoint=web.url), network=network)


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    """Where a test may write a catalogue of its own."""
    return tmp_path / "catalogue.toml"


@pytest.fixture
def make_store(tmp_path: Path, access: Access) -> Any:
    """Builds a store in a fresh folder with a catalogue of the models given."""
    from ragagent.models.catalogue import Catalogue, Model
    from ragagent.models.store import ModelStore

    def make(*models: Model, folder: Path | None = None, access: Access = access) -> ModelStore:
        return ModelStore(folder or tmp_path / "models", catalogue=Catalogue(models), access=access)

    return make


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small encoder with random weights, as sentence-transformers itself saves one, and gives its folder."""

    def make(
        kind: str = "bert", *, pooling: str = "mean", prompts: dict[str, str] | None = None, **config: Any
    ) -> Path:
        transformers = pytest.importorskip("transformers", reason="needs ragagent[sentence-transformers]")
        torch = pytest.importorskip("torch")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        torch.manual_seed(7)
        source = tmp_path_factory.mktemp("transformer")
        sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        limits = {"intermediate_size": 64, "max_position_embeddings": 66, "pad_token_id": 1, "initializer_range": 0.3}
        settings = transformers.AutoConfig.for_model(kind, **sizes | limits | config)
        transformers.AutoModel.from_config(settings).save_pretrained(source)
        _word_pieces().save_pretrained(source)
        modules = [Transformer(str(source)), Pooling(32, pooling)]
        folder = tmp_path_factory.mktemp("encoder")
        SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)
        return folder

    return make


def _word_pieces() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters), "the", "##ing", "house", "query", "passage"]
    tokenizer = Tokenizer(models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
