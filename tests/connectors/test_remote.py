from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ragagent.connectors import open_connector, remote
from ragagent.errors import ConfigError, ConnectorError, MissingExtra, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector
from ragagent.types import Failure

KEYS = {"key": "AKIAXXTESTXX", "secret": "verys3cret"}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a store that speaks S3, with an empty bucket named `docs`."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A client for the store and the options that reach it; the bucket is emptied afterwards."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id=KEYS["key"],
        aws_secret_access_key=KEYS["secret"],
    )
    client.create_bucket(Bucket="docs")
    yield client, {"endpoint_url": s3, **KEYS}
    for entry in client.list_objects_v2(Bucket="docs").get("Contents", []):
        client.delete_object(Bucket="docs", Key=entry["Key"])
    client.delete_bucket(Bucket="docs")
    client.close()


def _put(client: Any, texts: Mapping[str, str]) -> None:
    for key, text in texts.items():
        client.put_object(Bucket="docs", Key=key, Body=text.encode())


def _uris(source: str, **options: Any) -> list[str]:
    return [item.uri for item in open_connector(source, options=options).items()]


def test_a_bucket_keeps_the_rules(bucket: tuple[Any, dict[str, Any]]) -> None:
    client, options = bucket
    _put(client, {"a/1.txt": "One.", "a/2 ü%.md": "# Two", "b.txt": "Three.", "a/.hidden": "No.", "a/x!/y.txt": "Odd."})

    def change() -> str:
        _put(client, {"a/1.txt": "Uno."})
        return "s3://docs/a/1.txt"

    def remove() -> str:
        client.delete_object(Bucket="docs", Key="b.txt")
        return "s3://docs/b.txt"

    def factory() -> Any:
        return open_connector("s3://docs/", options=options)

    assert [item.uri for item in factory().items()] == [
        "s3://docs/a/1.txt",
        "s3://docs/a/2 ü%.md",
        "s3://docs/a/x%21/y.txt",
        "s3://docs/b.txt",
    ]
    check_connector(factory, change=change, remove=remove, secrets=tuple(KEYS.values()))


def test_a_prefix_a_single_object_and_patterns_narrow_a_bucket(bucket: tuple[Any, dict[str, Any]]) -> None:
    client, options = bucket
    _put(client, {"a/1.txt": "One.", "a/2.md": "Two.", "ab.txt": "Three."})
    assert _uris("s3://docs/a", **options) == ["s3://docs/a/1.txt", "s3://docs/a/2.md"]
    assert _uris("s3://docs/a/2.md", **options) == ["s3://docs/a/2.md"]
    assert _uris("s3://docs", include="*.md", **options) == ["s3://docs/a/2.md"]
    assert _uris("s3://docs", exclude=["a/"], **options) == ["s3://docs/ab.txt"]


def test_what_cannot_be_reached_is_told_without_a_secret(bucket: tuple[Any, dict[str, Any]]) -> None:
    _, options = bucket
    with pytest.raises(ConnectorError, match="s3://nothing-here"):
        list(open_connector("s3://nothing-here/x", options=options).items())
    gone = {**options, "endpoint_url": "http://127.0.0.1:1", "config_kwargs": {"retries": {"max_attempts": 0}}}
    with pytest.raises(ConnectorError) as caught:
        list(open_connector("s3://docs/x", options=gone).items())
    assert not any(secret in str(caught.value) for secret in KEYS.values())


def test_more_files_than_the_limit_are_told(bucket: tuple[Any, dict[str, Any]]) -> None:
    client, options = bucket
    _put(client, {f"{number}.txt": "x" for number in range(5)})
    items = list(open_connector("s3://docs", options={"files": "3", **options}).items())
    assert [type(item) for item in items] == [SourceItem] * 3 + [Failure]
    assert (items[-1].uri, "option files" in items[-1].reason) == ("s3://docs", True)  # type: ignore[union-attr]


def test_a_large_object_is_refused_before_it_is_transferred(bucket: tuple[Any, dict[str, Any]]) -> None:
    client, options = bucket
    _put(client, {"large.txt": "x" * 1000})
    connector = open_connector("s3://docs", IngestSettings(max_file_bytes=999), options=options)
    (item,) = connector.items()
    with pytest.raises(TooLarge):
        connector.fetch(item)  # type: ignore[arg-type]


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def test_memory_keeps_the_rules(memory: Any) -> None:
    memory.pipe({"/box/a.txt": b"One.", "/box/sub/b.txt": b"Two."})

    def change() -> str:
        memory.pipe("/box/a.txt", b"Uno.")
        return "memory://box/a.txt"

    def remove() -> str:
        memory.rm("/box/sub/b.txt")
        return "memory://box/sub/b.txt"

    def unreachable() -> None:
        memory.rm("/box", recursive=True)

    check_connector(lambda: open_connector("memory://box"), change=change, remove=remove, unreachable=unreachable)


def test_an_archive_is_a_source_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    path = tmp_path / "box.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "One.")
        archive.writestr("sub/b.md", "# Two")
    source = f"zip://::{path}"
    connector = open_connector(source)
    items = [item for item in connector.items() if isinstance(item, SourceItem)]
    found = [connector.fetch(item) for item in items]
    assert [(one.name, one.content) for one in found if isinstance(one, Fetched)] == [
        ("a.txt", b"One."),
        ("b.md", b"# Two"),
    ]
    check_connector(lambda: open_connector(source))
    with pytest.raises(ReadError, match="upwards"):
        connector.fetch(SourceItem(uri=connector.source + "/../x", stamp=""))


@pytest.fixture
def webdav(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the host at which it is served over WebDAV to ann, whose password is s3cret."""
    pytest.importorskip("webdav4")
    wsgi = pytest.importorskip("cheroot.wsgi")
    app = pytest.importorskip("wsgidav.wsgidav_app")
    folder = tmp_path / "served"
    folder.mkdir()
    config = {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": {"ann": {"password": "s3cret"}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "verbose": 0,
        "logging": {"enable": False},
        "lock_storage": False,
        "property_manager": None,
    }
    server = wsgi.Server(("127.0.0.1", 0), app.WsgiDAVApp(config))
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield folder, f"127.0.0.1:{server.bind_addr[1]}"
    server.stop()
    thread.join()


def test_webdav_keeps_the_rules(webdav: tuple[Path, str]) -> None:
    folder, host = webdav
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("One.")
    (folder / "sub/b ü.txt").write_text("Two.")

    def change() -> str:
        (folder / "a.txt").write_text("Uno, and more.")
        return f"webdav://ann@{host}/a.txt"

    def remove() -> str:
        (folder / "sub/b ü.txt").unlink()
        return f"webdav://ann@{host}/sub/b ü.txt"

    def factory() -> Any:
        return open_connector(f"webdav://ann:s3cret@{host}/", options={"insecure": "true"})

    check_connector(factory, change=change, remove=remove, secrets=("s3cret",))


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[tuple[Path, int, Path]]:
    """A folder, the port of an SSH server on loopback, and the key that it lets in."""
    pytest.importorskip("paramiko")
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not os.path.exists(program) or shutil.which("ssh-keygen") is None:
        pytest.skip("needs sshd: apt-get install openssh-server")
    home = tmp_path / "ssh"
    home.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    (home / "authorized").write_bytes((home / "user.pub").read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {home}/authorized\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    command = [program, "-D", "-e", "-f", str(home / "config")]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _wait_for(port)
    yield tmp_path, port, home / "user"
    server.terminate()
    server.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing answers at port {port}")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="needs sshd")
def test_sftp_keeps_the_rules(sftp: tuple[Path, int, Path]) -> None:
    folder, port, key = sftp
    box = folder / "box"
    (box / "sub").mkdir(parents=True)
    (box / "a.txt").write_text("One.")
    (box / "sub/b.txt").write_text("Two.")
    base = f"sftp://root@127.0.0.1:{port}{box}"

    def change() -> str:
        (box / "a.txt").write_text("Uno, and more.")
        return f"{base}/a.txt"

    def remove() -> str:
        (box / "sub/b.txt").unlink()
        return f"{base}/sub/b.txt"

    check_connector(lambda: open_connector(base, options={"key_filename": str(key)}), change=change, remove=remove)


def test_an_option_that_the_store_does_not_know_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for address in (f"zip://::{tmp_path}/a.zip", "memory://box"):
        with pytest.raises(ConfigError, match=r"no_such_option.*known options: files, include"):
            open_connector(address, options={"no_such_option": "1"})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[str], Any] = remote.importlib.import_module
    monkeypatch.setattr(remote.importlib, "import_module", lambda name: real(name + ".missing"))
    for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("abfs", "azure"), ("webdav", "webdav"), ("memory", "remote")):
        with pytest.raises(MissingExtra, match=rf"ragagent\[{extra}\]"):
            remote.RemoteConnector(f"{scheme}://x/y")


def test_a_scheme_that_nothing_answers_to_is_named() -> None:
    with pytest.raises(ConnectorError, match=r"no connector for gopher://.*s3"):
        open_connector("gopher://example.org/a")
