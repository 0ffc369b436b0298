"""An index as a principal sees it is the index that holds what they may read, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.access import Mask, Principal
from ragagent.errors import AccessDenied, ConfigError, Corrupt
from ragagent.index import dense, filters
from ragagent.index.access import GuardedIndex
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry, KeepsSnapshots, Narrows, Relabels, Retags
from ragagent.retrieve import singled
from ragagent.settings import RetrievalSettings
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.testing.plain import PlainIndex
from ragagent.types import Hit, digest

NAMES = ("public", "user:ann", "user:bob", "group:law", "group:tax", "nobody knows")
WORDS = ("bee", "wax", "hive", "ant", "queen", "common")
MODES = ("dense", "sparse", "hybrid")
WHERES = (None, "title = T1 or n >= 2", 'acl = "group:law"', "not acl = public")

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
ACLS = st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple)
PRINCIPALS = st.builds(
    Principal,
    user=st.sampled_from([None, "ann", "bob", "eve"]),
    groups=st.lists(st.sampled_from(["law", "tax", "board"]), max_size=2).map(tuple),
)


@st.composite
def libraries(draw: st.DrawFn) -> list[Entry]:
    made = []
    for number in range(draw(st.integers(1, 12))):
        paragraphs = draw(st.lists(TEXTS, min_size=1, max_size=3))
        inside = "d:0!/" if draw(st.booleans()) and number else "d:"
        one = entry(
            f"{inside}{number}",
            [f"{text} only{number}" for text in paragraphs],
            title=f"T{draw(st.integers(0, 2))}",
            metadata={"n": draw(st.integers(0, 3))},
            source="s",
        )
        made.append(dataclasses.replace(one, document=one.document.labelled(draw(ACLS))))
    return made


def may_read(principal: Principal, acl: tuple[str, ...], unlabelled: str) -> bool:
    """What an acl means, said plainly."""
    names = {"public", *(f"group:{name}" for name in principal.groups)} | (
        {f"user:{principal.user}"} if principal.user else set()
    )
    return unlabelled == "public" if not acl else any(name in names for name in acl)


def plain_hits(hits: list[Hit]) -> list[Hit]:
    """Hits without how their filter was worked out, which is said of what is in the database."""
    return [
        dataclasses.replace(
            hit,
            stages=tuple(
                dataclasses.replace(one, detail=one.detail.partition("; ")[0] if one.name == "filter" else one.detail)
                for one in hit.stages
            ),
        )
        for hit in hits
    ]


@pytest.fixture(params=["embedded", "plain"])
def new_index(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Callable[[str], Any]]:
    def made(name: str) -> Any:
        if request.param == "plain":
            return PlainIndex(DIMENSION)
        folder = tmp_path / name
        return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=5)

    return made


@pytest.mark.parametrize("exact", [True, False])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    library=libraries(),
    principal=PRINCIPALS,
    unlabelled=st.sampled_from(["owner", "public"]),
    query=TEXTS,
    k=st.integers(1, 40),
    later=libraries(),
)
def test_it_is_the_index_of_what_may_be_read(
    new_index, monkeypatch, exact, library, principal, unlabelled, query, k, later
) -> None:
    # However few chunks are searched exactly, and documents read from the database.
    monkeypatch.setattr(dense, "EXACT_CHUNKS", 20_000 if exact else 0)
    monkeypatch.setattr(filters, "FEW", filters.FEW if exact else 1)
    with closing(new_index("all")) as everything, closing(new_index("some")) as visible:
        everything.write(remove=list(everything.known()))
        visible.write(remove=list(visible.known()))
        guarded = GuardedIndex(everything, Mask(principal=principal, unlabelled=unlabelled))
        live: dict[str, Entry] = {}
        for batch in (library, later):
            everything.write(batch)
            live |= {one.document.id: one for one in batch}
            seen = [one for one in live.values() if may_read(principal, one.document.acl, unlabelled)]
            visible.write(seen, remove=[key for key in live if key not in {one.document.id for one in seen}])
            require_same(guarded, visible, query, k, live)


def require_same(guarded: GuardedIndex, visible: Any, query: str, k: int, live: dict[str, Entry]) -> None:
    for mode in MODES:
        vector = None if mode == "sparse" else vector_of(query)
        for where in WHERES:
            asked: dict[str, Any] = {"k": k, "mode": mode, "where": where}
            hits = guarded.search(query, vector, **asked)
            assert hits == plain_hits(visible.search(query, vector, **asked)), asked
            assert guarded.search_many([query], [vector], **asked) == [hits]
    assert guarded.known() == visible.known()
    assert guarded.known("s") == visible.known("s")
    assert list(guarded.each_known()) == list(visible.each_known())
    assert guarded.known_of(list(live)) == visible.known_of(list(live))
    assert list(guarded.known_inside("d:0")) == list(visible.known_inside("d:0"))
    assert list(guarded.documents()) == list(visible.documents())
    for key in (*live, digest("never was here")):
        assert guarded.document(key) == visible.document(key)
        assert list(guarded.chunks(key)) == list(visible.chunks(key))
        for chunk in visible.chunks(key):
            assert list(guarded.neighbours(chunk)) == list(visible.neighbours(chunk))
    status, expected = guarded.status(), visible.status()
    assert (status.documents, status.chunks) == (expected.documents, expected.chunks)
    assert (status.segments, status.tail_chunks, status.size_bytes, status.findings) == (0, 0, 0, ())
    chunks = [chunk for one in live.values() for chunk in one.chunks]
    found, there = guarded.vectors_of(chunks), visible.vectors_of(chunks)
    assert {key: one.tolist() for key, one in found.items()} == {key: one.tolist() for key, one in there.items()}
    assert guarded.cached_vectors([text for one in live.values() for text in one.texts]) == {}


LAW = Principal(user="ann", groups=("law",))


def labelled(uri: str, text: str, *acl: str) -> Entry:
    one = entry(uri, [text])
    return dataclasses.replace(one, document=one.document.labelled(acl))


def test_statistics_of_all_documents_are_told_by_scores_alone(tmp_path) -> None:
    library = [labelled(f"d:{number}", f"common word{number}", "group:law") for number in range(5)]
    hidden = [labelled(f"h:{number}", f"common secret{number}", "user:eve") for number in range(40)]
    index = EmbeddedIndex.open(tmp_path / "kb", fingerprint={"embedder": "hash"}, dimension=DIMENSION)
    with index:
        index.write([*library, *hidden])
        guarded = GuardedIndex(index, Mask(principal=LAW), statistics="all")
        for mode in MODES:
            hits = guarded.search("common word3", vector_of("common word3"), k=50, mode=mode, where="uri exists")
            assert {hit.uri for hit in hits} == {one.document.uri for one in library}
            said = " ".join(stage.detail for hit in hits for stage in hit.stages)
            assert not any(count in said for count in ("40", "45", "chunks", "secret", "group:", "idf"))
        # What the words single out stays before whatever is reranked.
        first, *others = guarded.search('"common word3"', vector_of("word4"), k=5, mode="hybrid")
        assert (first.uri, singled.leading([first, *others])) == ("d:3", 1)
        # The leak that docs/access.md describes: an idf counted among documents that are not to be seen.
        (exact,) = GuardedIndex(index, Mask(principal=LAW)).search("word3", None, k=1, mode="sparse")
        (leaking,) = guarded.search("word3", None, k=1, mode="sparse")
        assert leaking.score > exact.score


def test_an_index_that_cannot_count_apart_is_used_with_the_statistics_of_all_or_not_at_all() -> None:
    class Bare:
        """A PlainIndex with nothing but the protocol."""

        def __init__(self) -> None:
            self._index = PlainIndex(DIMENSION)

        def __getattr__(self, name: str) -> Any:
            if name in {"count_within", "search_many", "relabel", "retag", "snapshots"}:
                raise AttributeError(name)
            return getattr(self._index, name)

    index: Any = Bare()
    assert not isinstance(index, Narrows)
    index.write([labelled("a", "one", "group:law"), labelled("b", "one two", "user:eve")])
    with pytest.raises(ConfigError, match=r"retrieval\.statistics"):
        GuardedIndex(index, Mask(principal=LAW))
    guarded = GuardedIndex(index, Mask(principal=LAW), statistics="all")
    assert [hit.uri for hit in guarded.search("one", None, k=9, mode="sparse")] == ["a"]
    assert [[hit.uri for hit in hits] for hits in guarded.search_many(["two", "one"], [None, None], k=9, mode="sparse")]
    assert (guarded.status().documents, guarded.status().chunks) == (1, 1)


def test_nothing_is_written_through_it_and_it_offers_nothing_that_writes(tmp_path) -> None:
    guarded: Any = GuardedIndex(PlainIndex(DIMENSION), Mask(principal=LAW))
    for use in (lambda: guarded.write([]), lambda: guarded.touch({}), guarded.check):
        with pytest.raises(AccessDenied, match=r"user:ann, group:law and may only read"):
            use()
    for capability in (Retags, Relabels, KeepsSnapshots, Narrows):
        assert not isinstance(guarded, capability)


def test_damage_to_a_hidden_document_is_told_without_its_name(tmp_path) -> None:
    import sqlite3

    folder = tmp_path / "kb"
    index = EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION)
    with index:
        index.write([labelled("mine", "common", "group:law"), labelled("secret", "common", "user:eve")])
        connection = sqlite3.connect(folder / "ragagent.db")
        connection.execute("UPDATE documents SET stamp = 'x', title = 'y' WHERE uri = 'secret'")
        connection.commit()
        connection.close()
        guarded = GuardedIndex(index, Mask(principal=LAW))
        assert guarded.document(digest("secret")) is guarded.document(digest("missing")) is None
        assert list(guarded.chunks(digest("secret"))) == list(guarded.chunks(digest("missing"))) == []
        assert [hit.uri for hit in guarded.search("common", None, k=9, mode="sparse")] == ["mine"]
        for use in (guarded.known, lambda: list(guarded.documents())):
            with pytest.raises(Corrupt) as raised:
                use()
            assert "secret" not in str(raised.value)
            assert raised.value.__cause__ is raised.value.__context__ is None


def test_another_acl_counts_at_once(tmp_path) -> None:
    index = EmbeddedIndex.open(tmp_path / "kb", fingerprint={"embedder": "hash"}, dimension=DIMENSION)
    with index:
        index.write([labelled(f"d:{number}", f"common word{number}", "user:eve") for number in range(20)])
        guarded = GuardedIndex(index, Mask(principal=LAW))
        for number in range(20):
            index.relabel({digest(f"d:{number}"): ["public"]})
            assert len(guarded.search("common", None, k=50, mode="sparse")) == number + 1
            assert guarded.status().documents == number + 1
        index.relabel({digest("d:7"): []})
        assert guarded.document(digest("d:7")) is None
        assert "d:7" not in {hit.uri for hit in guarded.search("common", vector_of("common"), k=50, mode="hybrid")}
        assert index.check() == ()


def test_settings_of_scores_hold_for_what_may_be_read(tmp_path) -> None:
    """Okapi's floor is a part of the average idf over all terms: of those that may be seen."""
    library = [labelled(f"d:{number}", f"common word{number % 3}", "group:law") for number in range(6)]
    hidden = [labelled(f"h:{number}", f"hidden secret{number}", "user:eve") for number in range(30)]
    chosen = RetrievalSettings(bm25="okapi", title_weight=2.0)
    found = []
    for name, entries in (("all", [*library, *hidden]), ("some", library)):
        index = EmbeddedIndex.open(
            tmp_path / name, fingerprint={"embedder": "hash"}, dimension=DIMENSION, retrieval=chosen
        )
        with index:
            index.write(entries)
            seen = GuardedIndex(index, Mask(principal=LAW)) if name == "all" else index
            found.append(seen.search("common word1 secret3", None, k=50, mode="sparse"))
    assert found[0] == found[1]


class Moving(PlainIndex):
    """An index that somebody else changes just before it is read."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.changes: list[Entry] = []

    def _move(self) -> None:
        if self.changes:
            self.write([self.changes.pop(0)])

    def document(self, document_id: str) -> Any:
        self._move()
        return super().document(document_id)

    def chunks(self, document_id: str) -> Any:
        self._move()
        found = super().chunks(document_id)
        self._move()
        return found


@pytest.mark.parametrize("later", [(), ("old", "public"), ("old", "user:eve", "new", "public")])
def test_what_changes_between_the_look_at_its_acl_and_at_its_text_is_not_shown(later: tuple[str, ...]) -> None:
    """Readers and text change in one commit, and perhaps back again in the next."""
    index = Moving()
    index.write([labelled("d", "an open text", "public")])
    guarded = GuardedIndex(index, Mask(principal=LAW))
    changes = [labelled("d", "a secret text", "user:eve")]
    changes += [labelled("d", f"an {name} text", acl) for name, acl in zip(later[::2], later[1::2], strict=True)]
    for read in (guarded.chunks, guarded.document):
        index.changes = list(changes)
        shown: Any = read(digest("d"))
        texts = [one.text for one in shown] if isinstance(shown, list) else [shown.text] if shown else []
        assert not any("secret" in text for text in texts)
        index.changes = []
        index.write([labelled("d", "an open text", "public")])
