"""The contract of `ragagent.protocols.Index` as rules that any engine can be held to.

    check_index(lambda dimension: MyIndex(dimension))          # all of them
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
    def test_rule(rule): rule(factory)                         # one test each

A factory makes a new, empty index for vectors of the given dimension. A rule raises AssertionError when it is broken.
What an engine may offer beside `Index`, and the rules of that, are named in `ragagent.testing.capabilities`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from ragagent.errors import ConfigError, EmbedderChanged, FingerprintMismatch, IndexStateError
from ragagent.protocols import Entry, Index, KnownDocument
from ragagent.testing.capabilities import CAPABILITIES, offered
from ragagent.testing.entries import DIMENSION, Factory, entry, vector_of
from ragagent.testing.plain import accepts
from ragagent.types import Document, Hit, SearchMode, Vector, digest
from ragagent.where import And, Eq, Exists, Expression, In, Not, Or, Prefix, Range, Where

_WORDS = ("bee", "wax", "hive", "ant", "queen", "scent", "whale", "song", "salt", "reef")
_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")


def check_index(factory: Factory) -> tuple[str, ...]:
    """Holds an engine to every rule, and to those of each capability that it offers; returns the names of these."""
    for rule in RULES:
        rule(factory)
    names = offered(factory)
    for name in names:
        for rule in CAPABILITIES[name].rules:
            rule(factory)
    return names


def _library() -> list[Entry]:
    return [
        entry("b", ["Bees dance to tell of flowers.", "A hive has one queen."], title="Bees", metadata={"year": 2001}),
        entry("c", ["Whales sing under water.", "Some songs last for hours."], title="Whales", metadata={"year": 2002}),
        entry("a", ["Ants follow scent.", "A queen lays every egg."], title="Ants", metadata={"year": 2001, "x": None}),
        entry("d", ["An article about nothing."], title="", metadata={"tags": ["short", "odd"], "draft": True}),
    ]


@contextlib.contextmanager
def _filled(factory: Factory, entries: Sequence[Entry] = ()) -> Iterator[Index]:
    index = factory(DIMENSION)
    try:
        index.write(entries)
        yield index
    finally:
        index.close()


def _search(index: Index, text: str, mode: SearchMode, k: int = 10, where: Where | None = None) -> list[Hit]:
    return index.search(text, None if mode == "sparse" else vector_of(text), k=k, mode=mode, where=where)


def _found(index: Index, text: str, mode: SearchMode, where: Where | None = None) -> list[str]:
    return [hit.chunk.id for hit in _search(index, text, mode, 100, where)]


def a_document_comes_back_as_it_was_written(factory: Factory) -> None:
    library = _library()
    with _filled(factory, library) as index:
        for one in library:
            assert index.document(one.document.id) == one.document
            assert tuple(index.chunks(one.document.id)) == one.chunks
        assert index.document("no such id") is None
        assert list(index.chunks("no such id")) == []


def the_neighbours_of_a_chunk_stand_before_and_after_it(factory: Factory) -> None:
    long = entry("file:///long", [f"Part {number} of it." for number in range(9)])
    with _filled(factory, [long, *_library()]) as index:
        for at, chunk in enumerate(long.chunks):
            assert tuple(index.neighbours(chunk)) == (*long.chunks[max(0, at - 1) : at], *long.chunks[at + 1 : at + 2])
        index.write([], remove=[long.document.id])
        assert list(index.neighbours(long.chunks[4])) == []


def documents_come_in_the_order_of_uri(factory: Factory) -> None:
    library = [entry(f"file:{number:03}", [f"Number {number}."]) for number in range(100)]
    with _filled(factory, library[::-1]) as index:
        assert [document.uri for document in index.documents()] == [one.document.uri for one in library]


def every_chunk_is_found_in_every_mode(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        for one in _library():
            for chunk, text in zip(one.chunks, one.texts, strict=True):
                for mode in _MODES:
                    assert chunk.id in _found(index, text, mode), (mode, chunk.text)


def a_hit_carries_its_chunk_and_its_document(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        for mode in _MODES:
            hit = _search(index, "Bees dance to tell of flowers.", mode)[0]
            assert (hit.text, hit.title, hit.uri, hit.via) == ("Bees dance to tell of flowers.", "Bees", "b", mode)
            assert dict(hit.metadata) == {"year": 2001}
            assert {stage.name for stage in hit.stages} >= ({"dense", "sparse"} if mode == "hybrid" else {mode})


def ranks_run_from_one_and_scores_fall(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        for mode in _MODES:
            for k in (1, 3, 100):
                hits = _search(index, "a queen of bees and ants", mode, k)
                assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
                assert len(hits) <= k
                assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def equal_scores_are_ordered_by_chunk_id(factory: Factory) -> None:
    twins = [entry(f"twin:{number}", ["The very same words."]) for number in range(20)]
    with _filled(factory, twins) as index:
        expected = sorted(one.chunks[0].id for one in twins)
        for mode in _MODES:
            assert [hit.chunk.id for hit in _search(index, "same words", mode, 7)] == expected[:7], mode


def dense_search_is_exact(factory: Factory) -> None:
    library = [entry(f"n:{number}", [f"word{number} word{number % 7} word{number % 11}"]) for number in range(300)]
    with _filled(factory, library) as index:
        vectors = np.concatenate([one.vectors for one in library]).astype(np.float64)
        for text in ("word3 word4", "word250", "word1 word2 word3"):
            scores = vectors @ vector_of(text).astype(np.float64)
            hits = _search(index, text, "dense", 10)
            by_id = {one.chunks[0].id: score for one, score in zip(library, scores, strict=True)}
            assert all(abs(hit.score - by_id[hit.chunk.id]) < 1e-3 for hit in hits)
            assert min(hit.score for hit in hits) > np.sort(scores)[-10] - 1e-3


def a_replaced_document_leaves_nothing_behind(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        new = entry("b", ["Wasps build with paper.", "A hive has one queen."], title="Bees", metadata={"year": 2003})
        index.write([new])
        assert index.document(new.document.id) == new.document
        assert [chunk.text for chunk in index.chunks(new.document.id)] == [
            "Wasps build with paper.",
            new.chunks[1].text,
        ]
        assert _found(index, "dance flowers", "sparse") == []
        assert not any(
            "dance" in hit.text for mode in _MODES for hit in _search(index, "bees dance flowers", mode, 100)
        )
        assert _found(index, "bees", "sparse", {"year": 2001}) == []
        assert set(_found(index, "bees", "sparse", {"year": 2003})) == {chunk.id for chunk in new.chunks}


def a_removed_document_is_found_by_no_path(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        gone = _library()[0]
        index.write(remove=[gone.document.id, "never was here"])
        assert index.document(gone.document.id) is None
        assert list(index.chunks(gone.document.id)) == []
        assert gone.document.id not in index.known()
        assert not any(document.id == gone.document.id for document in index.documents())
        assert not any(
            hit.document_id == gone.document.id for mode in _MODES for hit in _search(index, "queen", mode, 99)
        )
        assert not index.cached_vectors(gone.texts)


def removing_and_writing_in_one_batch_keeps_what_was_written(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        again = _library()[0]
        index.write([again], remove=[one.document.id for one in _library()])
        assert [document.id for document in index.documents()] == [again.document.id]


def a_batch_with_a_wrong_entry_writes_nothing(factory: Factory) -> None:
    good, bad = _library()[:2]
    wrong = [
        replace(bad, vectors=bad.vectors[:1]),
        replace(bad, vectors=bad.vectors * np.float32("nan")),
        replace(bad, chunks=(bad.chunks[0], replace(bad.chunks[1], text="not in the text"))),
        replace(bad, chunks=(bad.chunks[0], replace(bad.chunks[1], id=good.chunks[0].id))),
    ]
    for broken in wrong:
        with _filled(factory) as index:
            try:
                index.write([good, broken])
            except ConfigError:
                assert index.known() == {}
                assert _found(index, "bees", "sparse") == []
            else:
                raise AssertionError("a wrong entry was taken")


def filters_equal_brute_force(factory: Factory) -> None:
    library = [
        entry(f"n:{number}", [f"common word{number}"], title=f"t{number % 3}", source=f"s{number % 2}",
              metadata={"n": number % 5, "even": number % 2 == 0, "tags": [f"a{number % 4}", f"b{number % 3}"]})
        for number in range(60)
    ]  # fmt: skip
    wanted: list[tuple[Where, Callable[[int], bool]]] = [
        ({}, lambda number: True),
        ({"n": 3}, lambda number: number % 5 == 3),
        ({"n": [3.0, 4]}, lambda number: number % 5 in (3, 4)),
        ({"n": "3"}, lambda number: False),
        ({"even": True}, lambda number: number % 2 == 0),
        ({"n": True}, lambda number: False),
        ({"tags": "a1"}, lambda number: number % 4 == 1),
        ({"tags": ["a1", "b0"], "n": 0}, lambda number: (number % 4 == 1 or number % 3 == 0) and number % 5 == 0),
        ({"uri": ["n:7", "n:8", "n:99"]}, lambda number: number in (7, 8)),
        ({"title": "t1", "source": "s0"}, lambda number: number % 3 == 1 and number % 2 == 0),
        ({"media_type": "text/plain"}, lambda number: True),
        ({"n": []}, lambda number: False),
        ({"missing": None}, lambda number: False),
        ({"title": "a' OR 1 = 1 --"}, lambda number: False),
        ({'n") OR 1 = 1 --': 3}, lambda number: False),
        (Range("n", ge=1, lt=3.5), lambda number: 1 <= number % 5 < 3.5),
        (Range("uri", gt="n:4", le="n:50"), lambda number: "n:4" < f"n:{number}" <= "n:50"),
        (Or((Prefix("uri", "n:1"), Eq("n", 4))), lambda number: str(number).startswith("1") or number % 5 == 4),
        (And((Not(In("n", (1, 2))), Exists("tags"))), lambda number: number % 5 not in (1, 2)),
        (Not(Exists("missing")), lambda number: True),
        (Range("title", ge=0), lambda number: False),
        (Or(()), lambda number: False),
    ]
    with _filled(factory, library) as index:
        for where, accepts in wanted:
            expected = {one.chunks[0].id for number, one in enumerate(library) if accepts(number)}
            for mode in _MODES:
                assert set(_found(index, "common", mode, where)) == expected, (mode, where)


def filters_equal_brute_force_for_random_expressions(factory: Factory) -> None:
    random = Random(11)
    library = [_tagged(number, random) for number in range(80)]
    with _filled(factory, library) as index:
        for _ in range(60):
            where = _random_expression(random, 3)
            expected = {one.chunks[0].id for one in library if accepts(where, one.document)}
            for mode in ("dense", "sparse"):
                assert set(_found(index, "common", mode, where)) == expected, (mode, where)


def _tagged(number: int, random: Random) -> Entry:
    metadata: dict[str, Any] = {
        "n": random.choice([number, float(number), number / 2]),
        "team": random.choice(["law", "tax", "tax office", None]),
        "tags": random.sample(["x", "y", "z", 1, True], random.randint(0, 3)),
    }
    kept = {key: metadata[key] for key in metadata if random.random() < 0.9}
    return entry(f"doc:{number:02}", [f"common word{number}"], title=f"t{number % 4}", metadata=kept)


def _random_expression(random: Random, depth: int) -> Expression:
    if depth and random.random() < 0.6:
        parts = tuple(_random_expression(random, depth - 1) for _ in range(random.randint(0, 3)))
        joined: list[Expression] = [And(parts), Or(parts), Not(parts[0] if parts else Or(()))]
        return random.choice(joined)
    text = random.choice(["law", "tax", "x", "doc:1", "t1", "ta"])
    number = random.choice([0, 1, 7.5, 20, 40])
    key = random.choice(["n", "team", "tags", "uri", "title", "missing"])
    of_key: list[Expression] = [
        Eq(key, random.choice([text, number, True, None])),
        In(key, tuple(random.sample([text, number, True, None, "doc:33"], random.randint(0, 3)))),
        random.choice([Range(key, ge=number, lt=number + 15), Range(key, gt=text), Range(key, le=number)]),
        Prefix(key, text),
        Exists(key),
    ]
    return random.choice(of_key)


def a_filter_finds_by_what_is_worked_out_and_by_readers(factory: Factory) -> None:
    """`ragagent.where.fields` says what every key has; the readers of a document go before metadata of that name."""
    made = [
        entry("file:/docs/law/2024/a.pdf", ["common one"], metadata={"modified": "2024-03-01"}, source="file:/docs"),
        entry("file:/docs/b.txt", ["common two"], metadata={"acl": "public", "type": "memo", "date": 7}),
        entry("file:/docs/c.eml", ["common three"], metadata={"date": "Mon, 1 Jan 2024 10:00:00 +0100"}),
    ]
    labels: list[tuple[str, tuple[str, ...]]] = [
        ("application/pdf", ("group:law", "user:ann")),
        ("text/plain", ()),
        ("message/rfc822", ("public",)),
    ]
    library = [
        replace(one, document=replace(one.document, media_type=kind, acl=acl, revision=""))
        for one, (kind, acl) in zip(made, labels, strict=True)
    ]
    law, memo, mail = (one.chunks[0].id for one in library)
    wanted: list[tuple[Where, set[str]]] = [
        ("type = pdf", {law}),
        ("type in (mail, memo)", {memo, mail}),
        ("folder = law", {law}),
        ('folder starts with "/docs"', {law, memo, mail}),
        ("date >= 2024-01-02", {law}),
        ("date = 2024-01-01", {mail}),
        ("date = 7", {memo}),
        ("acl in (public, user:bob)", {mail}),
        ("acl = group:law", {law}),
        ("acl = null", {memo}),
        ("acl exists", {law, mail}),
    ]
    with _filled(factory, library) as index:
        for where, expected in wanted:
            for mode in _MODES:
                assert set(_found(index, "common", mode, where)) == expected, (mode, where)
        assert {one.uri: one.acl for one in index.known().values()} == {
            one.document.uri: one.document.acl for one in library
        }


def filters_are_exact_at_any_selectivity(factory: Factory) -> None:
    texts = [f"common word{number} word{number % 7}" for number in range(600)]
    library = [entry(f"n:{number}", [text], metadata={"n": number}) for number, text in enumerate(texts)]
    with _filled(factory, library) as index:
        for most in (600, 300, 6, 1):
            for text in ("word3 common", "word250"):
                query = vector_of(text).astype(np.float64)
                scores = sorted((float(one.vectors[0] @ query) for one in library[:most]), reverse=True)
                hits = _search(index, text, "dense", 10, Range("n", lt=most))
                assert len(hits) == min(10, most)
                assert {hit.metadata["n"] for hit in hits} <= set(range(most))
                np.testing.assert_allclose([hit.score for hit in hits], scores[:10], atol=2e-3)


def a_filter_still_gives_k_hits_when_k_match(factory: Factory) -> None:
    library = [
        entry(f"n:{number}", ["common word " * (1 + number % 3)], metadata={"n": number}) for number in range(200)
    ]
    with _filled(factory, library) as index:
        for mode in _MODES:
            hits = _search(index, "common word", mode, 5, {"n": list(range(190, 200))})
            assert len(hits) == 5
            assert all(hit.metadata["n"] in range(190, 200) for hit in hits)


def history_does_not_change_a_ranking(factory: Factory) -> None:
    library = _library()
    with _filled(factory, library) as fresh, _filled(factory) as worn:
        worn.write([entry("b", ["Something else about queens."], title="Bees"), entry("z", ["queen queen queen"])])
        for one in reversed(library):
            worn.write([one])
        worn.write(remove=[entry("z", [""]).document.id])
        for mode in _MODES:
            for text in ("queen", "songs of whales", "bees and ants follow"):
                expected = [(hit.chunk.id, hit.score) for hit in _search(fresh, text, mode, 100)]
                assert [(hit.chunk.id, hit.score) for hit in _search(worn, text, mode, 100)] == expected, (mode, text)


def any_history_ends_in_the_same_rankings(factory: Factory) -> None:
    """Random adds, edits, retaggings and removals, in batches of any size; a fresh index of what is left agrees."""
    for seed in range(8):
        random = Random(seed)
        with _filled(factory) as worn:
            live = _random_history(worn, random)
            with _filled(factory, sorted(live.values(), key=lambda one: one.document.id)) as fresh:
                _require_same_rankings(worn, fresh, random)


def _random_history(index: Index, random: Random) -> dict[str, Entry]:
    """Writes a dozen batches; returns what is left, by document id."""
    live: dict[str, Entry] = {}
    for _ in range(12):
        batch = {one.document.id: one for one in (_random_entry(random) for _ in range(random.randint(0, 4)))}
        gone = random.sample(sorted(live), random.randint(0, len(live) // 2))
        index.write(list(batch.values()), remove=gone)
        live = {key: one for key, one in live.items() if key not in gone} | batch
    return live


def _random_entry(random: Random) -> Entry:
    paragraphs = [" ".join(random.choices(_WORDS, k=random.randint(1, 9))) for _ in range(random.randint(0, 4))]
    return entry(
        f"n:{random.randrange(12)}",
        paragraphs,
        title=random.choice(["", "bee", "ant"]),
        metadata={"n": random.randrange(3)},
    )


def _require_same_rankings(one: Index, other: Index, random: Random) -> None:
    for mode in _MODES:
        for where in (None, {"n": 1}):
            text = " ".join(random.choices(_WORDS, k=3))
            found = [
                [(hit.chunk, hit.score) for hit in _search(index, text, mode, 50, where)] for index in (one, other)
            ]
            assert found[0] == found[1], (mode, text, where)


def sparse_scores_follow_the_formula(factory: Factory) -> None:
    """BM25 in the Lucene form over what is live, with k1 = 1.5 and b = 0.75, after other documents came and went."""
    random = Random(5)
    texts = {f"n:{number}": random.choices(_WORDS, k=random.randint(3, 30)) for number in range(40)}
    kept = {uri: words for uri, words in texts.items() if not uri.endswith("3")}
    with _filled(factory, [entry(uri, [" ".join(words)]) for uri, words in texts.items()]) as index:
        index.write(remove=[entry(uri, []).document.id for uri in texts if uri not in kept])
        found = {hit.uri: hit.score for hit in _search(index, "bee wax", "sparse", 100)}
    average = sum(map(len, kept.values())) / len(kept)
    for uri, words in kept.items():
        expected = 0.0
        for term in ("bee", "wax"):
            having, times = sum(term in one for one in kept.values()), words.count(term)
            idf = math.log(1 + (len(kept) - having + 0.5) / (having + 0.5))
            expected += idf * times / (times + 1.5 * (0.25 + 0.75 * len(words) / average))
        # An engine may store lengths and sum in float32.
        assert abs(found.get(uri, 0.0) - expected) < 1e-4, uri
    assert set(found) <= set(kept)


def new_metadata_counts_at_once_and_needs_no_new_vectors(factory: Factory) -> None:
    old = _library()[0]
    document = replace(old.document, metadata={"year": 1999}, revision="")
    with _filled(factory, _library()) as index:
        before = dict(index.cached_vectors(old.texts))
        index.write([replace(old, document=document, vectors=np.stack([before[text] for text in old.texts]))])
        after = index.cached_vectors(old.texts)
        assert all(np.array_equal(before[text], after[text]) for text in old.texts)
        for mode in _MODES:
            assert set(_found(index, "bees", mode, {"year": 1999})) == {chunk.id for chunk in old.chunks}
            assert not {chunk.id for chunk in old.chunks} & set(_found(index, "bees", mode, {"year": 2001}))


def each_write_is_found_by_the_next_search(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        for number in range(10):
            new = entry("new", [f"Version {number} of a text about zebras."])
            index.write([new])
            for mode in _MODES:
                assert new.chunks[0].id in _found(index, "zebras", mode)
            assert len(_found(index, "zebras", "sparse")) == 1
            index.write(remove=[new.document.id])
            assert _found(index, "zebras", "sparse") == []


def vectors_are_remembered_by_the_embedded_text(factory: Factory) -> None:
    library = _library()
    with _filled(factory, library) as index:
        cached = index.cached_vectors([*library[0].texts, "never embedded"])
        assert set(cached) == set(library[0].texts)
        for text, vector in zip(library[0].texts, library[0].vectors, strict=True):
            assert cached[text].dtype == np.float32
            assert float(cached[text] @ vector) > 1 - 1e-3


def sources_and_stamps_are_remembered(factory: Factory) -> None:
    one = entry("x", ["One."], source="s1", stamp="before")
    two = entry("y", ["Two."], source="s2", stamp="before")
    with _filled(factory, [one, two]) as index:
        assert set(index.known("s1")) == {one.document.id}
        assert set(index.known()) == {one.document.id, two.document.id}
        assert index.known("s3") == {}
        index.touch({one.document.id: "after", "no such id": "after"})
        assert index.known()[one.document.id].stamp == "after"
        assert index.known()[two.document.id].stamp == "before"
        assert index.known()[one.document.id].revision == one.document.revision
        assert index.document(one.document.id) == one.document


def what_is_known_can_be_asked_for_in_parts(factory: Factory) -> None:
    uris = ("b", "a", "a!/x", "a!/y!/z", "a!0", "a!", "ab!/x", "A!/x")
    with _filled(factory, [entry(uri, [f"About {uri}."], source="s", stamp="1") for uri in uris]) as index:
        every = index.known()
        assert [one.uri for one in index.each_known()] == sorted(uris)
        assert {one.id: one for one in index.each_known()} == every
        assert [one.uri for one in index.known_inside("a")] == ["a!/x", "a!/y!/z"]
        assert [one.uri for one in index.known_inside("a!/y")] == ["a!/y!/z"]
        assert list(index.known_inside("b")) == list(index.known_inside("no such uri")) == []
        some = [digest("a!/x"), digest("no such uri"), digest("b")]
        assert index.known_of(some) == {key: every[key] for key in some if key in every}
        many = [digest(str(number)) for number in range(2000)]
        assert set(index.known_of([*many, *every])) == set(every)
        assert index.known_of([]) == {}


def an_empty_index_and_empty_questions_give_nothing(factory: Factory) -> None:
    with _filled(factory) as index:
        for mode in _MODES:
            assert _search(index, "anything", mode) == []
        assert list(index.documents()) == []
        index.write([entry("e", [])])
        assert [document.uri for document in index.documents()] == ["e"]
        index.write(_library())
        assert _found(index, "", "sparse") == []
        assert _found(index, "?!", "sparse") == []


def status_counts_what_is_there(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        index.write(remove=[_library()[0].document.id])
        status = index.status()
        assert (status.documents, status.chunks, status.dimension) == (3, 5, DIMENSION)


def a_search_without_its_vector_is_an_error(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        for vector in (None, np.zeros(DIMENSION + 1, np.float32), np.full(DIMENSION, np.nan, np.float32)):
            try:
                index.search("queen", vector, k=1, mode="dense")
            except ConfigError:
                continue
            raise AssertionError("a dense search took a wrong vector")


def a_vector_may_come_as_a_function(factory: Factory) -> None:
    def fails() -> Vector:
        raise ZeroDivisionError("no vector")

    asked: list[str] = []

    def gives() -> Vector:
        asked.append("")
        return vector_of("queen")

    with _filled(factory, _library()) as index:
        for mode in _MODES:
            asked.clear()
            assert index.search("queen", gives, k=5, mode=mode) == _search(index, "queen", mode, 5)
            assert len(asked) <= 1
        try:
            index.search("queen", fails, k=5, mode="hybrid")
        except ZeroDivisionError:
            return
        raise AssertionError("the error of what should give the vector is lost")


def a_wrong_k_or_mode_is_an_error(factory: Factory) -> None:
    wrong: list[dict[str, Any]] = [{"k": 0, "mode": "sparse"}, {"k": 1, "mode": "fuzzy"}]
    with _filled(factory, _library()) as index:
        for arguments in wrong:
            try:
                index.search("queen", vector_of("queen"), **arguments)
            except ConfigError:
                continue
            raise AssertionError(f"a search took {arguments}")


def a_whole_document_can_be_the_question(factory: Factory) -> None:
    with _filled(factory, _library()) as index:
        question = "queen " + " ".join(f"word{number}" for number in range(20_000))
        assert len(_search(index, question, "sparse")) == 2


def threads_may_search_while_one_writes(factory: Factory) -> None:
    library = _library()
    with _filled(factory, library) as index, ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(_search, index, "queen", mode, 50) for mode in _MODES * 8]
        for number in range(8):
            index.write([entry(f"w:{number}", [f"Extra queen {number}.", f"Second extra queen {number}."])])
        for search in searches:
            extra = [hit.uri for hit in search.result() if hit.uri.startswith("w:")]
            # A batch is seen whole or not at all.
            assert all(extra.count(uri) == 2 for uri in extra)


def readers_see_whole_batches_while_one_writes(factory: Factory) -> None:
    """Whoever searches while documents are replaced sees all of them in one version; so does a listing of one page."""

    def batch(version: int) -> list[Entry]:
        return [entry(f"v:{number}", [f"version{version} of a text"], stamp=str(version)) for number in range(5)]

    with _filled(factory, batch(0)) as index, ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(_search, index, "text", mode, 50) for mode in _MODES * 12]
        listings = [pool.submit(index.known) for _ in range(12)]
        for version in range(1, 9):
            index.write(batch(version))
        for search in searches:
            texts = [hit.text for hit in search.result()]
            assert len(texts) == 5
            assert len(set(texts)) == 1, texts
        for listing in listings:
            assert len({one.stamp for one in listing.result().values()}) == 1


def a_listing_goes_on_while_one_writes(factory: Factory) -> None:
    """What is there throughout is listed once, in order; what comes and goes meanwhile may be listed or not."""
    library = [entry(f"file:{number:03}", [f"Number {number}."]) for number in range(120)]
    with _filled(factory, library) as index:
        listings: tuple[Iterator[Document | KnownDocument], ...] = (index.documents(), index.each_known())
        for listing in listings:
            seen = []
            for number, one in enumerate(listing):
                seen.append(one.uri)
                if number % 10 == 0:
                    index.write(
                        [entry(f"file:{number:03}a", ["New."])], remove=[entry(f"file:{number:03}z", []).document.id]
                    )
            assert seen == sorted(set(seen))
            assert {document.document.uri for document in library} <= set(seen)


def entries_of_other_parts_are_refused_whole(factory: Factory) -> None:
    """What an index records of how its entries are made is held against what made new ones, and the query's vector."""
    with _filled(factory, _library()) as index:
        recorded = index.status().fingerprint
        index.write([entry("e", ["New."])], built_with=dict(recorded))
        for key in recorded.keys() - {"embedder_name"}:
            try:
                index.write([entry("f", ["Newer."])], built_with={**recorded, key: recorded[key] + " and another"})
            except FingerprintMismatch:
                assert not any(one.uri == "f" for one in index.known().values())
            else:
                raise AssertionError(f"entries made with another {key} were taken")
        if "embedder" in recorded:
            vector = vector_of("queen")
            assert index.search("queen", vector, k=1, mode="hybrid", embedder=recorded["embedder"])
            try:
                index.search("queen", vector, k=1, mode="hybrid", embedder="another one")
            except EmbedderChanged:
                return
            raise AssertionError("a vector of another embedder was searched with")


def a_closed_index_says_so(factory: Factory) -> None:
    index = factory(DIMENSION)
    index.close()
    index.close()
    uses: list[Callable[[], object]] = [
        lambda: index.write(_library()),
        lambda: _search(index, "queen", "hybrid"),
        lambda: index.document("x"),
        lambda: list(index.documents()),
        index.known,
        index.status,
    ]
    for use in uses:
        try:
            use()
        except IndexStateError:
            continue
        raise AssertionError("a closed index was used")


RULES: tuple[Callable[[Factory], None], ...] = (
    a_document_comes_back_as_it_was_written,
    the_neighbours_of_a_chunk_stand_before_and_after_it,
    documents_come_in_the_order_of_uri,
    every_chunk_is_found_in_every_mode,
    a_hit_carries_its_chunk_and_its_document,
    ranks_run_from_one_and_scores_fall,
    equal_scores_are_ordered_by_chunk_id,
    dense_search_is_exact,
    a_replaced_document_leaves_nothing_behind,
    a_removed_document_is_found_by_no_path,
    removing_and_writing_in_one_batch_keeps_what_was_written,
    a_batch_with_a_wrong_entry_writes_nothing,
    filters_equal_brute_force,
    filters_equal_brute_force_for_random_expressions,
    a_filter_finds_by_what_is_worked_out_and_by_readers,
    filters_are_exact_at_any_selectivity,
    a_filter_still_gives_k_hits_when_k_match,
    history_does_not_change_a_ranking,
    any_history_ends_in_the_same_rankings,
    sparse_scores_follow_the_formula,
    new_metadata_counts_at_once_and_needs_no_new_vectors,
    each_write_is_found_by_the_next_search,
    vectors_are_remembered_by_the_embedded_text,
    sources_and_stamps_are_remembered,
    what_is_known_can_be_asked_for_in_parts,
    an_empty_index_and_empty_questions_give_nothing,
    status_counts_what_is_there,
    a_search_without_its_vector_is_an_error,
    a_vector_may_come_as_a_function,
    a_wrong_k_or_mode_is_an_error,
    a_whole_document_can_be_the_question,
    threads_may_search_while_one_writes,
    readers_see_whole_batches_while_one_writes,
    a_listing_goes_on_while_one_writes,
    entries_of_other_parts_are_refused_whole,
    a_closed_index_says_so,
)
"""Every rule of the contract."""
