"""A session of a principal is a knowledge base that holds what they may read, and nothing else, by every way in.

Whatever a session answers is held against a knowledge base into which only those documents were brought. Each public
way in stands in one of the tables below; a new one without a place in them fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import mcp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent import AccessDenied, Agent, Document, KnowledgeBase, Principal, Settings
from ragagent.app import agent as agents
from ragagent.app import parts
from ragagent.cli import main
from ragagent.cli.context import Context
from ragagent.cli.root import root
from ragagent.connectors.readers import read_document
from ragagent.errors import ConfigError, IndexStateError, RagAgentError
from ragagent.jsonable import jsonable
from ragagent.serve.mcp import Writes, build_server
from ragagent.settings import AccessSettings, RetrievalSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Citation, Message, Span, digest, inner_uri
from tests.commands import leaves

PARAGRAPHS = (
    "The bees of the upper valley gather heather honey in the last weeks of summer, and the keepers bring the hives "
    "down before the first frost, one by one, on the old carts that stand behind the mill all year.",
    "The lease of the mill runs for twelve years and is renewed in spring unless one of the two parties says in "
    "writing, at least six months before, that the rooms, the wheel and the garden are to be given back.",
    "The ferry leaves the harbour at seven in the morning and comes back at noon, except on days of high wind, when "
    "the captain decides at the pier whether the crossing to the island can be made at all.",
)
FOOTER = "This message is meant for its readers alone and must not be passed on to others."
QUESTIONS = (
    "When does the lease of the mill end?",
    "bees honey frost",
    "ferry harbour captain",
    FOOTER,
    "zq3 zq5 wind",
)
ACLS = ((), ("public",), ("user:ann",), ("user:bob",), ("group:law",), ("group:tax", "user:ann"), ("group:board",))
PRINCIPALS = (
    Principal(),
    Principal(user="ann"),
    Principal(user="bob", groups=("law",)),
    Principal(groups=("law", "tax")),
    Principal(user="eve"),
)


def word(number: int, version: int = 0) -> str:
    """A word of letters alone that is in no other document."""
    return f"zq{chr(97 + number)}{chr(97 + version)}marmalade"


def document(number: int, acl: tuple[str, ...], base: int, version: int = 0) -> Document:
    """One that says in every field a word that is in no other document; every third lies inside the one before."""
    secret = f"zq{number}v{version}"
    uri = f"file:///srv/{secret.partition('v')[0]}dir/doc.txt"
    if number % 3 == 2:
        uri = inner_uri(f"file:///srv/zq{number - 1}dir/doc.txt", f"zq{number}part.txt")
    return Document(
        uri=uri,
        title=f"Paper {secret}",
        text=f"{PARAGRAPHS[base]}\n\nOf {secret} and {word(number, version)} alone it says this, as nobody else does."
        f"\n\n{FOOTER}",
        metadata={"author": f"{secret}author", "n": number, "type": "note" if number % 2 else "memo"},
        acl=acl,
    )


@dataclass(frozen=True)
class Case:
    """What is there, who looks, and how; `steps` change it one after another."""

    documents: list[Document]
    principal: Principal
    unlabelled: str = "owner"
    steps: tuple[tuple[str, int, int], ...] = ()

    def settings(self, statistics: str = "visible") -> Settings:
        return Settings(
            access=AccessSettings(unlabelled=self.unlabelled),  # type: ignore[arg-type]
            retrieval=RetrievalSettings(statistics=statistics),  # type: ignore[arg-type]
        )

    def sees(self, acl: tuple[str, ...]) -> bool:
        """What an acl means, said plainly."""
        names = {"public", f"user:{self.principal.user}", *(f"group:{one}" for one in self.principal.groups)}
        return any(name in names for name in acl) if acl else self.unlabelled == "public"


def cases(most: int = 9) -> st.SearchStrategy[Case]:
    chosen = st.lists(st.tuples(st.sampled_from(ACLS), st.integers(0, 2)), min_size=2, max_size=most)
    steps = st.tuples(
        st.sampled_from(["relabel", "edit", "remove", "retag", "again"]), st.integers(0, most), st.integers(0, 6)
    )
    return st.builds(
        lambda made, principal, unlabelled, steps: Case(
            [document(number, acl, base) for number, (acl, base) in enumerate(made)],
            principal,
            unlabelled,
            tuple(steps),
        ),
        chosen,
        st.sampled_from(PRINCIPALS),
        st.sampled_from(["owner", "owner", "public"]),
        st.lists(steps, max_size=3),
    )  # fmt: skip


def reply(messages: list[Message]) -> str:
    """Says back what it was shown, so that what reached the model reaches the result."""
    shown = messages[-1].content
    quoted = next((line for line in shown.splitlines() if "zq" in line), shown[:60])
    return f"{quoted}\n> {quoted}"


@dataclass
class World:
    """A knowledge base with everything, a session that looks at it, and one that holds what the session may see."""

    case: Case
    everything: KnowledgeBase
    session: KnowledgeBase
    visible: KnowledgeBase
    live: dict[str, Document]
    events: tuple[list[Any], list[Any]]
    llm: ScriptedLLM

    def bring(self, documents: list[Document]) -> None:
        self.live |= {one.id: one for one in documents}
        self.everything.ingest(documents)
        self._bring_visible()

    def _bring_visible(self) -> None:
        seen = {key: one for key, one in self.live.items() if self.case.sees(one.acl)}
        for key in self.visible.known().keys() - seen.keys():
            self.visible.remove(key)
        self.visible.ingest([replace(one, revision="") for one in seen.values()])

    def step(self, kind: str, at: int, value: int) -> None:
        """Changes something, as the owner."""
        if not self.live:
            return
        one = list(self.live.values())[at % len(self.live)]
        number = int(one.metadata["n"])  # type: ignore[arg-type]
        if kind == "relabel":
            self.everything.relabel({one.id: ACLS[value]})
            inside = [other.id for other in self.live.values() if other.uri.startswith(inner_uri(one.uri, ""))]
            self.live |= {key: self.live[key].labelled(ACLS[value]) for key in (one.id, *inside)}
        elif kind == "edit":
            changed = document(number, one.acl, value % 3, value + 1)
            self.live[one.id] = changed
            self.everything.ingest([changed])
        elif kind == "remove":
            del self.live[one.id]
            self.everything.remove(one.id)
        elif kind == "retag":
            self.live[one.id] = replace(
                one, metadata={**one.metadata, "n": number, "state": f"zq{number}state"}, revision=""
            )
            self.everything.retag({one.id: self.live[one.id].metadata})
        else:
            self.everything.ingest(list(self.live.values()))
        self._bring_visible()

    @property
    def secrets(self) -> set[str]:
        """Words that no answer may hold: what only hidden documents say, and who their readers are."""
        hidden = [one for one in self.live.values() if not self.case.sees(one.acl)]
        seen = " ".join(_said(one) for one in self.live.values() if self.case.sees(one.acl))
        words = {word for one in hidden for word in re.findall(r"zq\w+", _said(one))}
        return {word for word in words if not re.search(rf"{word}\b", seen)} | {one.id for one in hidden}


def _said(one: Document) -> str:
    return " ".join([one.uri, one.title, one.text, json.dumps(dict(one.metadata))])


@contextlib.contextmanager
def world(folder: Path, case: Case, statistics: str = "visible") -> Iterator[World]:
    embedder, llm = HashEmbedder(), ScriptedLLM(reply)
    events: tuple[list[Any], list[Any]] = ([], [])
    with contextlib.ExitStack() as stack:

        def opened(name: str, **given: Any) -> KnowledgeBase:
            return stack.enter_context(
                KnowledgeBase.open(
                    folder / name, settings=case.settings(statistics), embedder=embedder, llm=llm, **given
                )
            )

        everything = opened("all")
        made = World(
            case=case,
            everything=everything,
            session=opened("all", principal=case.principal, trace=events[0].append),
            visible=opened("some", trace=events[1].append),
            live={},
            events=events,
            llm=llm,
        )
        for key in everything.known():
            everything.remove(key)
        made.bring(case.documents)
        events[0].clear()
        events[1].clear()
        llm.requests.clear()
        yield made


def told(use: Callable[[], Any]) -> Any:
    """What comes back, or the error that does, as JSON without what differs from one call to the next."""
    try:
        found = use()
        found = list(found) if isinstance(found, Iterator) else found
    except RagAgentError as error:
        return f"{type(error).__name__}: {error}"
    return plain(jsonable(found))


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items() if key not in {"seconds", "at", "run_id", "stamp"}}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return same_words(value) if isinstance(value, str) else value


def same_words(said: str) -> str:
    """What is said, without what is rightly said in other words."""
    said = re.sub(
        r"there is no document that [\w:, ]+ may read", "the knowledge base is empty; ingest documents first", said
    )
    # How a filter was worked out is said of what is in the database.
    return re.sub(r"(chunks pass);.*", r"\1", said)


def cited(key: str) -> Citation:
    return Citation(quote="q", document_id=key, uri="a uri", title="", span=Span(0, 1), verified=True, page=1)


Use = Callable[[KnowledgeBase, World], Any]
WHERES = (None, 'author starts with "zq"', "n >= 1 and not type = memo", 'folder starts with "/srv/zq"', "acl exists")


def searches(kb: KnowledgeBase, world: World) -> Any:
    return [
        kb.search(query, k=k, mode=mode, where=where)
        for number, query in enumerate(QUESTIONS)
        for mode in ("hybrid", ("dense", "sparse")[number % 2])
        for k, where in (((1 + number, WHERES[number]),) if mode == "hybrid" else ((20, None),))
    ]


def ids(world: World) -> list[str]:
    """Of all documents, seen and hidden, and of one that never was."""
    return [*world.live, digest("never was here")]


def conversed(kb: KnowledgeBase) -> Any:
    conversation = kb.conversation()
    return [conversation.ask(QUESTIONS[0]), list(conversation.stream(QUESTIONS[4]))]


CHECKED: dict[str, Use] = {
    "search": searches,
    "explain": lambda kb, world: [
        kb.explain(word(number).replace("lade", "lede"), understand=["spelling", "hops"], mode=mode)
        for number in range(0, 9, 2)
        for mode in ("hybrid", "sparse")
    ],
    "ask": lambda kb, world: [kb.ask(QUESTIONS[0]), kb.ask(QUESTIONS[4], where="n >= 1")],
    "ask_stream": lambda kb, world: list(kb.ask_stream(QUESTIONS[1])),
    "document": lambda kb, world: [kb.document(key) for key in ids(world)],
    "documents": lambda kb, world: list(kb.documents()),
    "chunks": lambda kb, world: [kb.chunks(key) for key in ids(world)],
    "conversation": lambda kb, world: conversed(kb),
    "conversations": lambda kb, world: kb.conversations(),
    "known": lambda kb, world: kb.known(),
    "duplicates": lambda kb, world: kb.duplicates(),
    "status": lambda kb, world: [kb.status().documents, kb.status().chunks, kb.status().fingerprint],
    "page_image": lambda kb, world: [told(lambda key=key: kb.page_image(cited(key))) for key in ids(world)],
    "page_view": lambda kb, world: [told(lambda key=key: kb.page_view(cited(key))) for key in ids(world)],
}
OWNER_ONLY: dict[str, Use] = {
    "ingest": lambda kb, world: kb.ingest(list(world.live.values())),
    "plan_ingest": lambda kb, world: kb.plan_ingest("."),
    "watch": lambda kb, world: list(kb.watch(".")),
    "remove": lambda kb, world: [kb.remove(key) for key in ids(world)],
    "retag": lambda kb, world: kb.retag({key: {} for key in ids(world)}),
    "relabel": lambda kb, world: kb.relabel({key: ["public"] for key in ids(world)}),
    "check": lambda kb, world: kb.check(),
    "snapshots": lambda kb, world: kb.snapshots,
    "backup": lambda kb, world: kb.backup("never.zip"),
    "calibrate": lambda kb, world: kb.calibrate(),
    "forget_calibration": lambda kb, world: kb.forget_calibration(),
    "compact": lambda kb, world: kb.compact(),
    "migration_plan": lambda kb, world: kb.migration_plan(),
    "migrate": lambda kb, world: kb.migrate(),
    "rollback": lambda kb, world: kb.rollback(),
    "editions": lambda kb, world: kb.editions(),
    "finish_migration": lambda kb, world: kb.finish_migration(),
    "seen_by": lambda kb, world: kb.seen_by(Principal()),
}
WITHOUT_DOCUMENTS = {"open", "close", "embedder", "llm", "path", "settings", "principal", "memory"}
"""What agents remember is each user's own: tests/app/test_memory.py."""


def test_every_public_way_into_a_knowledge_base_has_been_decided_on(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        public = {name for name in (*dir(KnowledgeBase), *vars(kb)) if not name.startswith("_")}
    assert public == CHECKED.keys() | OWNER_ONLY.keys() | WITHOUT_DOCUMENTS, (
        "put what is new into a table, with a check"
    )
    assert not (CHECKED.keys() & OWNER_ONLY.keys()) | ((CHECKED.keys() | OWNER_ONLY.keys()) & WITHOUT_DOCUMENTS)


QUICK = ("search", "document", "documents", "known", "status")


def require_same(world: World, names: Iterable[str] = tuple(CHECKED)) -> None:
    """What a session gives is what is given where nothing else is, and what is the owner's is refused."""
    sessions = [world.session, world.everything.seen_by(world.case.principal)]
    for name in names:
        use = CHECKED[name]
        expected = told(lambda use=use: use(world.visible, world))
        for session in sessions:
            assert told(lambda use=use, session=session: use(session, world)) == expected, name
    for name, use in OWNER_ONLY.items():
        for session in sessions:
            with pytest.raises(AccessDenied) as refused:
                use(session, world)
            assert str(world.case.principal) in str(refused.value), name
            require_silent(world, str(refused.value))


def require_silent(world: World, *said: Any) -> None:
    text = json.dumps(jsonable(said), ensure_ascii=False, default=str)
    for word in world.secrets:
        assert not re.search(rf"{word}\b", text), (word, text[:2000])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_a_session_answers_as_if_nothing_else_were_there(tmp_path: Path, case: Case) -> None:
    with world(tmp_path, case) as there:
        for step in case.steps:
            there.step(*step)
            require_same(there, QUICK)
        require_same(there)
        require_silent(there, [told(lambda use=use: use(there.session, there)) for use in CHECKED.values()])
        # What the model was asked, and what was traced, came from both in turn.
        require_silent(there, [request.messages for request in there.llm.requests[-20:]], there.events[0])
        assert {event["name"] for event in there.events[0]} <= {event["name"] for event in there.events[1]}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_with_the_statistics_of_all_nothing_but_scores_tells_of_others(tmp_path: Path, case: Case) -> None:
    with world(tmp_path, case, "all") as there:
        found = {name: told(lambda use=use: use(there.session, there)) for name, use in CHECKED.items()}
        require_silent(there, found, [request.messages for request in there.llm.requests], there.events[0])
        for name in ("document", "documents", "known", "duplicates", "status", "page_image"):
            assert found[name] == told(lambda name=name: CHECKED[name](there.visible, there)), name
        for mode in ("dense", "sparse", "hybrid"):
            for where in WHERES:
                both = [kb.search(QUESTIONS[0], k=50, mode=mode, where=where) for kb in (there.session, there.visible)]
                assert {hit.chunk.id for hit in both[0]} <= {chunk for kb in both for chunk in _chunks(there)}
                if mode == "sparse":
                    assert len({hit.document_id for hit in both[0]}) <= there.visible.status().documents
        details = [stage.detail for hit in there.session.search(QUESTIONS[1], k=20) for stage in hit.stages]
        assert not any("chunks" in one or "idf" in one for one in details)


def _chunks(there: World) -> set[str]:
    return {chunk.id for key in there.visible.known() for chunk in there.visible._index.chunks(key)}


def test_copies_and_boilerplate_are_told_by_what_may_be_seen_alone(tmp_path: Path) -> None:
    """A line that stands in 25 documents, 19 of them hidden, is none that is left out for those who see 6."""
    made = [
        Document(
            uri=f"n:zq{number}",
            text=f"Subject {number} of {Random(number).sample(PARAGRAPHS[number % 3].split(), 12)}.\n{FOOTER}",
            metadata={"n": number},
            acl=("group:law",) if number % 4 == 0 else ("user:eve",),
        )
        for number in range(25)
    ]
    with world(tmp_path, Case(made, Principal(groups=("law",)))) as there:
        found = there.session.search(FOOTER, k=30)
        assert len(found) == 7
        assert there.everything.search(FOOTER, k=30) != found
        assert all(not hit.also for hit in found)
        require_same(there)


# --- agents


def _agent_uses() -> dict[str, list[dict[str, Any]]]:
    return {
        "search_documents": [{"query": question} for question in QUESTIONS],
        "list_documents": [{}, {"start": 2}],
        "read_document": [],
        "calculate": [{"expression": "6 * 7"}],
    }


TABLE_TOOLS: dict[str, list[dict[str, Any]]] = {
    "list_tables": [{}, {"start": 1}],
    "query_tables": [
        {"sql": "SELECT * FROM sales"},
        {"sql": "SELECT * FROM wages"},
        {"sql": "SELECT COUNT(*), SUM(amount) FROM sales"},
        {"sql": "SELECT * FROM sqlite_master"},
        {"sql": "SELECT nothing FROM sales"},
    ],
}


AGENT_CHECKED = {"run", "stream", "resume", "resume_stream", "as_tool", "graph"}
AGENT_WITHOUT_DOCUMENTS = {"cancel", "close", "specs"}


def test_every_tool_and_way_of_an_agent_has_been_decided_on(tmp_path: Path) -> None:
    public = {name for name in dir(Agent) if not name.startswith("_")}
    assert public == AGENT_CHECKED | AGENT_WITHOUT_DOCUMENTS, "put what is new into a table, with a check"
    with world(tmp_path, Case([document(0, ("public",), 0)], Principal())) as there, Agent(there.session) as agent:
        assert set(agent._runner._parts.tools) == _agent_uses().keys(), "put a new tool into the table"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(6))
def test_the_tools_of_an_agent_see_what_the_session_sees(tmp_path: Path, case: Case) -> None:
    with (
        world(tmp_path, case) as there,
        Agent(there.session, filters=True) as one,
        Agent(there.visible, filters=True) as two,
    ):
        uses = _agent_uses()
        uses["read_document"] = [{"document": key} for key in ids(there)]
        uses["search_documents"] += [{"query": QUESTIONS[0], "where": "author starts with zq and n >= 1"}]
        for name, arguments in uses.items():
            tools = [agent._runner._parts.tools[name] for agent in (one, two)]
            for values in arguments:
                found, expected = (told(lambda tool=tool, values=values: tool.call(values)) for tool in tools)
                assert found == expected, (name, values)


def test_queries_see_the_tables_of_the_documents_that_a_session_sees(tmp_path: Path) -> None:
    def table(name: str, secret: str, acl: tuple[str, ...]) -> Document:
        text = f"Name{secret},Amount\n{secret}a,5\n{secret}b,6\n"
        made = read_document(text.encode(), uri=f"file:///srv/{name}/{name}.csv", name=f"{name}.csv")
        return replace(made, metadata={"n": 0}, acl=acl, revision="")

    for order in (1, -1):
        made = [table("sales", "zq0", ("public",)), table("sales", "zq2", ()), table("wages", "zq1", ("user:ann",))]
        # The hidden one of two with one name comes first, or last.
        made = [
            replace(one, uri=f"file:///srv/{n}/{Path(one.uri).name}", id="", revision="")
            for n, one in enumerate(made[::order])
        ]
        with (
            world(tmp_path / str(order), Case(made, Principal(user="bob"))) as there,
            Agent(there.session) as one,
            Agent(there.visible) as two,
        ):
            tools = [agent._runner._parts.tools for agent in (one, two)]
            assert tools[0].keys() == tools[1].keys() == _agent_uses().keys() | TABLE_TOOLS.keys()
            for name, calls in TABLE_TOOLS.items():
                for values in calls:
                    found, expected = (
                        told(lambda tool=known[name], values=values: tool.find(values)) for known in tools
                    )
                    assert found == expected, (name, values)
                    require_silent(there, found)
    hidden = Case([table("wages", "zq1", ("user:ann",))], Principal(user="bob"))
    with world(tmp_path / "none", hidden) as there, Agent(there.session) as agent:
        assert not agent._runner._parts.tools.keys() & TABLE_TOOLS.keys()


def test_a_run_of_a_session_reads_what_it_may_and_leaves_nothing_behind(tmp_path: Path) -> None:
    case = Case(
        [document(number, ("user:eve",) if number % 2 else ("public",), number % 3) for number in range(6)], Principal()
    )
    said = [
        json.dumps({"found": "", "tool": "search_documents", "arguments": {"query": QUESTIONS[0]}}),
        json.dumps({"found": "", "tool": "list_documents", "arguments": {}}),
        json.dumps({"found": "", "tool": "final_answer", "arguments": {"answer": "Twelve years."}}),
    ]
    with world(tmp_path, case) as there:
        results = []
        for kb in (there.session, there.visible):
            with Agent(kb, llm=ScriptedLLM([*said, "Twelve years.", "Twelve years."])) as agent:
                results.append(told(lambda agent=agent: agent.run("How long does the lease run?", run_id="r")))
        assert results[0] == results[1]
        for ask in (
            lambda agent: agent.as_tool("helper", "Helps.").call({"task": "How long does the lease run?"}),
            lambda agent: agent.graph.invoke({"task": "How long does the lease run?"})["result"]["answer"],
        ):
            found = []
            for kb in (there.session, there.visible):
                with Agent(kb, llm=ScriptedLLM([*said, "Twelve years.", "Twelve years."])) as agent:
                    found.append(told(lambda agent=agent, ask=ask: ask(agent)))
            assert found[0] == found[1]
            results += found
        require_silent(there, results)
        assert not (tmp_path / "all" / agents.RUNS_FILE).exists()
        with Agent(there.everything, llm=ScriptedLLM([*said, "Twelve years.", "Twelve years."])) as agent:
            whole = agent.run("How long does the lease run?", run_id="of-the-owner")
        assert "zq1" in json.dumps(jsonable(whole))
        with Agent(there.session) as agent:
            for resume in (agent.resume, lambda run_id: list(agent.resume_stream(run_id))):
                for run_id in ("of-the-owner", "of-nobody"):
                    with pytest.raises(RagAgentError, match="no checkpoints are kept"):
                        resume(run_id)


# --- MCP

MCP_CHECKED: dict[str, list[dict[str, Any]]] = {
    "search": [
        {"query": question, "k": 1 + 6 * number, "where": WHERES[number], "mode": mode}
        for number, question in enumerate(QUESTIONS)
        for mode in ("hybrid", "sparse")
    ],
    "ask": [{"question": QUESTIONS[0]}, {"question": QUESTIONS[2], "where": "n >= 1"}],
    "list_documents": [{"limit": 2}, {"limit": 100}],
    "read_document": [{"document": "{id}"}, {"document": "document://{id}", "start": 3}],
    "status": [{}],
}
MCP_OWNERS: dict[str, list[dict[str, Any]]] = {
    "ingest": [{"text": "A note.", "title": "Note"}],
    "remove": [{"document": "{id}"}],
}
MCP_RESOURCES = {
    "document://{id}",
    "document://{id}/from/{start}",
    "document://{id}/passage/{start}/{end}",
    "document://{id}/page/{page}",
    "document://{id}/page/{page}/image",
}
MCP_PROMPTS = {
    "answer_from_documents": {"question": "Who?"},
    "summarise_document": {"document": "{id}"},
    "compare_documents": {"document": "{id}", "other_document": "{id}"},
    "timeline": {"topic": "the mill"},
}


def filled(arguments: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: one.replace("{id}", key) if isinstance(one, str) else one for name, one in arguments.items()}


async def _told_of(what: Awaitable[Any]) -> Any:
    try:
        return plain((await what).model_dump(mode="json"))
    except mcp.MCPError as error:
        return str(error)


def served(kb: KnowledgeBase, keys: list[str], *, visible: bool) -> tuple[dict[str, Any], str]:
    """What each call of each tool, resource, prompt and completion gives, and all that a client can list."""

    async def work() -> tuple[dict[str, Any], str]:
        async with mcp.Client(build_server(kb, writes=Writes(confirm="never"))) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == MCP_CHECKED.keys() | MCP_OWNERS.keys(), "put it into a table"
            templates = {one.uri_template for one in (await client.list_resource_templates()).resource_templates}
            assert templates == MCP_RESOURCES, "put a new resource into the table"
            prompts = (await client.list_prompts()).prompts
            assert {one.name for one in prompts} == MCP_PROMPTS.keys(), "put a new prompt into the table"
            found = {"resources": plain((await client.list_resources()).model_dump(mode="json")["resources"])}
            for key in keys:
                numbers = {"start": "0", "end": "9", "page": "1"}
                for name, calls in MCP_CHECKED.items():
                    for values in calls:
                        answer = _told_of(client.call_tool(name, filled(values, key)))
                        found[f"{name} {filled(values, key)}"] = await answer
                for template in MCP_RESOURCES:
                    uri = template.replace("{id}", key).format(**numbers)
                    found[uri] = await _told_of(client.read_resource(uri))
                    reference = mcp.types.ResourceTemplateReference(type="ref/resource", uri=template)
                    for typed in (key[:2], "zq", "file:"):
                        given = {"name": "id", "value": typed}
                        found[f"{template} {given}"] = await _told_of(client.complete(reference, given))
                    given = {"name": "page", "value": ""}
                    found[f"{uri} {given}"] = await _told_of(client.complete(reference, given, {"id": key}))
                for name, arguments in MCP_PROMPTS.items():
                    found[f"{name} {key}"] = await _told_of(client.get_prompt(name, filled(arguments, key)))
                if not visible:
                    for name, calls in MCP_OWNERS.items():
                        for values in calls:
                            refused = await client.call_tool(name, filled(values, key))
                            found[f"{name} {filled(values, key)}"] = (refused.is_error, refused.content[0].text)
            return found, str(tools)

    return anyio.run(work)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(6))
def test_an_mcp_server_over_a_session_serves_what_it_sees(tmp_path: Path, case: Case) -> None:
    with world(tmp_path, case) as there:
        keys = ids(there)
        found, listed = served(there.session, keys, visible=False)
        refused = {name: found.pop(name) for name in list(found) if name.split()[0] in MCP_OWNERS}
        assert (found, listed) == served(there.visible, keys, visible=True)
        for name, (is_error, text) in refused.items():
            assert is_error, name
            assert "may only read" in text or "there is no document" in text, (name, text)
        # Ids that were asked for come back in what was asked; no word of a hidden document does.
        require_silent(there, re.sub("|".join(keys), "", str(found)), listed)
        unseen = [key for key in keys if key not in there.visible.known()]
        told_apart = {
            text.replace(key, "")
            for name, (_, text) in refused.items()
            for key in unseen
            if name.startswith("remove") and key in name
        }
        assert len(told_apart) <= 1, "hidden and missing documents are refused in the same words"


# --- the command line

READS: dict[str, list[list[str]]] = {
    "search": [["lease of the mill", "--mode", "sparse", "--json"], ["bees frost", "--explain", "--where", "n >= 0"]],
    "ask": [["When does the lease end?", "--json"], ["Where does the ferry go?"]],
    "agent run": [["How long does the lease run?", "--json"]],
    "documents list": [["--json"], []],
    "documents show": [["doc.txt"], ["{seen}"], ["{hidden}"], ["{missing}"]],
    "documents duplicates": [["--json"], []],
    "prompts": [["--json"], ["0123456789abcdef"]],
}
OWNERS: dict[str, list[list[str]]] = {
    "ingest": [["notes.txt"], ["notes.txt", "--dry-run"], ["notes.txt", "--watch"]],
    "agent resume": [["some-run"]],
    "agent list": [[]],
    "agent show": [["some-run"]],
    "agent replay": [["some-run"]],
    "agent tools": [["--mcp", "mcp.json"]],
    "agent allow": [["a-server", "a-tool", "--mcp", "mcp.json"]],
    "agent resources": [["a-server", "--mcp", "mcp.json"]],
    "agent read": [["a-server", "note://one", "--mcp", "mcp.json"]],
    "agent prompt": [["a-server", "a-prompt", "--mcp", "mcp.json"]],
    "agent signin": [["a-server", "--mcp", "mcp.json"]],
    "agent signout": [["a-server", "--mcp", "mcp.json"]],
    "agent forbid": [["a-server", "a-tool", "--mcp", "mcp.json"]],
    "documents remove": [["{seen}"], ["{hidden}"], ["{missing}"]],
    "documents label": [
        ["{seen}", "--acl", "public"],
        ["{hidden}", "--acl", "public"],
        ["{missing}", "--acl", "public"],
    ],
    "migrate": [[], ["--plan"], ["--rollback"], ["--finish"]],
    "snapshot create": [["now"]],
    "snapshot list": [[]],
    "snapshot diff": [["now"]],
    "snapshot restore": [["now"]],
    "snapshot remove": [["now"]],
    "backup": [["kb.zip"]],
    "restore": [["kb.zip"]],
    "calibrate": [[], ["--forget"]],
    "compact": [[], ["--erase"]],
    "doctor": [[]],
    "token create": [["a name"]],
    "token list": [[]],
    "token revoke": [["abcdefgh"]],
}
REMEMBERS = {f"memory {name}" for name in ("list", "add", "edit", "forget", "search")}
"""Facts are each user's own, and no documents: tests/cli/test_memory.py."""
SERVES = {"chat", "mcp", "serve", "status"}
"""The first two are over a session, which is checked above, the third one makes a session for each request
(tests/serve/http/test_guard.py); of the last only the counts, below."""
WITHOUT_KNOWLEDGE_BASE = {"mcp install", "completion", "config", "models", "eval"}


def test_every_command_has_been_decided_on() -> None:
    commands = dict(leaves(root))
    decided = READS.keys() | OWNERS.keys() | SERVES | REMEMBERS
    undecided = {
        name for name in commands if name not in decided and not {name, name.split()[0]} & WITHOUT_KNOWLEDGE_BASE
    }
    assert not undecided, "put what is new into a table, with a check"
    assert decided <= commands.keys()
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--as" in options) == (name in decided), f"{name}: a knowledge base is opened as somebody"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs a command with honest small parts in place of the models: (exit code, all that it printed)."""
    said = [
        json.dumps({"found": "", "tool": "search_documents", "arguments": {"query": QUESTIONS[0]}}),
        json.dumps({"found": "", "tool": "final_answer", "arguments": {"answer": "Twelve years."}}),
    ]

    def llm(_: Settings) -> ScriptedLLM:
        rest = iter(said)
        return ScriptedLLM(lambda messages: next(rest, "") if "search_documents" in str(messages) else reply(messages))

    monkeypatch.setattr(parts, "open_llm", llm)
    monkeypatch.setattr(parts, "open_named", lambda settings, name: HashEmbedder())
    monkeypatch.setattr(Context, "fetch", lambda self, name: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("A note.")
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}')

    def call(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
            main([*arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.getvalue()

    return call


def told_by(command: Callable[..., tuple[int, str]], name: str, arguments: list[str], *more: str) -> tuple[int, str]:
    code, printed = command(*name.replace("agent run", "agent").split(), *arguments, *more)
    printed = re.sub(r"\"(seconds|\w+_seconds)\": [\d.e-]+|\d+\.\d s|\d+ ms|\b[0-9a-f]{16}\b", "", printed)
    return code, same_words(re.sub(r"\b(all|some)\b", "kb", printed))


@pytest.mark.parametrize("seed", range(3))
def test_every_command_that_reads_prints_what_may_be_seen(tmp_path: Path, command: Any, seed: int) -> None:
    random = Random(seed)
    made = [document(number, random.choice(ACLS), number % 3) for number in range(8)]
    case = Case(
        [one.labelled(("user:ann",)) if seed == 0 and not n else one for n, one in enumerate(made)],
        PRINCIPALS[2 + seed % 2],
    )
    with world(tmp_path, case) as there:
        seen = [key for key, one in there.live.items() if case.sees(one.acl)] or ["nothing"]
        hidden = [key for key in there.live if key not in seen]
        names = {"seen": seen[0], "hidden": hidden[0], "missing": digest("missing")}
        secrets = there.secrets
    looks = ["--as", f"user:{case.principal.user}"] if case.principal.user else []
    looks += [part for group in case.principal.groups for part in ("--group", group)]
    for name, calls in READS.items():
        for call in calls:
            arguments = [one.format(**names) for one in call]
            found = told_by(command, name, arguments, "--kb", "all", *looks)
            assert found == told_by(command, name, arguments, "--kb", "some"), name
            printed = found[1].replace(names["hidden"], "")
            assert not [word for word in secrets if re.search(rf"{word}\b", printed)], (name, found)
    refusals = set()
    for name, calls in OWNERS.items():
        for call in calls:
            code, printed = told_by(command, name, [one.format(**names) for one in call], "--kb", "all", *looks)
            assert code in (1, 2), (name, printed)
            assert "may only read" in printed, (name, printed)
            refusals.add(printed if name.startswith("documents") else "")
    # A hidden document, a missing one and one that may be seen are refused in the same words.
    assert len(refusals) == 3
    counts = json.loads(command("status", "--json", "--kb", "all", *looks)[1])
    expected = json.loads(command("status", "--json", "--kb", "some")[1])
    assert (counts["documents"], counts["chunks"]) == (expected["documents"], expected["chunks"])
    assert f"{expected['documents']} documents" in command("status", "--kb", "all", *looks)[1]


def test_whom_a_command_is_for_is_said_right_or_refused(tmp_path: Path, command: Any) -> None:
    with world(tmp_path, Case([document(0, ("group:law",), 0)], Principal())):
        pass
    for wrong in (["--as", "ann"], ["--as", "user:a", "--as", "user:b"], ["--as", "*"], ["--group", ""]):
        code, printed = command("documents", "list", "--kb", "all", *wrong)
        assert code == 2, printed
        assert "Paper" not in printed
    for right in (["--group", "law"], ["--as", "user:bob,group:law"], ["--as", "public", "--group", "law"], []):
        assert "Paper zq0v0" in command("documents", "list", "--kb", "all", *right)[1]


# --- sessions


def test_a_session_makes_no_knowledge_base_and_closes_nothing_that_it_shares(tmp_path: Path) -> None:
    with pytest.raises(IndexStateError, match="no knowledge base here"):
        KnowledgeBase.open(tmp_path / "new", embedder=HashEmbedder(), principal=Principal(user="ann"))
    assert not (tmp_path / "new").exists()
    with world(tmp_path, Case([document(0, ("user:ann",), 0)], Principal(user="ann"))) as there:
        shared = there.everything.seen_by(Principal(user="ann"))
        assert shared.llm is there.everything.llm
        assert shared.embedder is there.everything.embedder
        with shared:
            assert len(list(shared.documents())) == 1
        shared.close()
        assert len(list(there.everything.documents())) == 1


def test_a_session_over_an_index_that_cannot_count_apart_says_what_to_set(tmp_path: Path) -> None:
    class Bare:
        def known(self, source: str | None = None) -> dict[str, Any]:
            return {}

    index: Any = Bare()
    with pytest.raises(ConfigError, match=r"retrieval\.statistics"):
        KnowledgeBase(index, path=tmp_path, settings=Settings(), embedder=HashEmbedder(), principal=Principal())


def test_readers_are_said_by_commands_and_by_the_settings_file(tmp_path: Path, command: Any) -> None:
    def acls(*looks: str) -> dict[str, list[str]]:
        code, printed = command("documents", "list", "--json", "--kb", "kb", *looks)
        assert code == 0, printed
        return {Path(one["uri"]).name: one["acl"] for one in json.loads(printed)}

    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "b.txt").write_text("Another note.")
    (tmp_path / "ragagent.toml").write_text('[sources.box]\naddress = "box"\nacl = ["group:law", "user:ann"]\n')
    assert command("ingest", "notes.txt", "--kb", "kb", "--acl", "user:bob")[0] == 0
    assert command("ingest", "source:box", "--kb", "kb")[0] == 0
    assert acls() == {"notes.txt": ["user:bob"], "b.txt": ["group:law", "user:ann"]}
    assert acls("--as", "user:ann").keys() == {"b.txt"}
    assert acls("--group", "law", "--as", "user:bob").keys() == {"notes.txt", "b.txt"}
    code, printed = command("ingest", "source:box", "--kb", "kb", "--acl", "public")
    assert "1 of the unchanged have other readers now" in printed
    assert command("ingest", "notes.txt", "--kb", "kb", "--acl", "")[0] == 0
    assert acls() == {"notes.txt": [], "b.txt": ["public"]}
    assert acls("--as", "user:bob") == {"b.txt": ["public"]}
    assert acls("--as", "user:bob") == acls("--as", "public")
    code, printed = command("documents", "label", "notes.txt", "--kb", "kb", "--acl", "group:law", "--acl", "user:ann")
    assert (code, "read by group:law, user:ann" in printed) == (0, True)
    assert acls("--group", "law").keys() == {"notes.txt", "b.txt"}
    assert command("ingest", "notes.txt", "--kb", "kb", "-o", "acl=group:tax, user:eve")[0] == 0
    assert acls()["notes.txt"] == ["group:tax", "user:eve"]
    for wrong in (["documents", "label", "notes.txt"], ["ingest", "notes.txt", "--acl", "law"]):
        assert command(*wrong, "--kb", "kb")[0] == 2
    (tmp_path / "ragagent.toml").write_text('[access]\nunlabelled = "public"\n')
    command("documents", "label", "notes.txt", "--kb", "kb", "--acl", "")
    assert acls("--as", "public").keys() == {"notes.txt", "b.txt"}
