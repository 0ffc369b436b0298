"""Archives: their members become documents, and none of them gets out of its bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors import readers
from ragagent.connectors.readers import Reading, inside
from ragagent.connectors.readers.inside import neutral
from ragagent.errors import ReadError
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.testing.samples import tarred, zipped
from ragagent.types import root_uri

FILES = {"notes.txt": b"the garden opens", "in/table.csv": b"a,b\n1,2\n"}


def read(data: bytes, name: str, **settings: int) -> Reading:
    fetched = Fetched(uri="test:a", name=name, content=data, metadata={"tag": "x"}, acl=("ada",))
    return readers.read(fetched, settings=IngestSettings(**settings))


PACKED = {
    "a.zip": zipped(FILES),
    "a.tar": tarred(FILES),
    "a.tar.gz": gzip.compress(tarred(FILES)),
    "a.tar.bz2": bz2.compress(tarred(FILES)),
    "a.tar.xz": lzma.compress(tarred(FILES)),
}


@pytest.mark.parametrize("name", PACKED)
def test_members_are_documents_named_by_their_archive(name: str) -> None:
    found = read(PACKED[name], name)
    assert [(one.uri, one.text) for one in found.children] == [
        ("test:a!/notes.txt", "the garden opens"),
        ("test:a!/in/table.csv", "a | b\n1 | 2"),
    ]
    assert "in/table.csv | 8" in found.document.text
    assert found.failures == ()
    assert all(one.acl == ("ada",) and one.metadata["tag"] == "x" for one in found.children)


def test_one_packed_file_is_inside_under_its_own_name() -> None:
    assert [(one.uri, one.text) for one in read(gzip.compress(b"hello there"), "a.txt.gz").children] == [
        ("test:a!/a.txt", "hello there")
    ]


def test_a_member_that_cannot_be_read_stops_nothing_else() -> None:
    found = read(zipped({"a.bin": bytes(range(32)) * 9, "b.txt": b"text", "c.txt": b" "}), "a.zip")
    assert [one.uri for one in found.children] == ["test:a!/b.txt"]
    assert {one.uri: one.kind for one in found.failures} == {
        "test:a!/a.bin": "UnsupportedFormat",
        "test:a!/c.txt": "EmptyDocument",
    }


def test_names_that_lead_out_of_the_archive_are_only_names() -> None:
    names = ["../../etc/passwd", "/abs/x.txt", "C:\\win\\y.txt", "a/../../b.txt", "b.txt", "q!/z.txt"]
    found = read(zipped(dict.fromkeys(names, b"text")), "a.zip")
    assert [one.uri.removeprefix("test:a!/") for one in found.children] == [
        "etc/passwd",
        "abs/x.txt",
        "win/y.txt",
        "a/b.txt",
        "b.txt",
        "q%21/z.txt",
    ]


@given(st.text(max_size=60) | st.text(alphabet="./\\!:aC", max_size=30))
def test_a_neutral_path_is_relative_and_never_leads_up(path: str) -> None:
    parts = neutral(path).split("/")
    assert all(part and part not in {".", ".."} for part in parts)
    assert "!/" not in neutral(path)
    assert root_uri("file:///a.zip!/" + neutral(path)) == "file:///a.zip"


def test_members_of_one_name_are_told_apart() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.txt", "two")
    assert [(one.uri, one.text) for one in read(target.getvalue(), "a.zip").children] == [
        ("test:a!/a.txt", "one"),
        ("test:a!/a.txt~2", "two"),
    ]


def test_a_member_that_unpacks_like_a_bomb_is_refused_by_name() -> None:
    found = read(zipped({"bomb.txt": bytes(100_000_000), "b.txt": b"text"}), "a.zip")
    assert [one.text for one in found.children] == ["text"]
    assert [(one.uri, one.kind) for one in found.failures] == [("test:a!/bomb.txt", "TooLarge")]
    assert "bomb" in found.failures[0].reason


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_stream_that_unpacks_like_a_bomb_is_refused(pack: object) -> None:
    packed = pack(bytes(60_000_000))  # type: ignore[operator]
    found = read(packed, "a.txt")
    assert [one.kind for one in found.failures] == ["TooLarge"]


def test_archives_in_archives_are_opened_to_a_depth() -> None:
    data = zipped({"bottom.txt": b"text"})
    for level in range(inside.MAX_DEPTH + 3):
        data = zipped({f"{level}.zip": data})
    found = read(data, "a.zip")
    assert len(found.children) == inside.MAX_DEPTH
    assert [one.kind for one in found.failures] == ["TooLarge"]
    assert "deep" in found.failures[0].reason


def test_an_archive_that_holds_itself_many_times_over_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten archives of ten archives of ten: the bound is over all levels together."""
    monkeypatch.setattr(inside, "MAX_MEMBERS", 50)
    data = zipped({"bottom.txt": b"text"})
    for _ in range(3):
        data = zipped({f"{place}.zip": data for place in range(10)})
    fetched = Fetched(uri="test:a", name="a.zip", content=data)
    found = readers.read(fetched, settings=IngestSettings())
    assert len(found.children) <= 50
    assert any("too much" in one.reason for one in found.failures)


def test_a_member_larger_than_a_file_may_be_is_left_out() -> None:
    found = read(zipped({"a.txt": b"0123456789" * 200}), "a.zip", max_file_bytes=1_000)
    assert [one.kind for one in found.failures] == ["TooLarge"]


def test_links_and_devices_of_a_tar_are_listed_and_not_followed() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = read(target.getvalue(), "a.tar")
    assert found.children == ()
    assert "link.txt" in found.document.text


@given(st.data())
def test_a_damaged_archive_is_read_in_part_or_refused(draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(sorted(PACKED)))
    data = bytearray(PACKED[name])
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at : at + draw.draw(st.integers(0, 9))] = draw.draw(st.binary(max_size=9))
    try:
        found = read(bytes(data), name)
    except ReadError:
        return
    assert all(root_uri(one.uri) == "test:a" for one in found.children)
