"""Whatever was written, edited, removed, folded, merged and reopened: what is found depends on what is there, alone."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ragagent.index import backup
from ragagent.index.editions import Shadow
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing import histories
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.text.analyser import Analyser

URIS = [f"doc:{number}" for number in range(6)]
WORDS = ["apple", "banana", "cherry", "Running", "the", "x_1", "数据库", "café"]
PARAGRAPHS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), max_size=4)
QUERIES = ["apple banana", "the", "run x_1", "数据库 cafe", "cherry cherry apple"]
ANALYSER = Analyser()


def open_index(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=3)


def sparse_oracle(entries: list[Entry], query: str) -> list[tuple[str, float]]:
    """BM25 in Lucene's form, straight from the formula."""
    chunks = {
        chunk.id: Counter(ANALYSER.index_terms(f"{one.document.title}\n{chunk.text}"))
        for one in entries
        for chunk in one.chunks
    }
    if not chunks:
        return []
    average = sum(sum(terms.values()) for terms in chunks.values()) / len(chunks)
    scores: dict[str, float] = {}
    for term in ANALYSER.query_terms(query):
        frequency = sum(term in terms for terms in chunks.values())
        idf = math.log(1 + (len(chunks) - frequency + 0.5) / (frequency + 0.5))
        for key, terms in chunks.items():
            if terms[term]:
                norm = 1.5 * (0.25 + 0.75 * sum(terms.values()) / average)
                scores[key] = scores.get(key, 0.0) + idf * terms[term] / (terms[term] + norm)
    return sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))


def dense_oracle(entries: list[Entry], query: str) -> list[tuple[str, float]]:
    """Inner products with the vectors as they are stored."""
    keys = [chunk.id for one in entries for chunk in one.chunks]
    vectors = np.concatenate([np.zeros((0, DIMENSION), np.float32), *(one.vectors for one in entries)])
    scores = vectors.astype(np.float16).astype(np.float64) @ vector_of(query).astype(np.float64)
    return sorted(zip(keys, scores.tolist(), strict=True), key=lambda item: (-round(item[1], 9), item[0]))


class Histories(RuleBasedStateMachine):
    """Random histories beside a dictionary that remembers what should be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.index = open_index(self.folder)
        self.other = open_index(self.folder)
        self.expected: dict[str, Entry] = {}
        self.snapshots: dict[str, dict[str, Entry]] = {}
        self.taken = 0

    @rule(changes=st.dictionaries(st.sampled_from(URIS), PARAGRAPHS, max_size=3), title=st.sampled_from(["", "Apple"]))
    def write(self, changes: dict[str, list[str]], title: str) -> None:
        entries = [entry(uri, paragraphs, title=title) for uri, paragraphs in changes.items()]
        self.index.write(entries)
        self.expected.update({one.document.uri: one for one in entries})

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def edit_one_paragraph(self, data: st.DataObject) -> None:
        old = self.expected[data.draw(st.sampled_from(sorted(self.expected)))]
        paragraphs = [chunk.text for chunk in old.chunks]
        at = data.draw(st.integers(0, len(paragraphs)))
        new = entry(old.document.uri, [*paragraphs[:at], "banana running", *paragraphs[at:]], title=old.document.title)
        self.index.write([new])
        self.expected[old.document.uri] = new

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        uris = data.draw(st.lists(st.sampled_from(sorted(self.expected)), unique=True))
        self.index.write(remove=[self.expected.pop(uri).document.id for uri in uris])

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), kind=st.sampled_from(["a", "b"]))
    def retag(self, data: st.DataObject, kind: str) -> None:
        uri = data.draw(st.sampled_from(sorted(self.expected)))
        old = self.expected[uri]
        self.index.retag({old.document.id: {"kind": kind}})
        document = replace(old.document, metadata={"kind": kind}, revision="")
        self.expected[uri] = replace(old, document=document)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), acl=st.sampled_from([(), ("public",), ("group:law", "user:ann")]))
    def relabel(self, data: st.DataObject, acl: tuple[str, ...]) -> None:
        uri = data.draw(st.sampled_from(sorted(self.expected)))
        old = self.expected[uri]
        self.index.relabel({old.document.id: acl})
        self.expected[uri] = replace(old, document=old.document.labelled(acl))

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def snapshot(self) -> None:
        self.taken += 1
        name = f"number {self.taken}"
        self.index.snapshots.create(name)
        self.snapshots[name] = dict(self.expected)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        wanted = self.snapshots[name]
        difference = self.index.snapshots.diff(name)
        assert {one.uri for one in difference.added} == self.expected.keys() - wanted.keys()
        assert {one.uri for one in difference.removed} == wanted.keys() - self.expected.keys()
        restored = self.index.snapshots.restore(name)
        self.snapshots[restored.before] = self.expected
        self.expected = dict(wanted)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def remove_a_snapshot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.index.snapshots.remove([name])
        del self.snapshots[name]

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def erase(self) -> None:
        holding = set(self.index.compact(erase=True, drop_snapshots=True).dropped)
        self.snapshots = {name: wanted for name, wanted in self.snapshots.items() if name not in holding}

    @rule()
    def back_up_and_restore(self) -> None:
        self.index.backup(self.folder / "backup.zip")
        self.index.close()
        self.other.close()
        new = Path(tempfile.mkdtemp())
        backup.restore(self.folder / "backup.zip", new)
        shutil.rmtree(self.folder)
        self.folder = new
        self.index, self.other = open_index(new), open_index(new)

    @rule(readers=st.sampled_from(["one", "two"]), count=st.integers(0, 2))
    def build_some_beside(self, readers: str, count: int) -> None:
        self._built({**self.index.editions.live().fingerprint, "readers": readers}, count)

    @rule(readers=st.sampled_from(["one", "two"]))
    def migrate(self, readers: str) -> None:
        edition = self._built({**self.index.editions.live().fingerprint, "readers": readers}, len(URIS))
        if edition is not None:
            self.index.editions.fold(edition)
            assert self.index.editions.swap(edition)

    @rule()
    def roll_back(self) -> None:
        old = [one for one in self.index.editions.all() if one.state == "old"]
        if old:
            self._built(old[0].fingerprint, len(URIS))
            assert self.index.editions.swap(old[0].id)

    @rule()
    def finish(self) -> None:
        self.index.editions.finish()

    def _built(self, fingerprint: Mapping[str, str], count: int) -> int | None:
        """The edition of that fingerprint with `count` more documents; None when it is the live one."""
        editions = self.index.editions
        if dict(fingerprint) == dict(editions.live().fingerprint):
            return None
        edition = editions.begin(fingerprint, DIMENSION).id
        entries = {one.document.id: one for one in self.expected.values()}
        some = editions.unbuilt(edition, count) if count else []
        shadows = [Shadow(entry=entries[one.known.id], born=one.born) for one in some]
        assert editions.build(edition, shadows) == len(shadows)
        return edition

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = open_index(self.folder)

    @rule(data=st.data())
    def lose_a_segment_file(self, data: st.DataObject) -> None:
        files = sorted(self.folder.glob("segments/*"))
        if files:
            data.draw(st.sampled_from(files)).unlink()
            self.reopen()

    @invariant()
    def every_path_agrees_with_the_oracles(self) -> None:
        entries = list(self.expected.values())
        assert {document.uri: document for document in self.index.documents()} == {
            one.document.uri: one.document for one in entries
        }
        assert {one.name for one in self.index.snapshots.list()} == self.snapshots.keys()
        for index in (self.index, self.other):
            for query in QUERIES:
                hits = index.search(query, None, k=100, mode="sparse")
                same(hits, sparse_oracle(entries, query))
                hits = index.search(query, vector_of(query), k=100, mode="dense")
                same(hits, dense_oracle(entries, query))

    def teardown(self) -> None:
        fresh_folder = Path(tempfile.mkdtemp())
        fresh = open_index(fresh_folder)
        fresh.write([one for _, one in sorted(self.expected.items())])
        for query in QUERIES:
            for mode in ("sparse", "dense", "hybrid"):
                worn, new = (index.search(query, vector_of(query), k=5, mode=mode) for index in (self.index, fresh))
                # Not nearly: the same floats, in the same order.
                assert [(hit.chunk.id, hit.score) for hit in worn] == [(hit.chunk.id, hit.score) for hit in new]
        for name, wanted in self.snapshots.items():
            self.index.snapshots.restore(name)
            assert {document.uri: document for document in self.index.documents()} == {
                uri: one.document for uri, one in wanted.items()
            }
        self.index.write()  # A lost file is written again by the next write.
        assert self.index.check() == ()
        for index in (fresh, self.index, self.other):
            index.close()
        shutil.rmtree(fresh_folder)
        shutil.rmtree(self.folder)


def same(hits, expected: list[tuple[str, float]]) -> None:
    assert [hit.chunk.id for hit in hits] == [key for key, _ in expected]
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-9)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_random_histories_end_as_a_fresh_build(tmp_path: Path) -> None:
    assert histories.histories(range(12), tmp_path) == 12 * histories.STEPS


def test_a_chunk_that_an_edit_did_not_touch_keeps_its_row_and_its_postings(opened) -> None:
    index = opened(fold_chunks=1)
    index.write([entry("a", ["first paragraph", "second paragraph", "third paragraph"], title="T")])
    rows = _rows(index)
    index.write([entry("a", ["a new one", "first paragraph", "third paragraph"], title="T")])
    edited = _rows(index)
    assert {text: row for text, row in edited.items() if text in rows} == {
        text: row for text, row in rows.items() if text != "second paragraph"
    }
    assert edited["a new one"] > max(rows.values())


def test_a_segment_that_is_mostly_dead_is_written_anew(opened, folder: Path) -> None:
    index = opened(fold_chunks=100)
    library = [entry(f"n:{number}", ["some words " * 20]) for number in range(100)]
    index.write(library)
    before = sum(file.stat().st_size for file in folder.glob("segments/*"))
    index.write(remove=[one.document.id for one in library[:40]])
    assert sum(file.stat().st_size for file in folder.glob("segments/*")) == before
    index.write(remove=[one.document.id for one in library[:60]])
    assert sum(file.stat().st_size for file in folder.glob("segments/*")) < before / 2
    assert index.status().chunks == 40
    assert index.check() == ()


def test_rewriting_one_small_document_for_ever_does_not_pile_up(opened, folder: Path) -> None:
    index = opened(fold_chunks=4)
    for number in range(60):
        index.write([entry("a", [f"version{number}"])])
    connection = sqlite3.connect(folder / "ragagent.db")
    assert connection.execute("SELECT count(*) FROM dead").fetchone()[0] <= 8
    assert connection.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 1
    connection.close()
    assert index.status().segments <= 4
    assert [hit.text for hit in index.search("version59", None, k=5, mode="sparse")] == ["version59"]


def test_a_new_title_makes_new_rows(opened) -> None:
    index = opened()
    index.write([entry("a", ["some words"], title="Old")])
    index.write([entry("a", ["some words"], title="New")])
    assert index.search("old", None, k=5, mode="sparse") == []
    assert len(index.search("new", None, k=5, mode="sparse")) == 1


def _rows(index: EmbeddedIndex) -> dict[str, int]:
    hits = index.search("new first second third paragraph", None, k=10, mode="sparse")
    with index._views.snapshot() as (_, view):
        rows = {
            bytes(key).decode(): int(row)
            for part in view.parts
            for key, row in zip(part.block.ids[:], part.block.rows, strict=True)
        }
    return {hit.text: rows[hit.chunk.id] for hit in hits}
