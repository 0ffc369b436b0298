"""What an index may offer beside `ragagent.protocols.Index`, each with the rules that it has to keep then.

    search_many   ragagent.protocols.SearchesMany
    vectors       ragagent.protocols.KeepsVectors
    narrow        ragagent.protocols.Narrows
    retag         ragagent.protocols.Retags
    relabel       ragagent.protocols.Relabels
    snapshots     ragagent.protocols.KeepsSnapshots

`ragagent.testing.index.check_index` finds out what an engine offers by looking for these protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragagent.errors import ConfigError
from ragagent.protocols import Index, KeepsSnapshots, KeepsVectors, Narrows, Relabels, Retags, SearchesMany
from ragagent.testing.entries import DIMENSION, Factory, entry, vector_of
from ragagent.types import Hit, SearchMode

_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")


@dataclass(frozen=True, slots=True)
class Capability:
    """A protocol and its rules."""

    protocol: type
    rules: tuple[Callable[[Factory], None], ...]


def offered(factory: Factory) -> tuple[str, ...]:
    """The names of the capabilities that an engine offers."""
    index = factory(DIMENSION)
    try:
        return tuple(name for name, one in CAPABILITIES.items() if isinstance(index, one.protocol))
    finally:
        index.close()


def _library() -> list[Any]:
    return [
        entry(f"n:{number}", [f"word{number} common", f"other{number}"], title=f"T{number % 3}", metadata={"n": number})
        for number in range(12)
    ]


def _found(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in hits]


def _rankings(index: Index) -> list[list[tuple[str, float]]]:
    return [
        _found(index.search(text, vector_of(text), k=50, mode=mode, where=where))
        for text in ("word3 common", "other7")
        for mode in _MODES
        for where in (None, {"n": [1, 2, 3]})
    ]


def many_questions_are_answered_as_each_alone(factory: Factory) -> None:
    index: Any = factory(DIMENSION)
    texts = ["word3 common", "", "other7 other8", "word3 common"]
    index.write(_library())
    for mode in _MODES:
        for where in (None, {"n": [3, 7]}):
            vectors = [None if mode == "sparse" else vector_of(text) for text in texts]
            many = index.search_many(texts, vectors, k=5, mode=mode, where=where)
            alone = [
                index.search(text, vector, k=5, mode=mode, where=where)
                for text, vector in zip(texts, vectors, strict=True)
            ]
            assert [_found(hits) for hits in many] == [_found(hits) for hits in alone]
    assert index.search_many([], [], k=5, mode="dense") == []
    for wrong in ([], [np.zeros(DIMENSION + 1, np.float32)]):
        try:
            index.search_many(["a"], wrong, k=5, mode="dense")
        except ConfigError:
            continue
        raise AssertionError(f"a question with {len(wrong)} vectors was answered")
    index.close()


def the_vectors_of_chunks_are_those_that_were_written(factory: Factory) -> None:
    """Of chunks that are there, up to what the vectors are rounded to; of others none."""
    index: Any = factory(DIMENSION)
    library = _library()
    index.write(library)
    index.write(remove=[library[3].document.id])
    chunks = [chunk for one in library for chunk in one.chunks]
    found = index.vectors_of([*chunks, chunks[0]])
    assert found.keys() == {chunk.id for chunk in chunks if chunk.document_id != library[3].document.id}
    for one in library:
        for chunk, vector in zip(one.chunks, one.vectors, strict=True):
            if chunk.id in found:
                assert found[chunk.id].dtype == np.float32
                assert float(found[chunk.id] @ vector) > 0.999
    assert index.vectors_of([]) == {}
    index.close()


def what_is_narrowed_is_an_index_of_its_own(factory: Factory) -> None:
    """`within` leaves what an index gives that holds nothing else: hits, scores, stages, counts; also with a filter."""
    index: Any = factory(DIMENSION)
    index.write(_library())
    for within, numbers in (("n < 5", range(5)), ({"n": [3, 7]}, (3, 7)), ("n = 99", ()), ("true", range(12))):
        alone: Any = factory(DIMENSION)
        alone.write([one for number, one in enumerate(_library()) if number in numbers])
        for text in ("word3 common", "other7"):
            for mode in _MODES:
                for where in (None, "n >= 3"):
                    asked: dict[str, Any] = {"k": 50, "mode": mode, "where": where}
                    found = index.search(text, vector_of(text), **asked, within=within)
                    assert _ranked(found) == _ranked(alone.search(text, vector_of(text), **asked)), (within, asked)
        status = alone.status()
        assert index.count_within(within) == (status.documents, status.chunks)
        alone.close()
    index.write(remove=[_library()[3].document.id])
    assert index.count_within("n < 5") == (4, 8)
    assert not any(hit.uri == "n:3" for hit in index.search("common", None, k=50, mode="sparse", within="n < 5"))
    index.close()


def _ranked(hits: list[Hit]) -> list[Any]:
    stages = [[(one.name, one.rank, one.score) for one in hit.stages] for hit in hits]
    return [
        (hit.rank, hit.chunk, hit.score, hit.uri, hit.title, stage) for hit, stage in zip(hits, stages, strict=True)
    ]


def new_tags_are_filtered_by_and_nothing_else_changes(factory: Factory) -> None:
    index: Any = factory(DIMENSION)
    library = _library()
    index.write(library)
    key = library[3].document.id
    before = index.cached_vectors(library[3].texts)
    unfiltered = _found(index.search("word3", vector_of("word3"), k=50, mode="hybrid"))
    assert index.retag({key: {"state": "final"}, "no such id": {}}) == ("no such id",)
    assert dict(index.document(key).metadata) == {"state": "final"}
    assert index.document(key) == replace(library[3].document, metadata={"state": "final"}, revision="")
    assert tuple(index.chunks(key)) == library[3].chunks
    assert _found(index.search("word3", vector_of("word3"), k=50, mode="hybrid")) == unfiltered
    hits = index.search("common", None, k=50, mode="sparse", where={"state": "final"})
    assert {hit.document_id for hit in hits} == {key}
    assert index.search("common", None, k=50, mode="sparse", where={"n": 3}) == []
    after = index.cached_vectors(library[3].texts)
    assert all(np.array_equal(before[text], after[text]) for text in library[3].texts)
    index.close()


def new_readers_count_at_once_and_nothing_else_changes(factory: Factory) -> None:
    index: Any = factory(DIMENSION)
    library = _library()
    index.write(library)
    key = library[3].document.id
    before, unfiltered = index.cached_vectors(library[3].texts), _rankings(index)
    assert index.relabel({key: ["group:law", "user:ann"], "no such id": []}) == ("no such id",)
    assert index.document(key) == replace(library[3].document, acl=("group:law", "user:ann"), revision="")
    assert index.known()[key].acl == ("group:law", "user:ann")
    assert index.known()[key].revision == index.document(key).revision
    assert tuple(index.chunks(key)) == library[3].chunks
    assert _rankings(index) == unfiltered
    for where, found in (("acl = group:law", {key}), ({"acl": ["user:bob", "user:ann"]}, {key}), ("acl = law", set())):
        assert {hit.document_id for hit in index.search("common", None, k=50, mode="sparse", where=where)} == found
    after = index.cached_vectors(library[3].texts)
    assert all(np.array_equal(before[text], after[text]) for text in library[3].texts)
    assert index.relabel({key: []}) == ()
    assert index.document(key) == library[3].document
    assert index.search("common", None, k=50, mode="sparse", where={"acl": "group:law"}) == []
    index.close()


def a_snapshot_is_what_was_there(factory: Factory) -> None:
    index: Any = factory(DIMENSION)
    library = _library()
    index.write(library[:8])
    expected, rankings = list(index.documents()), _rankings(index)
    made = index.snapshots.create("monday")
    assert (made.name, made.documents) == ("monday", 8)
    index.write([*library[8:], entry("n:2", ["something else"])], [library[5].document.id])
    changes = index.snapshots.diff("monday")
    assert [one.uri for one in changes.added] == sorted(one.document.uri for one in library[8:])
    assert [one.uri for one in changes.removed] == ["n:5"]
    assert [one.uri for one in changes.changed] == ["n:2"]
    restored = index.snapshots.restore("monday")
    assert list(index.documents()) == expected
    assert _rankings(index) == rankings
    assert [one.name for one in index.snapshots.list()] == ["monday", restored.before]
    assert [one.uri for one in index.snapshots.diff(restored.before, "monday").removed] == [
        one.uri for one in changes.added
    ]
    index.snapshots.restore(restored.before)
    assert len(list(index.documents())) == 11
    index.close()


def names_of_snapshots_are_held_to_be_names(factory: Factory) -> None:
    index: Any = factory(DIMENSION)
    index.snapshots.create("one")
    uses: list[Callable[[], object]] = [
        lambda: index.snapshots.create("one"),
        lambda: index.snapshots.create(""),
        lambda: index.snapshots.restore("two"),
        lambda: index.snapshots.diff("two"),
        lambda: index.snapshots.remove(["one", "two"]),
    ]
    for use in uses:
        try:
            use()
        except ConfigError:
            assert [one.name for one in index.snapshots.list()] == ["one"]
            continue
        raise AssertionError("a wrong name was taken")
    index.snapshots.remove(["one"])
    assert list(index.snapshots.list()) == []
    index.close()


CAPABILITIES: dict[str, Capability] = {
    "search_many": Capability(SearchesMany, (many_questions_are_answered_as_each_alone,)),
    "vectors": Capability(KeepsVectors, (the_vectors_of_chunks_are_those_that_were_written,)),
    "narrow": Capability(Narrows, (what_is_narrowed_is_an_index_of_its_own,)),
    "retag": Capability(Retags, (new_tags_are_filtered_by_and_nothing_else_changes,)),
    "relabel": Capability(Relabels, (new_readers_count_at_once_and_nothing_else_changes,)),
    "snapshots": Capability(KeepsSnapshots, (a_snapshot_is_what_was_there, names_of_snapshots_are_held_to_be_names)),
}
"""Every capability by its name."""
