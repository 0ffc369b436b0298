"""What is remembered across runs: each owner's own, no more trusted than it was, bounded, and gone once forgotten."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent import AccessDenied, Document, KnowledgeBase, Principal, Settings
from ragagent.agent.labels import flows
from ragagent.app import facts
from ragagent.app.memory import Memory, Store
from ragagent.errors import ConfigError, Corrupt
from ragagent.index.backup import restore
from ragagent.settings import AgentSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Fact, Label

EMBEDDER = HashEmbedder()
WORDS = ("tea", "mill", "ferry", "lease", "euro", "north", "honey")
TEXTS = [" ".join(some) for some in itertools.permutations(WORDS, 2)][:12]
OWNERS = ("owner", "user:ann", "user:bob")
ANN, BOB = Principal(user="ann"), Principal(user="bob")


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=EMBEDDER) as opened:
        opened.ingest([Document(id="mill", text="The lease of the mill runs for twelve years.")])
        yield opened


def opened(folder: str | Path, **limits: Any) -> Store:
    return Store(Path(folder, "memory"), lambda: EMBEDDER, Settings(agent=AgentSettings(**limits)))


def ticking(store: Store, owner: str) -> Memory:
    ticks = itertools.count(1.0)
    return Memory(store, owner, clock=lambda: next(ticks))


def texts(found: tuple[Fact, ...]) -> list[str]:
    return [one.text for one in found]


changes = st.lists(
    st.tuples(
        st.sampled_from(("add", "add", "keep", "edit", "forget")),
        st.sampled_from(OWNERS),
        st.integers(0, 5),
        st.sampled_from(TEXTS),
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(done=changes, query=st.sampled_from(WORDS))
def test_whatever_was_done_each_owner_has_and_finds_what_a_memory_of_their_own_would(
    done: list[tuple[str, str, int, str]], query: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shared = opened(Path(folder, "shared"))
        own = {owner: opened(Path(folder, f"own{number}")) for number, owner in enumerate(OWNERS)}
        sides = [{owner: ticking(shared, owner) for owner in OWNERS}, {o: ticking(own[o], o) for o in OWNERS}]
        for turn, (what, owner, number, text) in enumerate(done):
            for memories in sides:
                change(memories[owner], what, turn if what == "add" else number, text)
        for owner in OWNERS:
            together, alone = (memories[owner] for memories in sides)
            assert texts(together.list()) == texts(alone.list())
            assert all(one.owner == owner for one in together.list())
            assert texts(together.search(query)) == texts(alone.search(query))
        for store in (shared, *own.values()):
            store.close()


def change(memory: Memory, what: str, number: int, text: str) -> None:
    there = memory.list()
    if what == "add":
        # Not by `add`, whose ids are made up: among equals the id says which is found first.
        memory.keep(text, label=Label(), run_id="hand", step=number)
    elif what == "keep":
        memory.keep(text, label=Label(trusted=False, sources=("document:a",)), run_id="r", step=number)
    elif there and what == "edit":
        memory.edit(there[number % len(there)].id, text)
    elif there:
        memory.forget(there[number % len(there)].id)


names = st.text(st.characters(codec="utf-8"), max_size=12)
labels = st.builds(
    Label,
    trusted=st.booleans(),
    sources=st.lists(names, max_size=5, unique=True).map(sorted).map(tuple),
    readers=st.none() | st.lists(names, max_size=3, unique=True).map(sorted).map(tuple),
)


@settings(max_examples=40)
@given(said=st.lists(st.tuples(st.sampled_from(TEXTS), labels), min_size=1, max_size=5))
def test_nothing_that_was_known_of_a_fact_is_forgotten_when_it_is_found(said: list[tuple[str, Label]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = opened(folder)
        memory = Memory(store, "owner")
        for step, (text, label) in enumerate(said):
            memory.keep(text, label=label, run_id="r", step=step)
        store.close()
        store = opened(folder)
        for found in (Memory(store, "owner").list(), Memory(store, "owner").search(" ".join(WORDS), 20)):
            for text, label in said:
                assert [one for one in found if one.text == text and flows(label, one.label)], (
                    "it is as labelled as it was"
                )
            for one in found:
                assert any(one.text == text and one.label.trusted <= label.trusted for text, label in said)
                assert one.came == ("task" if one.label.trusted else "derived")
        store.close()


@given(label=labels, more=st.lists(names, min_size=250, max_size=300, unique=True))
@settings(max_examples=5)
def test_a_label_that_grows_too_long_stays_as_untrusted_and_as_private(label: Label, more: list[str]) -> None:
    short = facts.shortened(replace(label, sources=tuple(sorted(more))))
    assert (short.trusted, short.readers, len(short.sources)) == (label.trusted, label.readers, facts.MAX_SOURCES)
    assert short.sources[-1].endswith("more")


def test_a_row_that_lost_what_was_known_of_it_counts_as_untrusted() -> None:
    said = {"came": "user", "at": 1.0, "run": "", "step": None}
    found = facts.fact_of(Document(text="x", metadata=said), "owner")
    assert (found.label.trusted, found.label.readers) == (False, ())


def test_nothing_over_documents_finds_a_fact_and_no_fact_is_a_document(kb: KnowledgeBase) -> None:
    kb.memory.add("The lease of the mill was signed by Ann.")
    assert [hit.document_id for hit in kb.search("Who signed the lease of the mill?", k=20)] == ["mill"]
    assert [one.id for one in kb.documents()] == ["mill"]
    assert list(kb.known()) == ["mill"]
    assert kb.status().documents == 1
    assert kb.duplicates().documents == 1
    assert texts(kb.memory.search("lease", 20)) == ["The lease of the mill was signed by Ann."]


def test_each_user_has_a_memory_and_who_is_none_has_none(kb: KnowledgeBase) -> None:
    ann, bob = kb.seen_by(ANN), kb.seen_by(BOB)
    fact = ann.memory.add("Ann drinks tea.")
    bob.memory.add("Bob drinks tea.")
    kb.memory.add("The owner drinks tea.")
    assert texts(ann.memory.search("tea", 20)) == ["Ann drinks tea."]
    assert texts(kb.seen_by(replace(ANN, groups=("law",))).memory.list()) == ["Ann drinks tea."]
    for other in (bob.memory, kb.memory):
        with pytest.raises(ConfigError, match="no one fact"):
            other.forget(fact.id)
        with pytest.raises(ConfigError, match="no one fact"):
            other.edit(fact.id, "Ann drinks nothing.")
    assert texts(ann.memory.list()) == ["Ann drinks tea."]
    for nobody in (Principal(), Principal(groups=("law",))):
        with pytest.raises(AccessDenied, match="only users remember"):
            _ = kb.seen_by(nobody).memory
    with KnowledgeBase.open(kb.path, principal=ANN, embedder=EMBEDDER) as session:
        assert texts(session.memory.list()) == ["Ann drinks tea."]


def test_what_was_forgotten_or_changed_is_in_no_file(kb: KnowledgeBase) -> None:
    secret, changed = "marmalade", "buttermilk"
    first = kb.memory.add(f"The word is {secret}.")
    second = kb.memory.add(f"The other word is {changed}.")
    assert holding(kb.path, secret)
    assert holding(kb.path, changed)
    assert texts(kb.memory.forget(first.id)) == [f"The word is {secret}."]
    assert not holding(kb.path, secret)
    assert kb.memory.edit(second.id, "There is no other word.").came == "user"
    assert not holding(kb.path, changed)
    assert texts(kb.memory.list()) == ["There is no other word."]


def holding(folder: Path, word: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and word.encode() in file.read_bytes().lower()]


def test_a_memory_is_bounded(tmp_path: Path) -> None:
    store = opened(tmp_path, memory_facts=2)
    memory, other = Memory(store, "owner"), Memory(store, "user:ann")
    for wrong in ("", " \n", "\u202e", "x" * 501):
        with pytest.raises(ConfigError, match="the fact"):
            memory.add(wrong)
    assert memory.list() == memory.search("tea") == ()
    assert not store.there, "nothing is made before there is something to remember"
    first = memory.add("Tea.")
    memory.add("  Honey\n and \u202ebread \x1b[31m ")
    assert texts(memory.list())[1] == "Honey and bread [31m"
    assert memory.add("Tea.") == first, "what is known already is not remembered twice"
    with pytest.raises(ConfigError, match="may be"):
        memory.add("Milk.")
    other.add("Milk.")
    memory.forget(first.id[:6])
    memory.add("Milk.")
    with pytest.raises(ConfigError, match="empty"):
        memory.search("  ")
    with pytest.raises(ConfigError, match="at least 1"):
        memory.search("tea", 0)
    with pytest.raises(ConfigError, match="no one fact"):
        memory.forget(first.id, memory.list()[0].id)
    assert len(memory.list()) == 2, "one that is not there, and none is forgotten"
    with pytest.raises(ConfigError, match="no one fact"):
        memory.forget("")
    store.close()


def test_a_step_of_a_run_remembers_once_and_takes_back_no_edit(tmp_path: Path) -> None:
    store = opened(tmp_path)
    memory = Memory(store, "owner")
    first = memory.keep("Tea.", label=Label(), run_id="r", step=1)
    memory.edit(first.id, "Green tea.")
    again = memory.keep("Tea.", label=Label(), run_id="r", step=1)
    assert (again.text, texts(memory.list())) == ("Green tea.", ["Green tea."])
    memory.keep("Tea.", label=Label(), run_id="r", step=2)
    memory.keep("Tea.", label=Label(), run_id="other", step=1)
    assert texts(memory.list()) == ["Green tea.", "Tea."]
    store.close()


def test_a_backup_holds_the_memory_and_erasing_leaves_it(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.memory.add("The owner drinks tea.")
    kb.seen_by(ANN).memory.add("Ann drinks tea.")
    kb.backup(tmp_path / "all.zip")
    assert not list(tmp_path.glob("*aside*"))
    restore(tmp_path / "all.zip", tmp_path / "restored")
    with KnowledgeBase.open(tmp_path / "restored", embedder=EMBEDDER) as other:
        assert texts(other.memory.search("tea")) == ["The owner drinks tea."]
        assert texts(other.seen_by(ANN).memory.list()) == ["Ann drinks tea."]
        other.compact(erase=True)
        assert texts(other.memory.list()) == ["The owner drinks tea."]


def test_a_damaged_memory_is_found_by_the_check_and_changes_no_answer_of_documents(kb: KnowledgeBase) -> None:
    kb.memory.add("The owner drinks marmalade.")
    assert kb.check() == ()
    kb.close()
    file = kb.path / "memory" / "ragagent.db"
    file.write_bytes(file.read_bytes().replace(b"marmalade", b"marmelade"))
    with KnowledgeBase.open(kb.path, embedder=EMBEDDER) as other:
        assert [one for one in other.check() if one.startswith("memory: ")]
        assert [hit.document_id for hit in other.search("lease")] == ["mill"]
        with pytest.raises(Corrupt):
            other.memory.list()


def test_a_backup_of_a_memory_with_a_memory_in_it_is_refused(kb: KnowledgeBase, tmp_path: Path) -> None:
    from ragagent.index.embedded import EmbeddedIndex

    kb.memory.add("Tea.")
    kb.backup(tmp_path / "inner.zip")
    with EmbeddedIndex.open(kb.path, fingerprint={}, dimension=None) as index:
        index.backup(tmp_path / "outer.zip", memory=tmp_path / "inner.zip")
    with pytest.raises(Corrupt, match="which none has"):
        restore(tmp_path / "outer.zip", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_memory_follows_the_knowledge_base_to_another_embedder(kb: KnowledgeBase) -> None:
    kb.memory.add("The owner drinks tea.")
    kb.memory.add("The ferry leaves at seven.")
    kb.migrate(embedder=HashEmbedder(32))
    assert texts(kb.memory.search("When does the ferry leave?", 1)) == ["The ferry leaves at seven."]
    index = kb._memories().index()
    assert (index.status().fingerprint["embedder"], index.status().dimension) == (HashEmbedder(32).fingerprint, 32)
    kb.memory.add("The mill stands.")
    assert len(kb.memory.list()) == 3
