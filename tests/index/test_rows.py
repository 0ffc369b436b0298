"""A bit that flips in a row is found when the row is used: an error that names the document, never a wrong record."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ragagent.errors import Corrupt, FingerprintMismatch
from ragagent.index import checksums
from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import entry, vector_of

LIBRARY = [
    entry(f"n:{number}", [f"word{number} common", f"other{number} common"], title=f"T{number}", metadata={"n": number})
    for number in range(6)
]
DOCUMENT = "(SELECT row FROM documents WHERE uri = 'n:3')"

# Each changes one thing of document n:3 as a flipped bit would, and leaves the database sound for SQLite.
HITS = {
    "text": f"UPDATE texts SET text = replace(text, 'word3', 'wore3') WHERE document = {DOCUMENT}",
    "start": f"UPDATE chunks SET start = start + 1 WHERE document = {DOCUMENT} AND position = 0",
    "end": f'UPDATE chunks SET "end" = "end" - 1 WHERE document = {DOCUMENT} AND position = 0',
    "page": f"UPDATE chunks SET page = 7 WHERE document = {DOCUMENT} AND position = 0",
    "headings": f"UPDATE chunks SET headings = '[\"x\"]' WHERE document = {DOCUMENT} AND position = 0",
    "headings that are no list": f"UPDATE chunks SET headings = '[\"x' WHERE document = {DOCUMENT} AND position = 0",
    "document": "UPDATE chunks SET document = (SELECT row FROM documents WHERE uri = 'n:4')"
    f" WHERE document = {DOCUMENT} AND position = 0",
    "title": "UPDATE documents SET title = 'T4' WHERE uri = 'n:3'",
    "metadata": "UPDATE documents SET metadata = '{\"n\": 2}' WHERE uri = 'n:3'",
    "uri": "UPDATE documents SET uri = 'n:7' WHERE uri = 'n:3'",
}
DOCUMENTS = {
    "text": HITS["text"],
    "a piece that is gone": f"DELETE FROM texts WHERE document = {DOCUMENT}",
    "revision": "UPDATE documents SET revision = 'x' WHERE uri = 'n:3'",
    "media type": "UPDATE documents SET media_type = 'x' WHERE uri = 'n:3'",
    "who may read it": "UPDATE documents SET acl = '[\"x\"]' WHERE uri = 'n:3'",
    "blocks": "UPDATE documents SET blocks = '[[\"x\", 0, 1, 0, null]]' WHERE uri = 'n:3'",
}
FLIPPED = "substr({0}, 1, 10) || x'01' || substr({0}, 12)"
VECTOR = (
    f"UPDATE embeddings SET vector = CAST({FLIPPED.format('vector')} AS BLOB) WHERE row ="
    f" (SELECT embedding FROM chunks WHERE document = {DOCUMENT} AND position = 0)"
)
FOUND_BY_CHECK = {
    **HITS,
    **DOCUMENTS,
    "vector": VECTOR,
    "what filters ask for": f"UPDATE attributes SET value = 'number:9' WHERE document = {DOCUMENT} AND key = 'n'",
}


def damage(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "ragagent.db")
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()


@pytest.fixture
def filled(opened: Callable[..., EmbeddedIndex]) -> EmbeddedIndex:
    index = opened(fold_chunks=4)
    index.write(LIBRARY)
    return index


@pytest.mark.parametrize("name", HITS)
def test_a_hit_is_right_or_an_error_that_names_the_document(opened, filled, folder: Path, name: str) -> None:
    filled.close()
    damage(folder, HITS[name])
    index = opened()
    for mode in ("sparse", "dense", "hybrid"):
        with pytest.raises(Corrupt, match=r"n:[347]: .*is damaged.*ingest it again"):
            index.search("word3", vector_of("T3\nword3 common"), k=1, mode=mode)
        hit = index.search("word1", vector_of("T1\nword1 common"), k=1, mode=mode)[0]
        assert (hit.text, hit.title) == ("word1 common", "T1")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_right_or_an_error_that_names_it(filled, folder: Path, name: str) -> None:
    damage(folder, DOCUMENTS[name])
    with pytest.raises(Corrupt, match=r"n:3: .*is damaged"):
        filled.document(LIBRARY[3].document.id)
    assert filled.document(LIBRARY[2].document.id) == LIBRARY[2].document


@pytest.mark.parametrize("folded", [True, False])
def test_a_vector_is_right_or_an_error_that_names_the_document(opened, folder: Path, folded: bool) -> None:
    index = opened(fold_chunks=4 if folded else 1000)
    index.write(LIBRARY)
    index.close()
    damage(folder, VECTOR)
    index = opened()
    with pytest.raises(Corrupt, match=r"n:3: a vector.*is damaged"):
        index.search("", vector_of("T3\nword3 common"), k=3, mode="dense")
    assert list(index.cached_vectors([LIBRARY[3].texts[0], LIBRARY[2].texts[0]])) == [LIBRARY[2].texts[0]]


@pytest.mark.parametrize("name", FOUND_BY_CHECK)
def test_a_check_names_the_document(opened, filled, folder: Path, name: str) -> None:
    assert filled.check() == ()
    filled.close()
    damage(folder, FOUND_BY_CHECK[name])
    assert any("n:3" in finding or "n:7" in finding or "n:4" in finding for finding in opened().check())


MISSED: dict[str, tuple[str, Callable[[EmbeddedIndex], object]]] = {
    "an id": (
        f"DELETE FROM attributes WHERE key = 'id' AND document = {DOCUMENT}",
        lambda index: index.known(),
    ),
    "a uri in a listing": (
        f"DELETE FROM attributes WHERE key = 'uri' AND document = {DOCUMENT}",
        lambda index: list(index.documents()),
    ),
    "a uri among what is known": (
        f"DELETE FROM attributes WHERE key = 'uri' AND document = {DOCUMENT}",
        lambda index: list(index.each_known()),
    ),
    "a document": (
        "DELETE FROM documents WHERE uri = 'n:3'",
        lambda index: index.document(LIBRARY[3].document.id),
    ),
    "what is known of a document": (
        "DELETE FROM documents WHERE uri = 'n:3'",
        lambda index: index.known_of([LIBRARY[3].document.id]),
    ),
    "a reader": ("UPDATE documents SET acl = '[\"public\"]' WHERE uri = 'n:3'", lambda index: index.known()),
    "a reader that is no list": (
        "UPDATE documents SET acl = '[\"x' WHERE uri = 'n:3'",
        lambda index: index.known_of([LIBRARY[3].document.id]),
    ),
    "a reader that is filtered by": (
        f"UPDATE attributes SET value = 'text:public' WHERE key = 'acl' AND document = {DOCUMENT}",
        lambda index: index.search("common", None, k=50, mode="sparse", where="acl = public"),
    ),
    "a stamp": ("UPDATE documents SET stamp = 'other' WHERE uri = 'n:3'", lambda index: index.known()),
    "a value that is filtered by": (
        f"DELETE FROM attributes WHERE key = 'n' AND document = {DOCUMENT}",
        lambda index: index.search("common", None, k=50, mode="sparse", where={"n": 1}),
    ),
    "a chunk of the tail": (
        f"DELETE FROM postings WHERE chunk = (SELECT max(row) FROM chunks WHERE document = {DOCUMENT})",
        lambda index: index.search("common", None, k=50, mode="sparse"),
    ),
    "a death that is none": (
        f"INSERT INTO dead (row, edition) SELECT min(row), 1 FROM chunks WHERE document = {DOCUMENT}",
        lambda index: index.search("common", None, k=50, mode="sparse"),
    ),
    "a snapshot": ("DELETE FROM snapshots", lambda index: index.snapshots.list()),
    "the commit of a snapshot": (
        "UPDATE snapshots SET generation = generation + 1",
        lambda index: index.snapshots.diff("s"),
    ),
    "a count": ("UPDATE meta SET value = 5 WHERE key = 'documents'", lambda index: index.status()),
    "what it is built with": ("UPDATE editions SET dimension = 33", lambda index: index.status()),
}


@pytest.mark.parametrize("name", MISSED)
def test_what_the_database_has_lost_is_an_error_not_a_gap(opened, folder: Path, name: str) -> None:
    statement, question = MISSED[name]
    index = opened(fold_chunks=4 if "death" in name else 1000)
    index.write(LIBRARY)
    index.snapshots.create("s")
    index.close()
    damage(folder, statement)
    with pytest.raises((Corrupt, FingerprintMismatch)):
        question(opened())


@pytest.mark.parametrize("statement", [*HITS.values(), VECTOR, DOCUMENTS["a piece that is gone"]])
def test_what_is_damaged_can_be_removed_and_written_anew(opened, filled, folder: Path, statement: str) -> None:
    filled.close()
    damage(folder, statement)
    index = opened()
    index.write(remove=[one.document.id for one in LIBRARY[3:5]])
    index.write(LIBRARY[3:5])
    assert index.check() == ()
    assert index.search("word3", vector_of("T3\nword3 common"), k=1, mode="hybrid")[0].chunk == LIBRARY[3].chunks[0]


def test_terms_of_the_tail_that_are_damaged_are_made_again(opened, folder: Path) -> None:
    index = opened(fold_chunks=1000)
    index.write(LIBRARY)
    index.close()
    damage(folder, "UPDATE postings SET terms = replace(terms, 'word3', 'wore3')")
    index = opened()
    assert index.search("word3", None, k=5, mode="sparse")[0].text == "word3 common"
    assert any("terms" in finding for finding in index.check())


def test_a_vector_knows_a_flipped_bit_and_a_wrong_length() -> None:
    vectors = LIBRARY[0].vectors
    packed = checksums.packed(vectors)
    assert checksums.damaged(packed, [1, 2], 32) == []
    assert checksums.damaged(packed, [2, 1], 32) == [0, 1], "a vector belongs to its row"
    assert (checksums.unpacked(packed, 32) == vectors.astype("<f2")).all()
    for bit in range(8 * len(packed[0])):
        flipped = bytearray(packed[0])
        flipped[bit // 8] ^= 1 << bit % 8
        assert checksums.damaged([packed[1], bytes(flipped)], [2, 1], 32) == [1]
    assert checksums.damaged([packed[0][:-1], b"", packed[0] + b"x"], [1, 1, 1], 32) == [0, 1, 2]
