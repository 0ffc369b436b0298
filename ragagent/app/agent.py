"""`Agent`: tools and a loop around a knowledge base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ragagent.app.knowledge import KnowledgeBase
from ragagent.protocols import LLM, Tool
from ragagent.settings import AgentSettings, Settings, Strategy
from ragagent.types import AgentEvent, AgentResult, Answer, Decision, Hit, Passage, ToolSpec
from ragagent.where import Where, both

if TYPE_CHECKING:
    from ragagent.agent.delegate import AgentTool
    from ragagent.agent.policy import Policy
    from ragagent.agent.runner import AgentRunner
    from ragagent.tools.mcp_asking import Ask
    from ragagent.tools.mcp_tools import Servers

RUNS_FILE = "agent.db"
"""The file of checkpoints, approvals and the log of runs, in the folder of the knowledge base."""
ALLOWED_FILE = "mcp-allowed.json"
"""The file of the foreign tools that are allowed, in the folder of the knowledge base."""


TOKENS_FILE = "mcp-tokens.json"
"""The file of sign-ins to foreign servers, in the folder of the knowledge base; its owner alone may read it."""


def opened_servers(
    folder: Path, file: Path, environ: Mapping[str, str] | None = None, *, ask: Ask | None = None
) -> Servers:
    """The servers of an `mcp.json`, with what the knowledge base in `folder` allows of them. Connects none yet.

    `ask` puts to a person what a server asks in the middle of a call.
    """
    from ragagent.tools.mcp_config import Allowances, read_servers
    from ragagent.tools.mcp_tokens import Tokens
    from ragagent.tools.mcp_tools import Servers

    kept = Tokens(folder / TOKENS_FILE)
    return Servers(read_servers(file, environ), Allowances(folder / ALLOWED_FILE), ask=ask, tokens=kept)


def _sandboxed(wanted: bool) -> tuple[Tool, ...]:
    from ragagent.tools.sandbox import run_python

    return (run_python(),) if wanted else ()


def _remembering(kb: KnowledgeBase, wanted: bool | None, setting: bool) -> tuple[Tool, ...]:
    """The tools of the memory. By the setting alone they are left out where nobody is there whose facts they would be:
    of sessions of groups without a user.
    """
    from ragagent.tools.remembering import recall, remember

    nobody = kb.principal is not None and kb.principal.user is None
    if not (setting and not nobody if wanted is None else wanted):
        return ()
    memory = kb.memory
    return remember(memory.keep), recall(memory.search)


class Agent:
    """A loop that searches the knowledge base and calls tools until it can answer a task with citations."""

    def __init__(
        self,
        kb: KnowledgeBase,
        tools: Sequence[Tool] = (),
        *,
        mcp: Servers | Path | None = None,
        policy: Policy | None = None,
        secrets: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        llm: LLM | None = None,
        where: Where | None = None,
        filters: bool = False,
        sandbox: bool | None = None,
        memory: bool | None = None,
    ) -> None:
        """`tools` come in addition to search_documents, read_document, list_documents and calculate, and where there
        are spreadsheets or CSV files, list_tables and query_tables.

        `mcp` adds the tools of foreign servers that the user has allowed (`agent.servers.allow`): an `mcp.json`, or
        servers that stay the caller's to close. `policy` says what calls may do (`ragagent.agent.policy`); by default a
        human is asked before one that changes something and that untrusted data may have had a hand in. `secrets` are
        values by name for the tools that declare them. Searches find only what `where` lets through; with `filters`
        the model may narrow them further by filters of its own. `sandbox` adds run_python, whatever `agent.sandbox`
        says; raises ConfigError where the kernel lacks what confines it (`ragagent.tools.sandbox`). `memory` adds
        remember and recall, whatever `agent.memory` says; raises AccessDenied in a session without a user.
        """
        from ragagent.agent.begun import about
        from ragagent.agent.runner import AgentRunner
        from ragagent.tools import builtin, table_query

        def narrowed(query: str, k: int, narrower: str) -> list[Hit]:
            return kb.search(query, k=k, where=narrower if where is None else both([where, narrower]))

        self._kb = kb
        self._settings = settings or kb.settings
        self._llm = llm or kb.llm
        own: tuple[Tool, ...] = (
            builtin.search_documents(
                lambda query, k: kb.search(query, k=k, where=where),
                k=self._settings.retrieval.k,
                pack=self._packed,
                filtered=narrowed if filters else None,
            ),
            builtin.read_document(kb.document),
            builtin.list_documents(kb.documents),
            builtin.calculate(),
        )
        tables = table_query.Tables(kb.known, kb.document)
        own = (*own, table_query.list_tables(tables), table_query.query_tables(tables)) if tables.any() else own
        own = (*own, *_sandboxed(self._settings.agent.sandbox if sandbox is None else sandbox))
        remembering = _remembering(kb, memory, self._settings.agent.memory)
        own = (*own, *remembering)
        self._own_servers = isinstance(mcp, Path)
        self.servers = opened_servers(kb.path, mcp) if isinstance(mcp, Path) else mcp
        foreign, self.problems = self.servers.tools() if self.servers is not None else ([], [])
        chosen = [*own, *tools, *foreign]

        def opened(
            limits: AgentSettings,
            checkpoints: Path | None,
            delegated: bool = False,
            tools: Sequence[Tool] = chosen,
        ) -> AgentRunner:
            return AgentRunner(
                self._llm,
                tools,
                settings=limits,
                cite=self._cite,
                checkpoints=checkpoints,
                policy=policy,
                secrets=secrets,
                delegated=delegated,
                about=about(where, bool(remembering)),
            )

        self._opened = opened
        # What a principal has read is not kept where another one, or the same one later, could resume it.
        self._runs = kb.path / RUNS_FILE if kb.principal is None else None
        self._runner = opened(self._settings.agent, self._runs)
        self._chosen = chosen
        self._leader: AgentRunner | None = None

    def run(self, task: str, *, run_id: str | None = None, strategy: Strategy | None = None) -> AgentResult:
        """Works on `task` until it is answered, a cap is reached, or a call waits for an approval.

        `strategy` is how it goes about it (docs/agent.md); by default what `agent.strategy` says.
        """
        return self._led(strategy or self._settings.agent.strategy).run(task, run_id=run_id, strategy=strategy)

    def stream(self, task: str, *, run_id: str | None = None, strategy: Strategy | None = None) -> Iterator[AgentEvent]:
        """As `run`, event by event; the last one carries the result."""
        return self._led(strategy or self._settings.agent.strategy).stream(task, run_id=run_id, strategy=strategy)

    def resume(self, run_id: str, decision: Decision | None = None) -> AgentResult:
        """Goes on with a run that was interrupted, or that waits for this `decision` (`result.approval.approve()`)."""
        return self._led(self._runner.strategy(run_id)).resume(run_id, decision)

    def resume_stream(self, run_id: str, decision: Decision | None = None) -> Iterator[AgentEvent]:
        """As `resume`, event by event."""
        return self._led(self._runner.strategy(run_id)).resume_stream(run_id, decision)

    def cancel(self, run_id: str) -> None:
        """Stops a run that another thread is at, the model too; `resume` goes on with it. Returns at once."""
        self._led(self._runner.strategy(run_id)).cancel(run_id)

    def _led(self, strategy: Strategy) -> AgentRunner:
        """The runner of that strategy: who leads a team has its members for tools."""
        if strategy != "team":
            return self._runner
        if self._leader is None:
            from ragagent.app.team import members

            tools = members(
                lambda limits, tools: self._opened(limits, None, True, tools), self._chosen, self._settings.agent
            )
            self._leader = self._opened(self._settings.agent, self._runs, False, tools)
        return self._leader

    def as_tool(self, name: str, description: str, *, max_calls: int | None = None) -> AgentTool:
        """This agent as a tool that another one can call with a task; it stays this one's to close.

        Its effects are those of all tools that this agent may call, so the other one's policy decides on the call. It
        works within its own caps and what is left of the other's, which its tokens and calls count for, and nobody is
        asked inside it: what would need an approval is denied.
        """
        from ragagent.agent.delegate import AgentTool

        return AgentTool(
            lambda limits: self._opened(limits, None, True),
            self._settings.agent,
            name=name,
            description=description,
            effects=self._runner.effects,
            max_calls=max_calls,
        )

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools that it has, as they are described to the model."""
        return self._runner.specs

    @property
    def graph(self) -> Any:
        """The agent as a compiled LangGraph graph, to be a node of another: `task` in, `answer` and `result` out.

        Where a call has to be approved the graph around it is interrupted (`ragagent.agent.graph.nested`).
        """
        from ragagent.agent.graph import nested

        return nested(self._led(self._settings.agent.strategy).follow)

    def close(self) -> None:
        """Closes the checkpoints, and the servers of an `mcp.json`; the knowledge base and its models stay open."""
        for runner in filter(None, (self._runner, self._leader)):
            runner.close()
        if self.servers is not None and self._own_servers:
            self.servers.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _packed(self, query: str, hits: Sequence[Hit]) -> Sequence[Passage]:
        """The sentences of `hits` that a step is shown."""
        from ragagent.retrieve import pack

        shown = replace(
            self._settings.answer,
            sentences=self._settings.agent.sentences,
            evidence_tokens=self._settings.agent.observation_tokens,
        )
        evidence = pack.pack(
            query, hits, document=self._kb.document, count_tokens=self._llm.count_tokens, settings=shown
        )
        return evidence.passages

    def _cite(self, task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
        from ragagent.answer import compose
        from ragagent.retrieve import pack

        evidence = pack.pack(
            f"{task}\n{text}",
            hits,
            document=self._kb.document,
            count_tokens=self._llm.count_tokens,
            settings=self._settings.answer,
        )
        return compose.cite(
            task,
            text,
            evidence,
            self._llm,
            document=self._kb.document,
            settings=self._settings.answer,
            computed=tuple(computed),
        )
