"""What is remembered from one run to the next: facts in an index of their own, each of one owner.

The index lies in the folder `memory` of the knowledge base. It is of the same kind as that of the documents and is
searched in the same two ways, but nothing that searches, lists or answers from documents ever opens it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ragagent.app import facts
from ragagent.errors import ConfigError, ConnectorError
from ragagent.index.fingerprint import ANALYSER, EMBEDDER, NAME, TOKENIZER
from ragagent.protocols import Connector, Embedder, KnownDocument
from ragagent.settings import Settings
from ragagent.types import Came, Fact, Label, digest
from ragagent.where import In

if TYPE_CHECKING:
    from ragagent.index.embedded import EmbeddedIndex

MAX_FOUND = 20
"""So many facts at most come of one search."""
_MIN_ID_CHARS = 4


class Store:
    """The facts of all owners of one knowledge base, opened when first needed. Safe to use from several threads."""

    def __init__(self, folder: Path, embedder: Callable[[], Embedder], settings: Settings) -> None:
        """`embedder` is asked only for what needs vectors; listing and forgetting do without."""
        self.folder = folder
        self.settings = settings
        self._embedder = embedder
        self._index: EmbeddedIndex | None = None
        self._lock = threading.RLock()

    @property
    def there(self) -> bool:
        """Whether anything was ever remembered."""
        from ragagent.index.embedded import stored_fingerprint

        return stored_fingerprint(self.folder) is not None

    def index(self) -> EmbeddedIndex:
        """The index as it is. Raises IndexStateError where there is none."""
        from ragagent.index.embedded import EmbeddedIndex

        with self._lock:
            if self._index is None:
                self._index = EmbeddedIndex.open(
                    self.folder,
                    fingerprint={},
                    dimension=None,
                    create=False,
                    lock_timeout_s=self.settings.ingest.lock_timeout_s,
                    retrieval=self.settings.retrieval,
                )
            return self._index

    def embedded(self) -> tuple[EmbeddedIndex, Embedder]:
        """The index, made if there is none, and the embedder in force, which its vectors are of."""
        with self._lock:
            embedder = self._embedder()
            if not self.there:
                self._make(embedder)
            index = self.index()
            _bring_up(index, embedder, self.settings)
            return index, embedder

    def _make(self, embedder: Embedder) -> None:
        from ragagent.index.embedded import EmbeddedIndex
        from ragagent.ingest.parts import tokenizer_fingerprint

        made_with = {
            EMBEDDER: embedder.fingerprint,
            NAME: embedder.name,
            TOKENIZER: tokenizer_fingerprint(embedder.tokenizer),
        }
        EmbeddedIndex.open(self.folder, fingerprint=made_with, dimension=embedder.dimension).close()

    def close(self) -> None:
        with self._lock:
            if self._index is not None:
                self._index.close()
            self._index = None


def _bring_up(index: EmbeddedIndex, embedder: Embedder, settings: Settings) -> None:
    """Embeds every fact anew where the knowledge base has another embedder by now, or the words are cut otherwise."""
    from ragagent.ingest.migration import Migration
    from ragagent.text.analyser import Analyser

    built_with, wanted = index.status().fingerprint, {EMBEDDER: embedder.fingerprint, ANALYSER: Analyser.fingerprint}
    if any(built_with[key] != value for key, value in wanted.items()):
        Migration(index, embedder, settings, connect=_unconnected).run()
        index.editions.finish()


def _unconnected(source: str) -> Connector:
    raise ConnectorError(f"{source}: facts have no source that could be read again")


class Memory:
    """The facts of one owner: whoever uses it sees these alone, and changes no others.

    `add` and `edit` write the owner's own words, which are trusted as a task is; `keep` is how a run remembers, with
    the label of what went into it. What was forgotten or changed is in no file of the memory afterwards.
    """

    def __init__(self, store: Store, owner: str, *, clock: Callable[[], float] = time.time) -> None:
        """`KnowledgeBase.memory` makes the usual one."""
        self.owner = owner
        self._store = store
        self._clock = clock

    def add(self, text: str) -> Fact:
        """Remembers what the owner says; the same fact where it is known already.

        Raises ConfigError for an empty text, one of more than 500 characters, and when the memory is full.
        """
        identifier = digest("fact", self.owner, secrets.token_hex(16))
        return self._write(self._fact(identifier, text, "user", facts.WRITTEN))

    def keep(self, text: str, *, label: Label, run_id: str, step: int) -> Fact:
        """Remembers what a run says, with the label of all that went into it; once for each step of a run.

        Raises as `add` does.
        """
        identifier = digest("fact", self.owner, run_id, str(step))
        came: Came = "task" if label.trusted else "derived"
        fact = self._fact(identifier, text, came, facts.shortened(label))
        return self._write(replace(fact, run_id=run_id, step=step))

    def list(self) -> tuple[Fact, ...]:
        """Every fact, the oldest first."""
        if not self._store.there:
            return ()
        found = (self._of(identifier) for identifier in self._known())
        return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.at, one.id)))

    def get(self, identifier: str) -> Fact | None:
        """The fact of that whole id; None where this owner has none."""
        return self._of(identifier) if self._store.there else None

    def edit(self, identifier: str, text: str) -> Fact:
        """Puts the owner's words in the place of a fact, which is as trusted as these then. Raises as `add` does.

        `identifier` is the id of a fact or a beginning of it; raises ConfigError where it is none, or of several.
        """
        identifier = self._named(identifier)
        fact = self._fact(identifier, text, "user", facts.WRITTEN)
        index, embedder = self._store.embedded()
        vector = embedder.embed_documents([fact.text])
        with index.exclusive():
            self._named(identifier)
            index.write([facts.entry(fact, vector)], built_with={EMBEDDER: embedder.fingerprint})
            index.compact(erase=True)
        return fact

    def forget(self, *identifiers: str) -> tuple[Fact, ...]:
        """Forgets facts, by id or a beginning of it, and returns them. Raises ConfigError as `edit`; none is gone then.

        Writes the whole memory anew, so many are better forgotten by one call. Raises Locked where another process
        reads for so long that this has to wait: they are forgotten then, and erased by the next call that gets through.
        """
        names = dict.fromkeys(self._named(one) for one in identifiers)
        gone = tuple(fact for fact in map(self._of, names) if fact is not None)
        if names:
            index = self._store.index()
            with index.exclusive():
                index.write(remove=list(names))
                index.compact(erase=True)
        return gone

    def search(self, query: str, k: int = 5) -> tuple[Fact, ...]:
        """The `k` facts, at most 20, that fit best, best first. Raises ConfigError for an empty query."""
        if not query.strip():
            raise ConfigError("the query is empty; write at least one word")
        if not self._store.there:
            return ()
        index, embedder = self._store.embedded()
        hits = index.search(
            query,
            lambda: embedder.embed_query(query),
            k=min(k, MAX_FOUND),
            mode="hybrid",
            # Others' facts are not there at all: not even what they weigh in the scores.
            within=In("acl", facts.acl_of(self.owner) or (None,)),
            embedder=embedder.fingerprint,
        )
        found = (self._of(one) for one in dict.fromkeys(hit.document_id for hit in hits))
        return tuple(fact for fact in found if fact is not None)

    def _fact(self, identifier: str, text: str, came: Came, label: Label) -> Fact:
        clean = facts.cleaned(text)
        return Fact(id=identifier, text=clean, owner=self.owner, came=came, label=label, at=self._clock())

    def _write(self, fact: Fact) -> Fact:
        """The fact as it is known: it is written unless it was before, by the same step or in the same words."""
        index, embedder = self._store.embedded()
        vector = embedder.embed_documents([fact.text])
        with index.exclusive():
            known = self._known()
            same = (one.id for one in known.values() if one.stamp == facts.mark(fact))
            there = fact.id if fact.id in known else next(same, "")
            if there and (before := self._of(there)) is not None:
                return before
            most = self._store.settings.agent.memory_facts
            if len(known) >= most:
                raise ConfigError(
                    f"{len(known)} facts are remembered, and at most {most} may be (agent.memory_facts): "
                    "forget some first: ragagent memory forget"
                )
            index.write([facts.entry(fact, vector)], built_with={EMBEDDER: embedder.fingerprint})
        return fact

    def _known(self) -> Mapping[str, KnownDocument]:
        return self._store.index().known(self.owner)

    def _of(self, identifier: str) -> Fact | None:
        """The fact of that id, if it is this owner's."""
        index = self._store.index()
        known = index.known_of([identifier]).get(identifier)
        document = index.document(identifier) if known is not None and known.source == self.owner else None
        return facts.fact_of(document, self.owner) if document is not None else None

    def _named(self, identifier: str) -> str:
        """The whole id of the one fact whose id is, or begins with, `identifier`."""
        known = self._known() if self._store.there else {}
        if identifier in known:
            return identifier
        found = [one for one in known if one.startswith(identifier)] if len(identifier) >= _MIN_ID_CHARS else []
        if len(found) == 1:
            return found[0]
        why = f"{len(found)} facts begin with it; write more of it" if found else "list them with: ragagent memory list"
        raise ConfigError(f"no one fact {identifier!r}: {why}")
