"""`KnowledgeBase`: documents that can be searched and asked."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, get_args

from ragagent.access import Principal, acl_of, denied
from ragagent.app import answering, parts, searching
from ragagent.app.embedders import Embedders
from ragagent.app.rerankers import Rerankers
from ragagent.deadline import Deadline
from ragagent.errors import ConfigError, Corrupt, IndexStateError, ReadError
from ragagent.protocols import LLM, Connector, Embedder, Index, IndexStatus, KnownDocument, Progress, Reranker, Sink
from ragagent.retrieve.explanation import Explanation
from ragagent.settings import Rerank, Settings, Understanding
from ragagent.trace import Trace
from ragagent.types import (
    Answer,
    AnswerEvent,
    AnswerStyle,
    Chunk,
    Citation,
    Document,
    Duplicates,
    Hit,
    IngestReport,
    Message,
    Metadata,
    SearchMode,
)
from ragagent.where import Where

if TYPE_CHECKING:
    from ragagent.answer.pages import PageImage
    from ragagent.app.calibrate import CalibrationReport
    from ragagent.app.conversation import Conversation
    from ragagent.app.memory import Memory, Store
    from ragagent.index.backup import BackupReport
    from ragagent.index.compaction import CompactReport
    from ragagent.index.editions import Edition
    from ragagent.index.embedded import EmbeddedIndex
    from ragagent.index.snapshots import Snapshots
    from ragagent.ingest.estimate import MigrationPlan
    from ragagent.ingest.forecast import IngestPlan
    from ragagent.ingest.isolation.pool import Pool
    from ragagent.ingest.migration import MigrationReport
    from ragagent.ingest.origins import Origins
    from ragagent.ingest.pipeline import Pipeline

DEFAULT_FOLDER = ".ragagent"
Source = str | os.PathLike[str] | Connector | Iterable[Document]


class KnowledgeBase:
    """Documents that can be searched and asked, kept in one folder.

    Safe to use from several threads; several processes may read one folder while one writes. Models are loaded when
    first needed: opening, listing and counting need none.
    """

    def __init__(
        self,
        index: Index,
        *,
        path: Path,
        settings: Settings,
        embedder: Embedder | None = None,
        llm: LLM | None = None,
        trace: Sink | None = None,
        embedders: Callable[[str], Embedder] | None = None,
        reranker: Reranker | None = None,
        principal: Principal | None = None,
    ) -> None:
        """Around an index that is open already; `open` makes the usual one. `path` is where agents keep their runs."""
        self.path = path
        self.settings = settings
        self.principal = principal
        """Who this session is for; None is the owner, who sees everything."""
        self._index = index if principal is None else parts.guarded(index, principal, settings)
        self._embedders = Embedders(index, path, settings, given=embedder, opener=embedders)
        self._owner: KnowledgeBase | None = None
        self._llm = llm
        self._own_llm: LLM | None = None
        self._rerankers = Rerankers(given=reranker, embedder=lambda: self.embedder, llm=lambda: self.llm)
        self._trace = Trace(trace)
        self._lock = threading.RLock()
        self._reading: Pool | None = None
        self._remembered: Store | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = DEFAULT_FOLDER,
        *,
        settings: Settings | None = None,
        create: bool = True,
        embedder: Embedder | None = None,
        llm: LLM | None = None,
        trace: Sink | None = None,
        embedders: Callable[[str], Embedder] | None = None,
        reranker: Reranker | None = None,
        principal: Principal | None = None,
    ) -> KnowledgeBase:
        """The knowledge base in the folder `path`; a new one is made there unless `create` is false.

        With a `principal` it is a session in which everything that the principal may not read is not there, on any
        path, and which only reads (docs/access.md): what is the owner's to do raises AccessDenied, and none is made.

        `embedder`, `llm` and `reranker` replace the ones that `settings` names; the caller closes what it passed in.
        `embedders` opens an embedder by the name that the index stores; it is asked when another process has migrated
        the knowledge base, and by default looks among the models of `settings`. Other chunking settings than the index
        was built with stand in the way of ingesting, not of searching. Raises IndexStateError (NewerVersion, Corrupt,
        FingerprintMismatch, StorageFull) and, for a new one, ModelNotFound.
        """
        from ragagent.index.embedded import EmbeddedIndex, stored_fingerprint

        chosen = settings or Settings()
        folder = Path(path)
        stored = stored_fingerprint(folder)
        create = create and principal is None
        if stored is None and not create:
            raise IndexStateError(
                f"{folder}: no knowledge base here; make one with: ragagent ingest FOLDER --kb {folder}"
            )
        made: Embedder | None = None
        if embedder is None and (stored is None or parts.names_another(chosen, stored)):
            embedder = made = parts.open_embedder(chosen, None)
        index = EmbeddedIndex.open(
            folder,
            fingerprint=parts.built_with(embedder, chosen, new=stored is None),
            dimension=embedder.dimension if embedder is not None else None,
            create=create,
            lock_timeout_s=chosen.ingest.lock_timeout_s,
            retrieval=chosen.retrieval,
        )
        kb = cls(
            index,
            path=folder,
            settings=chosen,
            embedder=embedder,
            llm=llm,
            trace=trace,
            embedders=embedders,
            reranker=reranker,
            principal=principal,
        )
        if made is not None:
            kb._embedders.own(made)
        return kb

    def seen_by(self, principal: Principal) -> KnowledgeBase:
        """A session of `principal` over this same knowledge base: it shares index and models, and closes neither.

        Making one costs nothing, so a server makes one for each request. Raises AccessDenied in a session.
        """
        self._require_owner("another principal's session")
        session = KnowledgeBase(self._index, path=self.path, settings=self.settings, principal=principal)
        session._embedders, session._rerankers = self._embedders, self._rerankers
        session._owner, session._trace = self, self._trace
        return session

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files and ends the model process; may be called twice."""
        if self._owner is not None:
            return
        with self._lock:
            self._rerankers.close()
            self._embedders.close()
            if self._own_llm is not None:
                self._own_llm.close()
                self._own_llm = None
            if self._reading is not None:
                self._reading.close()
            if self._remembered is not None:
                self._remembered.close()
            self._index.close()

    @property
    def embedder(self) -> Embedder:
        """The embedding model, loaded at the first use. Raises FingerprintMismatch if it is not the index's own."""
        return self._embedders.current()

    @property
    def llm(self) -> LLM:
        """The language model; its process starts at the first request."""
        if self._owner is not None:
            return self._owner.llm
        with self._lock:
            if self._llm is None:
                self._llm = self._own_llm = parts.open_llm(self.settings)
            return self._llm

    @property
    def memory(self) -> Memory:
        """What agents of whom this session is for remember: `add`, `list`, `edit`, `forget`, `search` (docs/agent.md).

        Nothing else of a knowledge base ever finds it. Raises AccessDenied in a session of groups without a user.
        """
        from ragagent.app import facts
        from ragagent.app.memory import Memory

        return Memory(self._memories(), facts.owner_of(self.principal))

    def _memories(self) -> Store:
        """The facts of everybody."""
        from ragagent.app.memory import Store
        from ragagent.index.backup import MEMORY

        if self._owner is not None:
            return self._owner._memories()
        with self._lock:
            if self._remembered is None:
                self._remembered = Store(self.path / MEMORY, self._embedder_in_force, self.settings)
            return self._remembered

    def _embedder_in_force(self) -> Embedder:
        """The embedder of the live edition, whoever swapped that in: facts are to be of the same one."""
        self._embedders.follow()
        return self._embedders.current()

    def ingest(
        self,
        source: Source,
        *,
        prune: bool = False,
        progress: Progress | None = None,
        options: Mapping[str, object] | None = None,
        acl: Sequence[str] | None = None,
    ) -> IngestReport:
        """Brings in a path, an address, a Connector or documents; what is unchanged costs next to nothing.

        The scheme of an address says what kind of source it is, and `options` are what that kind can be told
        (docs/connectors.md). `prune` removes the documents of the same source that are gone from it. `acl` is who may
        read what comes from it, such as "group:law", what is there unchanged as well; it is remembered for a path or
        an address, and None leaves it as it is. Documents carry their own. What cannot be read is in the report's
        `failures`, by name. Raises ConnectorError when the source as a whole is out of reach,
        ConfigError for an option that its kind does not have, MissingExtra for a package that it needs, Locked while
        another process writes, StorageFull when there is no room, FingerprintMismatch when the settings cut
        documents otherwise than the index was built, or a migration ends meanwhile; committed work stays.
        """
        self._require_owner("ingesting")
        self._embedders.follow()
        pipeline, origins = self._pipeline(progress), self._origins()
        readers, options = parts.readers(acl, options)
        if isinstance(source, str | os.PathLike):
            connector = self._connector(source, options)
            readers = origins.acl_of(connector.source) if readers is None else readers
            report = pipeline.ingest_connector(connector, prune=prune, acl=readers)
            origins.remember(connector, _address(source), options, readers)
            return report
        if options:
            raise ConfigError("options go with a path or an address")
        if isinstance(source, Connector):
            return pipeline.ingest_connector(source, prune=prune, acl=readers)
        if readers is not None:
            raise ConfigError("documents carry their own acl; give each its own instead")
        if isinstance(source, Document):
            raise ConfigError("ingest takes an iterable of documents; put the single one into a list")
        if prune:
            raise ConfigError("prune needs a source that can be listed; remove documents by id instead")
        return pipeline.ingest_documents(map(_document, source))

    def plan_ingest(
        self,
        source: str | os.PathLike[str] | Connector,
        *,
        prune: bool = False,
        progress: Progress | None = None,
        options: Mapping[str, object] | None = None,
        acl: Sequence[str] | None = None,
    ) -> IngestPlan:
        """What `ingest` would read, embed and remove, and about how long it would take; nothing is changed.

        Lists the whole source, reads up to six of its items and embeds up to 64 chunks. Raises as `ingest` does.
        """
        self._require_owner("ingesting")
        self._embedders.follow()
        readers, options = parts.readers(acl, options)
        if isinstance(source, str | os.PathLike):
            source = self._connector(source, options)
        elif options:
            raise ConfigError("options go with a path or an address")
        return self._pipeline(progress).forecast(source, prune=prune, acl=readers)

    def watch(
        self,
        *sources: str | os.PathLike[str],
        settle_s: float = 1.0,
        polling: bool = False,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
        options: Mapping[str, object] | None = None,
        acl: Sequence[str] | None = None,
    ) -> Iterator[tuple[str, IngestReport]]:
        """Keeps up with files and folders while these change: the path and the report of each ingest, as it is done.

        First each source is ingested as a whole, then each change once it is at rest: a file is read when its size and
        time have stayed the same for `settle_s`. What is deleted is removed, except where a source is gone or empty as
        a whole. It ends when `stop` is set, which takes half a second; leaving the iterator ends it as well.
        `polling` walks the folders every two `settle_s` where the kernel tells nothing, as on network drives. Raises
        ConfigError for what is no path, ConnectorError for a path that is not there.
        """
        from ragagent.connectors.files import FilesConnector
        from ragagent.ingest.watching import watch

        self._require_owner("watching")
        readers, options = parts.readers(acl, options)
        connectors = [self._connector(source, options) for source in sources]
        files = [one for one in connectors if isinstance(one, FilesConnector)]
        for one in connectors:
            if not isinstance(one, FilesConnector):
                raise ConfigError(f"{one.source}: only files and folders can be watched; ingest it again now and then")
            next(iter(one.items()), None)
        self._embedders.follow()
        pipeline, origins = self._pipeline(progress), self._origins()
        if readers is not None:
            for one, source in zip(connectors, sources, strict=True):
                origins.remember(one, _address(source), options, readers)
        stop = stop or threading.Event()
        yield from watch(
            pipeline,
            files,
            settle_s=settle_s,
            polling=polling,
            stop=stop,
            ignore=os.path.realpath(self.path),
            progress=progress,
            acl_of=origins.acl_of,
        )

    def _pipeline(self, progress: Progress | None = None) -> Pipeline:
        from ragagent.ingest.isolation.pool import Pool
        from ragagent.ingest.pipeline import Pipeline

        with self._lock:
            self._reading = self._reading or Pool()
        return Pipeline(
            self._index, self.embedder, self.settings, trace=self._trace, progress=progress, pool=self._reading
        )

    def _connector(self, source: str | os.PathLike[str], options: Mapping[str, object] | None) -> Connector:
        return self._origins().open(_address(source), options)

    def _origins(self) -> Origins:
        from ragagent.ingest.origins import Origins

        return Origins(self.path, self.settings.ingest)

    def search(
        self,
        query: str,
        k: int = 10,
        mode: SearchMode = "hybrid",
        where: Where | None = None,
    ) -> list[Hit]:
        """The `k` best chunks for `query`, best first, ranks 1..k; fewer when fewer match.

        `mode` is hybrid (both, fused), dense or sparse. `where` is a filter in any form of
        `ragagent.where`, such as the text 'type = "pdf" and year >= 2020'; it acts inside both searches. How the
        question is understood and what is reranked, `settings.retrieval` says. An empty query, a `k` below 1 and an
        unknown mode raise ConfigError.
        """
        return list(self.explain(query, k, mode, where).hits)

    def explain(
        self,
        query: str,
        k: int = 10,
        mode: SearchMode = "hybrid",
        where: Where | None = None,
        *,
        rerank: Rerank | None = None,
        understand: Sequence[Understanding] | None = None,
        conversation: Sequence[Message] = (),
        without: Sequence[str] = (),
    ) -> Explanation:
        """As `search`, with each step that was taken and the filters that were read from the question.

        `rerank` and `understand` stand for the settings of these names this time. `conversation` is what was said
        before, for follow-up questions; `without` names read filters that are not to count.
        """
        _check_query(query, k, mode)
        settings = self.settings.retrieval
        asked = searching.Asked(
            query=query,
            k=k,
            mode=mode,
            where=where,
            understand=settings.understand if understand is None else tuple(understand),
            conversation=tuple(conversation),
            without=frozenset(without),
        )
        with self._trace.span("search", mode=mode, k=k) as event:
            judge = self._rerankers.judge(rerank, self.settings)
            parts = searching.Parts(index=self._index, settings=settings, llm=lambda: self.llm, judge=judge)
            found = searching.explained(asked, parts, self._embedders)
            event["hits"] = len(found.hits)
        return found

    def ask(
        self,
        question: str,
        *,
        where: Where | None = None,
        extractive: bool = False,
        style: AnswerStyle | None = None,
        schema: object = None,
        within: float | Deadline | None = None,
    ) -> Answer:
        """The answer to `question` from the documents, each claim with its citations, or a refusal with the reason.

        `style` is how it is laid out, by default as the settings say. With a `schema`, a JSON schema or a pydantic
        model, it is JSON instead: `Answer.data` fits the schema, and each of its values stands in a citation
        (docs/answers.md). Raises ConfigError for a schema that documents cannot fill. `within` are the seconds that it
        may take, or a `ragagent.deadline.Deadline` that another thread may bring on: what is there by then is the
        answer, `partial`. A model that is being loaded, and a search, are not broken off.

        `extractive` asks no language model: the answer is the best sentences of the documents. So it is too where
        llm.model is none or memory has no room for the model; `Answer.reason` then says so. Raises ModelLoadError
        for a model that cannot be loaded for another reason, and another ModelError where it fails.
        """
        events = self.ask_stream(
            question, where=where, extractive=extractive, style=style, schema=schema, within=within
        )
        for event in events:
            if event.answer is not None:
                return event.answer
        raise AssertionError("a stream of answer events ends with the answer")

    def ask_stream(
        self,
        question: str,
        *,
        where: Where | None = None,
        after: Conversation | None = None,
        extractive: bool = False,
        style: AnswerStyle | None = None,
        schema: object = None,
        within: float | Deadline | None = None,
    ) -> Generator[AnswerEvent]:
        """As `ask`, piece by piece: the evidence, the text as it is written, then the whole answer.

        Closing the iterator cancels the model. With `after`, the question is the next one of that conversation, to
        which `Conversation.stream` also adds it.
        """
        from ragagent.answer import spoken

        form = self._form(style, schema, extractive)
        deadline = within if isinstance(within, Deadline) or within is None else Deadline(_seconds(within))
        with contextlib.closing(self._asked(question, where, after, form, extractive, deadline)) as events:
            for event in events:
                found = event.answer
                yield event if found is None else replace(event, answer=spoken.in_language_of_question(found))

    def _asked(
        self,
        question: str,
        where: Where | None,
        after: Conversation | None,
        form: answering.Form,
        extractive: bool,
        deadline: Deadline | None,
    ) -> Generator[AnswerEvent]:
        """The events of an answer, its reasons in English."""
        from ragagent.models.absent import NoModel
        from ragagent.retrieve import rewrite

        said = after.said() if after is not None else ()
        meant = after.meant(question) if after is not None else question
        hits = self.explain(rewrite.searched(meant), self.settings.retrieval.k, where=where, conversation=said).hits
        if not hits:
            from ragagent.answer import compose

            yield AnswerEvent(kind="answer", answer=compose.refuse(question, _nothing_found(self)))
            return
        without = self._without_model(extractive)
        if without and form.schema is not None:
            from ragagent.answer import compose

            reason = f"a schema is filled by a language model; {without}"
            yield AnswerEvent(kind="answer", answer=compose.refuse(question, reason))
            return
        if without:
            yield from answering.extracted(question, hits, self._answering(NoModel()), reason=without, meant=meant)
            return
        past = after.past() if after is not None else None
        if deadline is None:
            yield from answering.answered(question, hits, self._answering(), form=form, meant=meant, past=past)
            return
        from ragagent.answer.in_time import in_time

        parts = self._answering(in_time(self.llm, deadline))
        events = answering.answered(question, hits, parts, form=form, meant=meant, past=past)
        yield from answering.until(deadline, events, meant, parts, form)

    def _form(self, style: AnswerStyle | None, schema: object, extractive: bool) -> answering.Form:
        """The form that is asked for. Raises ConfigError for one that there is not."""
        if schema is None:
            chosen = style or self.settings.answer.style
            if chosen not in get_args(AnswerStyle):
                raise ConfigError(f"style = {chosen!r}: must be one of {', '.join(get_args(AnswerStyle))}")
            return answering.Form(style=chosen)
        from ragagent.answer import structured

        if style is not None or extractive:
            raise ConfigError("a schema is a form of its own: give no style beside it, and let the model write")
        return answering.Form(schema=structured.of(schema))

    def _without_model(self, extractive: bool) -> str:
        """Why no language model writes the answer; "" where one does."""
        if extractive:
            return answering.CHOSEN
        return answering.unloadable(self.llm)

    def calibrate(
        self,
        *,
        questions: int = 40,
        risk: float | None = None,
        seed: int = 0,
        keep: bool = True,
        progress: Progress | None = None,
    ) -> CalibrationReport:
        """Fits the confidence of answers to these documents, from questions that the model makes of their passages.

        Each is asked with its passage and with the passage left out, which takes about three answers a question.
        `risk` also sets the threshold: the share of shown answers that may be wrong. What is found is kept beside the
        index, for this model, unless `keep` is false; nothing is kept of a run that is broken off.
        """
        from ragagent.answer import calibration
        from ragagent.app.calibrate import calibrated

        self._require_owner("calibrating")
        report = calibrated(
            self._answering(),
            lambda query: self.explain(query, self.settings.retrieval.k).hits,
            questions=questions,
            risk=risk,
            seed=seed,
            progress=progress,
        )
        if keep:
            calibration.keep(self.path, self.llm.name, report.found)
        return report

    def forget_calibration(self) -> bool:
        """Goes back to what comes with the package for this model; false when nothing was kept for it."""
        from ragagent.answer import calibration

        self._require_owner("calibrating")
        gone = calibration.kept(self.path, self.llm.name) is not None
        calibration.keep(self.path, self.llm.name, None)
        return gone

    def _answering(self, llm: LLM | None = None) -> answering.Parts:
        from ragagent.answer import calibration

        llm = llm or self.llm
        return answering.Parts(
            index=self._index,
            settings=self.settings,
            llm=llm,
            trace=self._trace,
            calibration=calibration.kept(self.path, llm.name),
        )

    def conversation(self, identifier: str | None = None) -> Conversation:
        """A new conversation, or the saved one of that id. Raises ConfigError for one that is not there."""
        from ragagent.app.conversation import Conversation

        return Conversation(self) if identifier is None else Conversation.load(self, identifier)

    def conversations(self) -> tuple[str, ...]:
        """The ids of the saved conversations of whom this session is for, the last saved first."""
        from ragagent.app import conversation

        return conversation.saved(self)

    def duplicates(self) -> Duplicates:
        """Which documents are copies or versions of one another, and which lines stand in many of them.

        Reads every text. Searches fold such passages by themselves (`retrieval.duplicates`); this only reports.
        """
        from ragagent.ingest import duplicates

        return duplicates.find(self._index.documents)

    def page_image(self, citation: Citation, *, content: bytes | None = None, dpi: int = 110) -> bytes:
        """The page that `citation` is on, as PNG, with the cited words marked.

        The file is read again, from its place on this machine, or from `content`, the bytes of the item at its source.
        Raises ReadError when it is gone or has changed since it was ingested, and UnsupportedFormat for documents
        whose pages cannot be drawn (PDF files and pictures can).
        """
        return self.page_view(citation, content=content, dpi=dpi).png

    def page_view(self, citation: Citation, *, content: bytes | None = None, dpi: int = 110) -> PageImage:
        """As `page_image`, with the boxes of what is marked; they also fit `Citation.boxes`."""
        from ragagent.answer.pages import page_image

        document = self.document(citation.document_id)
        if document is None:
            raise ReadError(f"{citation.uri} is not in the knowledge base any more")
        return page_image(citation, document, content=content, limits=self.settings.ingest, dpi=dpi)

    def remove(self, document_id: str) -> bool:
        """Removes a document; false when there was none of that id."""
        self._require_owner("removing")
        try:
            if self._index.document(document_id) is None:
                return False
        except Corrupt:
            # Damaged, but there; removing it is the way out.
            pass
        self._index.write(remove=[document_id])
        return True

    def known(self) -> Mapping[str, KnownDocument]:
        """What is remembered of every document by id, without its text."""
        return self._index.known()

    def document(self, document_id: str) -> Document | None:
        """The document of that id, text included."""
        return self._index.document(document_id)

    def chunks(self, document_id: str) -> Sequence[Chunk]:
        """The chunks of a document in reading order; none where it is not there."""
        return self._index.chunks(document_id)

    def documents(self) -> Iterator[Document]:
        """Every document, text included, in the order of uri; read as it goes, so memory stays bounded."""
        return self._index.documents()

    def status(self) -> IndexStatus:
        """Counts and facts about the index."""
        return self._index.status()

    def check(self) -> tuple[str, ...]:
        """Reads everything and returns what is wrong with the files, in words; empty when all is well."""
        found = self._index.check()
        if self.principal is not None or not self._memories().there:
            return tuple(found)
        return (*found, *(f"memory: {one}" for one in self._memories().index().check()))

    @property
    def snapshots(self) -> Snapshots:
        """Named states of the documents: `create`, `list`, `diff`, `restore`, `remove`."""
        return self._embedded("snapshots").snapshots

    def retag(self, metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
        """Gives documents, by id, new metadata without embedding anything; returns the ids that are not there."""
        return self._embedded("new metadata").retag(metadata)

    def relabel(self, acls: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Gives documents, by id, other readers, with all that is inside them, without embedding anything.

        Returns the ids that are not there. Raises ConfigError for what is no principal.
        """
        wanted = {key: acl_of(list(acl)) for key, acl in acls.items()}
        index = self._embedded("changing readers")
        inside = {
            one.id: wanted[item.id]
            for item in index.known_of(list(wanted)).values()
            for one in index.known_inside(item.uri)
        }
        return index.relabel({**inside, **wanted})

    def backup(self, file: str | os.PathLike[str], *, progress: Progress | None = None) -> BackupReport:
        """Writes the state there is now to one file, while others write. Raises ConfigError when it is there already.

        What agents remember goes with it. `ragagent.index.backup.restore` unpacks it into a new folder.
        """
        index, chosen = self._embedded("a backup"), Path(file)
        if not self._memories().there:
            return index.backup(chosen, progress)
        aside = chosen.with_name(f"{chosen.name}.aside-memory")
        try:
            aside.unlink(missing_ok=True)
            self._memories().index().backup(aside)
            return index.backup(chosen, progress, memory=aside)
        finally:
            aside.unlink(missing_ok=True)

    def compact(
        self, *, erase: bool = False, drop_snapshots: bool = False, progress: Progress | None = None
    ) -> CompactReport:
        """Gives the room of removed documents back; with `erase`, leaves nothing of them in any file.

        That includes the states of prompts in `llm.cache_folder`, all of which are removed: they do not tell which
        documents they were made of.
        Erasing raises IndexStateError, naming them, when snapshots hold such documents and `drop_snapshots` is false.
        """
        report = self._embedded("compacting").compact(erase=erase, drop_snapshots=drop_snapshots, progress=progress)
        if erase:
            # Connectors keep copies there of what they fetched.
            from ragagent.ingest.origins import CACHE_FOLDER

            shutil.rmtree(self.path / CACHE_FOLDER, ignore_errors=True)
            from ragagent.app import conversation
            from ragagent.models import kv_snapshots

            conversation.prune(self)
            if self.settings.llm.cache_folder:
                kv_snapshots.erase(Path(self.settings.llm.cache_folder))
        if self._memories().there:
            self._memories().index().compact(erase=erase)
        return report

    def migration_plan(self, *, settings: Settings | None = None, embedder: Embedder | None = None) -> MigrationPlan:
        """What `migrate` with the same arguments would do and take; embeds a sample to know how long."""
        from ragagent.ingest import estimate

        chosen = settings or self.settings
        return estimate.plan(self._embedded("a migration"), self.path, self._embedders.target(chosen, embedder), chosen)

    def migrate(
        self,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        progress: Progress | None = None,
    ) -> MigrationReport:
        """Brings the knowledge base to another embedder, chunking or version of the readers, and swaps to it.

        Searches, here and in other processes, go on with the old edition and follow the swap at their next query.
        Interrupted or killed, the same call goes on where it was. The old edition is kept for `rollback` until
        `finish_migration`. Raises Locked, StorageFull, and ModelError for an embedder that cannot be opened.
        """
        from ragagent.ingest.migration import Migration

        chosen = settings or self.settings
        index, target = self._embedded("a migration"), self._embedders.target(chosen, embedder)
        connect = self._origins().reopen
        report = Migration(index, target, chosen, trace=self._trace, progress=progress, connect=connect).run()
        self._use(chosen)
        return report

    def rollback(self, *, progress: Progress | None = None) -> MigrationReport:
        """Swaps back to the edition before the last migration.

        What was written since is cut and embedded as that edition was built, so its embedder is opened where there is
        any. Raises IndexStateError when no edition is kept.
        """
        from ragagent.ingest import migration

        index = self._embedded("a rollback")
        edition = next((one for one in index.editions.all() if one.state == "old"), None)
        if edition is None:
            raise IndexStateError(f"{self.path}: no earlier edition is kept; there is nothing to roll back to")
        chosen = migration.settings_of(edition, self.settings)
        embedder = self._embedders.of(edition.fingerprint)
        report = migration.Migration(
            index, embedder, chosen, trace=self._trace, progress=progress, connect=self._origins().reopen
        ).back(edition)
        self._use(chosen)
        return report

    def editions(self) -> tuple[Edition, ...]:
        """The editions of the index, the oldest first: the live one, one being built, one kept for a rollback."""
        return self._embedded("editions").editions.all()

    def finish_migration(self) -> bool:
        """Drops the edition that is kept for a rollback; false when there is none."""
        return self._embedded("a migration").editions.finish()

    def _embedded(self, what: str) -> EmbeddedIndex:
        from ragagent.index.embedded import EmbeddedIndex

        self._require_owner(what)
        if not isinstance(self._index, EmbeddedIndex):
            raise ConfigError(
                f"{what}: {type(self._index).__name__} does not offer this; only an index that is kept in a folder does"
            )
        return self._index

    def _require_owner(self, what: str) -> None:
        if self.principal is not None:
            raise denied(self.principal, what)

    def _use(self, settings: Settings) -> None:
        self.settings = self._embedders.settings = settings


def _address(source: str | os.PathLike[str]) -> str | Path:
    return source if isinstance(source, Path) else os.fspath(source)


def _document(given: object) -> Document:
    """`given`, where it is a document."""
    if not isinstance(given, Document):
        raise ConfigError(f"{given!r:.80} is no Document; ingest takes one path or address at a time, or documents")
    return given


def _seconds(within: float) -> float:
    if not 0 < within < math.inf:
        raise ConfigError(f"within = {within!r}: must be a number of seconds above 0")
    return within


def _check_query(query: str, k: int, mode: str) -> None:
    if not query.strip():
        raise ConfigError("the query is empty; write at least one word")
    if k < 1:
        raise ConfigError(f"k = {k}: must be at least 1")
    if mode not in ("hybrid", "dense", "sparse"):
        raise ConfigError(f"mode = {mode!r}: must be hybrid, dense or sparse")


def _nothing_found(kb: KnowledgeBase) -> str:
    if not kb.status().documents and kb.principal is not None:
        return f"there is no document that {kb.principal} may read"
    if not kb.status().documents:
        return "the knowledge base is empty; ingest documents first"
    return "nothing in the documents matches the question"
