from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ragagent.connectors import open_connector, readers
from ragagent.connectors.files import FilesConnector, file_path, file_uri
from ragagent.errors import ConfigError, ConnectorError, EmptyDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.protocols import SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector
from ragagent.types import Document, Failure


def _names(connector: FilesConnector, root: Path) -> list[str]:
    found = [item for item in connector.items() if isinstance(item, SourceItem)]
    return [os.path.relpath(file_path(item.uri), root) for item in found]


def _failures(connector: FilesConnector) -> dict[str, Failure]:
    return {os.path.basename(file_path(one.uri)): one for one in connector.items() if isinstance(one, Failure)}


def _write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"The text of {name}.")


def _load(connector: FilesConnector, item: SourceItem) -> Document:
    return readers.read(connector.fetch(item), settings=IngestSettings()).document


def _item(connector: FilesConnector) -> SourceItem:
    (item,) = connector.items()
    assert isinstance(item, SourceItem)
    return item


def test_a_folder_is_walked_in_a_stable_order_without_hidden_files(tmp_path: Path) -> None:
    _write(tmp_path, "b.txt", "a/2.md", "a/1.md", "c/d/e.txt", ".hidden.txt", ".ragagent/index.txt", "a/.git/x.txt")
    assert _names(FilesConnector(tmp_path), tmp_path) == ["a/1.md", "a/2.md", "b.txt", "c/d/e.txt"]


def test_ignore_files_work_as_in_git(tmp_path: Path) -> None:
    _write(
        tmp_path,
        "keep.txt",
        "drop.log",
        "build/x.txt",
        "sub/drop.log",
        "sub/kept.log",
        "sub/deep/only.txt",
        "sub/a.tmp",
    )
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    (tmp_path / "sub/.ragagentignore").write_text("!kept.log\n/deep/\n*.tmp\n")
    assert _names(FilesConnector(tmp_path), tmp_path) == ["keep.txt", "sub/kept.log"]


def test_include_and_exclude_are_patterns_within_the_folder(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "b.txt", "sub/c.md", "sub/old/d.md")
    connector = FilesConnector(tmp_path, include=["*.md"], exclude=["old/"])
    assert _names(connector, tmp_path) == ["a.md", "sub/c.md"]


def test_a_pattern_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        FilesConnector(tmp_path, include=["!"])


def test_a_single_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    _write(tmp_path, ".notes.txt")
    connector = FilesConnector(tmp_path / ".notes.txt")
    document = _load(connector, _item(connector))
    assert document.text == "The text of .notes.txt."
    assert document.uri == connector.source == (tmp_path / ".notes.txt").as_uri()


def test_links_are_followed_once_inside_the_folder_and_never_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _write(root, "real/one.txt", "two.txt")
    _write(tmp_path, "secret.txt", "outside/three.txt")
    (root / "loop").symlink_to(root)
    (root / "real/up").symlink_to("..")
    (root / "again.txt").symlink_to("two.txt")
    (root / "aliased").symlink_to("real")
    (root / "leak.txt").symlink_to(tmp_path / "secret.txt")
    (root / "leaks").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to("nowhere")
    (root / "self").symlink_to("self")
    connector = FilesConnector(root)
    assert sorted(_names(connector, root)) == ["real/one.txt", "two.txt"]
    assert set(_failures(connector)) == {"leak.txt", "leaks", "dangling", "self"}
    for uri in (file_uri(str(root / "leak.txt")), file_uri(str(root / "../secret.txt")), file_uri("/etc/hostname")):
        with pytest.raises(ReadError):
            _load(connector, SourceItem(uri=uri, stamp=""))


def test_what_is_no_file_is_reported_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        failures = _failures(FilesConnector(tmp_path))
    assert "pipe" in failures["pipe"].reason
    assert "socket" in failures["sock"].reason
    with pytest.raises(ReadError, match="not a regular file"):
        _load(FilesConnector(tmp_path), SourceItem(uri=file_uri(str(tmp_path / "pipe")), stamp=""))


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9 \xff%.txt"
    with open(path, "wb") as file:
        file.write(b"Coffee is served.")
    connector = FilesConnector(tmp_path)
    document = _load(connector, _item(connector))
    assert document.uri.isascii()
    assert os.fsencode(file_path(document.uri)) == path
    assert document.title.encode()
    assert document.text == "Coffee is served."


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="nothing-here"):
        list(FilesConnector(tmp_path / "nothing-here").items())


def test_an_empty_folder_has_no_items(tmp_path: Path) -> None:
    assert list(FilesConnector(tmp_path).items()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_reported_by_name(tmp_path: Path) -> None:
    _write(tmp_path, "a.txt", "closed/b.txt", "c.txt")
    (tmp_path / "c.txt").chmod(0)
    (tmp_path / "closed").chmod(0)
    connector = FilesConnector(tmp_path)
    try:
        assert "ermission" in _failures(connector)["closed"].reason
        with pytest.raises(ReadError, match="ermission"):
            _load(connector, SourceItem(uri=file_uri(str(tmp_path / "c.txt")), stamp=""))
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(2 * 1024**3)
    connector = FilesConnector(tmp_path)
    with pytest.raises(TooLarge, match="max_file_bytes"):
        _load(connector, _item(connector))


def test_an_empty_file_and_a_binary_one_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(bytes(range(256)) * 10)
    connector = FilesConnector(tmp_path)
    empty, binary = (item for item in connector.items() if isinstance(item, SourceItem))
    with pytest.raises(EmptyDocument):
        _load(connector, empty)
    with pytest.raises(UnsupportedFormat, match="binary"):
        _load(connector, binary)


def test_the_stamp_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    connector = FilesConnector(tmp_path)
    before = _item(connector)
    assert _item(connector) == before
    path.write_text("two")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert _item(connector).stamp != before.stamp


def test_a_file_that_vanished_is_reported(tmp_path: Path) -> None:
    _write(tmp_path, "a.txt")
    connector = FilesConnector(tmp_path)
    item = _item(connector)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ReadError, match="No such file"):
        _load(connector, item)


def test_a_file_that_keeps_changing_is_not_ingested_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("growing ")
    real = os.fstat

    def writing_meanwhile(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        with path.open("a") as file:
            file.write("and growing ")
        return found

    connector = FilesConnector(tmp_path)
    item = _item(connector)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", writing_meanwhile)
        with pytest.raises(ReadError, match="changing"):
            _load(connector, item)
    assert _load(connector, item).text.startswith("growing and growing")


def test_metadata_says_what_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "travel_policy-2024.txt"
    path.write_text("Trains first.")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    connector = FilesConnector(tmp_path)
    document = _load(connector, _item(connector))
    assert document.title == "travel policy 2024"
    assert dict(document.metadata) == {
        "file_name": "travel_policy-2024.txt",
        "media_type": "text/plain",
        "size": 13,
        "modified": "2023-11-14",
    }


def test_the_size_limit_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 100)
    connector = open_connector(tmp_path, IngestSettings(max_file_bytes=99))
    (item,) = connector.items()
    assert isinstance(item, SourceItem)
    with pytest.raises(TooLarge, match="100 bytes"):
        _load(connector, item)


def test_sources_are_told_apart_by_their_address(tmp_path: Path) -> None:
    assert open_connector(str(tmp_path)).source == tmp_path.as_uri()
    assert open_connector(tmp_path.as_uri()).source == tmp_path.as_uri()
    assert open_connector("https://example.org/a#b").source == "https://example.org/a"
    with pytest.raises(ConnectorError, match="gopher"):
        open_connector("gopher://example.org/a")


def test_a_name_with_colons_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "std::vector.md", "mail:box.txt")
    monkeypatch.chdir(tmp_path)
    for name in ("std::vector.md", "mail:box.txt"):
        assert _item(open_connector(name)).uri == file_uri(str(tmp_path / name))  # type: ignore[arg-type]


def test_a_folder_keeps_the_rules(tmp_path: Path) -> None:
    root = tmp_path / "box"
    _write(root, "a.txt", "sub/b.md", "sub/deep/c.txt", "odd!/d.txt")

    def change() -> str:
        (root / "a.txt").write_text("Another text, and a longer one.")
        return (root / "a.txt").as_uri()

    def remove() -> str:
        (root / "sub/b.md").unlink()
        return (root / "sub/b.md").as_uri()

    def unreachable() -> None:
        root.rename(tmp_path / "away")

    check_connector(lambda: open_connector(root), change=change, remove=remove, unreachable=unreachable)
