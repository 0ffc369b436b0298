from __future__ import annotations

import base64
import os
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ragagent.connectors import open_connector
from ragagent.errors import ConfigError, ConnectorError, ReadError, UnsupportedFormat
from ragagent.protocols import Fetched, SourceItem
from ragagent.testing.connector import check_connector
from ragagent.types import Failure

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the program git")

_WHO = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


class Repository:
    """A real repository that a test writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def address(self) -> str:
        return f"git+file://{self.folder}"

    def git(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env={**os.environ, **_WHO, **environment},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, message: str, *, gone: str = "", author: str = "Ann", **texts: str) -> str:
        """Writes files (`a__b_md` is a/b.md), removes one, and commits: the commit's name."""
        for name, text in texts.items():
            self.write(name.replace("__", "/").replace("_", "."), text)
        if gone:
            (self.folder / gone).unlink()
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message, GIT_AUTHOR_NAME=author)
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def _names(connector: Any) -> list[str]:
    items = [item for item in connector.items() if isinstance(item, SourceItem)]
    return [item.uri.removeprefix(connector.source + "/") for item in items]


def _fetch(connector: Any, name: str) -> Fetched:
    items = {item.uri: item for item in connector.items()}
    found = connector.fetch(items[f"{connector.source}/{name}"])
    assert isinstance(found, Fetched)
    return found


def test_a_repository_keeps_the_rules(repository: Repository, tmp_path: Path) -> None:
    repository.commit("one", readme_md="# Bees", docs__a_txt="One.", docs__b_txt="Two.")

    def change() -> str:
        repository.commit("two", docs__a_txt="Uno.")
        return f"{repository.address}/docs/a.txt"

    def remove() -> str:
        repository.commit("three", gone="docs/b.txt")
        return f"{repository.address}/docs/b.txt"

    def unreachable() -> None:
        shutil.rmtree(repository.folder)

    check_connector(lambda: open_connector(repository.address), change=change, remove=remove, unreachable=unreachable)


def test_a_revision_is_a_branch_a_tag_or_a_commit_and_no_part_of_the_address(repository: Repository) -> None:
    first = repository.commit("one", a_txt="First.")
    repository.git("tag", "v1")
    repository.git("tag", "-a", "-m", "an annotated one", "v1.0/rc@1", first)
    repository.git("branch", "feature/bees")
    repository.commit("two", a_txt="Second.")
    for revision in ("v1", first, first[:10], "feature/bees", "main~1"):
        connector = open_connector(f"{repository.address}@{revision}")
        assert connector.source == repository.address
        assert _fetch(connector, "a.txt").content == b"First."
    assert _fetch(open_connector(repository.address, options={"revision": "v1.0/rc@1"}), "a.txt").content == b"First."
    assert _fetch(open_connector(repository.address), "a.txt").content == b"Second."
    with pytest.raises(ConnectorError, match="no such revision"):
        list(open_connector(f"{repository.address}@v9").items())
    with pytest.raises(ConfigError, match="no revision"):
        open_connector(f"{repository.address}@--upload-pack=x")


def test_a_file_tells_who_changed_it_last(repository: Repository) -> None:
    first = repository.commit("one", author="Bob", a_txt="One.", b_txt="Two.")
    second = repository.commit("two", author="Cleo ü", b_txt="Zwei.")
    connector = open_connector(repository.address)
    told = {name: _fetch(connector, name).metadata for name in ("a.txt", "b.txt")}
    assert (told["a.txt"]["commit"], told["a.txt"]["author"]) == (first, "Bob")
    assert (told["b.txt"]["commit"], told["b.txt"]["author"]) == (second, "Cleo ü")
    assert str(told["a.txt"]["modified"]).startswith("20")


def test_a_folder_and_patterns_narrow_a_repository(repository: Repository) -> None:
    repository.commit("one", a_txt="A.", docs__b_md="B.", docs__old__c_md="C.", docsish_md="No.")
    inner = open_connector(repository.address, options={"path": "docs/"})
    assert inner.source == f"{repository.address}/docs"
    assert _names(inner) == ["b.md", "old/c.md"]
    assert _fetch(inner, "old/c.md").metadata["author"] == "Ann"
    assert _names(open_connector(repository.address, options={"include": "*.md", "exclude": "old/"})) == [
        "docs/b.md",
        "docsish.md",
    ]


def test_odd_names_come_as_they_are_and_hidden_ones_do_not(repository: Repository) -> None:
    name = b"caf\xe9 \n!/%.txt"
    path = os.fsencode(repository.folder) + b"/" + name.partition(b"/")[0]
    os.mkdir(path)
    with open(path + b"/" + name.partition(b"/")[2], "wb") as file:
        file.write(b"Odd.")
    repository.write(".github/a.txt", "Hidden.")
    repository.commit("one", a_txt="A.")
    connector = open_connector(repository.address)
    assert _names(connector) == ["a.txt", "caf%E9%20%0A%21/%25.txt"]
    assert _fetch(connector, "caf%E9%20%0A%21/%25.txt").content == b"Odd."


def test_submodules_and_pointers_are_reported_and_links_are_not_followed(repository: Repository) -> None:
    repository.write("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    (repository.folder / "link.txt").symlink_to("/etc/passwd")
    commit = repository.commit("one", a_txt="A.")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/lib")
    repository.git("commit", "--quiet", "-m", "two")
    connector = open_connector(repository.address)
    items = {item.uri.removeprefix(connector.source + "/"): item for item in connector.items()}
    assert list(items) == ["a.txt", "big.bin", "vendor/lib"]
    assert isinstance(items["vendor/lib"], Failure)
    with pytest.raises(ReadError, match="Git LFS"):
        connector.fetch(items["big.bin"])  # type: ignore[arg-type]


def test_what_attributes_call_binary_is_no_text(repository: Repository) -> None:
    repository.write(".gitattributes", "*.dat binary\n*.pdf binary\n# *.md binary\n")
    repository.write("sub/.gitattributes", "/only.txt -text\n")
    repository.write("sub/only.txt", "Bytes.")
    repository.write("only.txt", "Text.")
    repository.write("a.pdf", "%PDF-1.4\n")
    repository.commit("one", a_dat="Bytes.", b_md="Text.")
    connector = open_connector(repository.address)
    for name in ("a.dat", "sub/only.txt"):
        with pytest.raises(UnsupportedFormat, match="gitattributes"):
            _fetch(connector, name)
    for name in ("a.pdf", "b.md", "only.txt"):
        assert _fetch(connector, name).content


def test_nothing_that_a_repository_names_is_run(repository: Repository, tmp_path: Path) -> None:
    repository.write(".gitattributes", "*.txt filter=evil diff=evil\n")
    repository.commit("one", a_txt="A.")
    canary = tmp_path / "canary"
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\necho ran >> {canary}\ncat\n")
    trap.chmod(0o755)
    for key in (
        "core.fsmonitor", "core.sshCommand", "core.pager", "core.askPass", "core.editor", "credential.helper",
        "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge", "filter.evil.process",
        "gpg.program", "pager.log", "pager.cat-file", "uploadpack.packObjectsHook", "core.alternateRefsCommand",
        "alias.log", "alias.cat-file",
    ):  # fmt: skip
        repository.git("config", key, f"!{trap}" if key.startswith("alias") else str(trap))
    for key, value in {
        "log.showSignature": "true",
        "remote.evil.url": f"ext::{trap}",
        "remote.evil.promisor": "true",
        "extensions.partialClone": "evil",
    }.items():
        repository.git("config", key, value)
    for hook in ("post-checkout", "pre-auto-gc", "reference-transaction", "post-index-change"):
        shutil.copy(trap, repository.folder / ".git/hooks" / hook)
    connector = open_connector(repository.address)
    assert _fetch(connector, "a.txt").content == b"A."
    blob = repository.git("rev-parse", "HEAD:a.txt")
    (repository.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    lost = open_connector(repository.address)
    with pytest.raises(ReadError, match="does not have"):
        _fetch(lost, "a.txt")
    assert not canary.exists()


def test_a_folder_that_is_no_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match=str(tmp_path)):
        list(open_connector(f"git+file://{tmp_path}").items())


class _GitServer(BaseHTTPRequestHandler):
    """git's own HTTP server behind a password."""

    root: Path
    asked: list[str]

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body: bytes) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"ann:s3cret").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "ann",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def git_host(tmp_path: Path, serve: Any) -> tuple[Path, str, list[str]]:
    """A folder whose repositories are served over HTTP to ann, whose password is s3cret; the host; what was asked."""
    root = tmp_path / "hosted"
    root.mkdir()
    asked: list[str] = []
    return root, serve(type("Handler", (_GitServer,), {"root": root, "asked": asked})), asked


def test_a_repository_elsewhere_keeps_the_rules(git_host: tuple[Path, str, list[str]], tmp_path: Path) -> None:
    root, host, asked = git_host
    repository = Repository(root / "repo")
    first = repository.commit("one", a_txt="One.", b_txt="Two.")
    shown = f"git+http://{host}/repo"

    def change() -> str:
        repository.commit("two", a_txt="Uno.")
        return f"{shown}/a.txt"

    def remove() -> str:
        repository.commit("three", gone="b.txt")
        return f"{shown}/b.txt"

    def factory(revision: str = "", **options: str) -> Any:
        options = {"user": "ann", "password": "s3cret", **options}
        return open_connector(shown + revision, options=options, cache=tmp_path / "cache")

    assert factory().source == open_connector(f"git+http://ann:s3cret@{host}/repo").source == shown
    check_connector(factory, change=change, remove=remove, secrets=("s3cret",))
    assert _fetch(factory(f"@{first}"), "b.txt").content == b"Two."
    assert _fetch(factory("@main", history="true"), "a.txt").metadata["author"] == "Ann"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"s3cret" in path.read_bytes() for path in kept)
    asked.clear()
    with pytest.raises(ConnectorError) as caught:
        list(factory(password="wr0ng").items())
    assert "wr0ng" not in str(caught.value)
    assert asked
