"""A knowledge base of an older format is brought forward whole, or left as it was."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ragagent.index import store, tallies
from ragagent.index.embedded import EmbeddedIndex, stored_fingerprint
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.text.analyser import Analyser

DATA = Path(__file__).parent / "data"
NEWEST = 4


def library():
    """What was written to the file by the code of format 1, less what it removed again."""
    made = [
        entry(
            f"n:{number}",
            [f"word{number} common", f"other{number} common, in a second paragraph"],
            title=f"Title {number % 3}",
            metadata={"n": number, "tags": ["a", "b"]},
            source="s",
            stamp=str(number),
        )
        for number in (3, 4, 6, 7, 8, 9, 10, 12)
    ]
    edited = ["word5 edited", "other5 common, in a second paragraph"]
    return [*made, entry("n:5", edited, title="Title 2", metadata={"n": 5}, source="s", stamp="new")]


@pytest.fixture(autouse=True)
def analysed_as_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are from before texts were stemmed in their language; those in them have the same terms either way."""
    monkeypatch.setattr(Analyser, "fingerprint", "terms-1 nfkc casefold fold-latin snowball-english bigrams")


@pytest.fixture
def old(folder: Path) -> Path:
    return unpacked("format1", folder)


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(DATA / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / "ragagent.db")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.parametrize("format_", [1, 2])
def test_an_older_format_is_brought_forward_with_everything_in_it(
    opened, folder: Path, tmp_path: Path, format_
) -> None:
    old = unpacked(f"format{format_}", folder)
    assert version(old) == format_
    stored = stored_fingerprint(old)
    assert stored is not None
    assert stored["embedder"] == "hash"
    index = opened()
    assert version(old) == NEWEST
    assert {document.uri: document for document in index.documents()} == {
        one.document.uri: one.document for one in library()
    }
    for one in library():
        assert tuple(index.chunks(one.document.id)) == one.chunks
        cached = index.cached_vectors(one.texts)
        for text, vector in zip(one.texts, one.vectors, strict=True):
            np.testing.assert_allclose(cached[text], vector, atol=1e-3)
    assert {known.stamp for known in index.known().values()} == {one.stamp for one in library()}
    fresh = EmbeddedIndex.open(tmp_path / "fresh", fingerprint={"embedder": "hash"}, dimension=DIMENSION)
    fresh.write(library())
    for mode in ("dense", "sparse", "hybrid"):
        for query in ("common word7", "edited second paragraph", "title other12"):
            found, expected = (
                [(hit.chunk, hit.score, hit.uri) for hit in one.search(query, vector_of(query), k=20, mode=mode)]
                for one in (index, fresh)
            )
            assert found == expected
    fresh.close()
    assert index.check() == ()
    assert index.status().findings == ()
    index.write([entry("new", ["after the upgrade"])], remove=[library()[0].document.id])
    assert index.check() == ()


def test_format_2_brings_its_snapshots_along(opened, folder: Path) -> None:
    unpacked("format2", folder)
    index = opened()
    assert [(one.name, one.documents) for one in index.snapshots.list()] == [("before", 5)]
    assert {one.uri for one in index.snapshots.diff("before").removed} == {"gone"}
    index.snapshots.restore("before")
    assert {one.uri for one in index.documents()} == {"n:3", "n:4", "n:6", "n:7", "gone"}
    assert index.check() == ()


def test_format_3_comes_to_filter_by_readers_and_by_what_is_worked_out(opened, folder: Path) -> None:
    """It was written with an acl on n:7 by code that did not look at it."""
    unpacked("format3", folder)
    index = opened()
    assert version(folder) == NEWEST
    assert index.check() == ()
    assert {one.uri: one.acl for one in index.each_known() if one.acl} == {"n:7": ("group:law", "user:ann")}

    def found(where: str) -> set[str]:
        return {hit.uri for hit in index.search("common", vector_of("common"), k=50, mode="dense", where=where)}

    everything = {one.document.uri for one in library()}
    assert found('acl = "group:law"') == found('acl = "user:ann"') == {"n:7"}
    assert found("acl = null") == everything - {"n:7"}
    assert found("type = txt") == everything
    assert {one.uri for one in index.snapshots.diff("before").removed} == {"gone"}
    index.snapshots.restore("before")
    assert found("acl = null") == {"n:3", "n:4", "n:6", "n:7", "gone"}
    assert index.check() == ()


def test_metadata_called_acl_in_format_3_makes_nobody_a_reader(opened, folder: Path) -> None:
    unpacked("format3", folder)
    connection = sqlite3.connect(folder / "ragagent.db")
    (row,) = connection.execute("SELECT row FROM documents WHERE uri = 'n:3'").fetchone()
    connection.execute(f"INSERT INTO attributes VALUES ('acl', 'text:public', {row})")
    tallies.add(connection, [("acl", "text:public", row)])
    connection.commit()
    connection.close()
    index = opened()
    assert index.search("common", None, k=50, mode="sparse", where="acl = public") == []


def test_what_was_damaged_in_format_2_stays_damaged(opened, folder: Path) -> None:
    unpacked("format2", folder)
    connection = sqlite3.connect(folder / "ragagent.db")
    flip = "CAST(substr(vector, 1, 9) || x'01' || substr(vector, 11) AS BLOB)"
    connection.execute(f"UPDATE embeddings SET vector = {flip} WHERE row = 1")
    connection.execute("UPDATE texts SET text = replace(text, 'word4', 'wore4')")
    connection.commit()
    connection.close()
    found = opened().check()
    assert any("a vector" in one for one in found)
    assert any("n:4" in one for one in found)


def test_a_migration_that_fails_leaves_the_old_format_as_it_was(opened, old: Path, monkeypatch) -> None:
    before = (old / "ragagent.db").read_bytes()

    def broken(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "last_row", broken)
    with pytest.raises(Exception, match="disk I/O error"):
        opened()
    monkeypatch.undo()
    assert version(old) == 1
    assert (old / "ragagent.db").read_bytes() == before
    assert len(opened().known()) == 9
