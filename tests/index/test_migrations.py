"""A knowledge base of an older format is brought forward whole, or left as it was."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ragagent.index import store
from ragagent.index.embedded import EmbeddedIndex, stored_fingerprint
from ragagent.testing.index import DIMENSION, entry, vector_of

DATA = Path(__file__).parent / "data" / "format1.zip"


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


@pytest.fixture
def old(folder: Path) -> Path:
    with zipfile.ZipFile(DATA) as archive:
        archive.extractall(folder)
    return folder


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / "ragagent.db")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_format_1_is_brought_forward_with_everything_in_it(opened, old: Path, tmp_path: Path) -> None:
    assert version(old) == 1
    stored = stored_fingerprint(old)
    assert stored is not None
    assert stored["embedder"] == "hash"
    index = opened()
    assert version(old) == 2
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
