"""The turn of an agent as a LangGraph StateGraph, with checkpoints in SQLite. The only importer of langgraph."""

from __future__ import annotations

import contextvars
import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Protocol, TypedDict

from ragagent.agent.state import AgentState, from_json, to_json
from ragagent.errors import AgentError
from ragagent.jsonable import jsonable
from ragagent.types import AgentEvent, AgentResult, Decision, ToolProgress, digest

Node = Literal["decide", "check", "authorise", "approve", "act", "advance"]
Move = Callable[[AgentState], AgentState]


class Channels(TypedDict):
    """What a checkpoint holds: the state as JSON text."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """The parts of a turn, each from a state to the next; `settle` takes the human's decision as well."""

    decide: Move
    check: Move
    authorise: Move
    settle: Callable[[AgentState, Mapping[str, Any]], AgentState]
    act: Move
    advance: Move


def compiled(moves: Moves, checkpointer: Any = None) -> Any:
    """The graph decide -> check -> authorise -> act -> advance -> decide ..., which ends when the state is `stopped`.

    Where a human is to be asked it is interrupted in the node `approve`, and goes on there with the decision.
    """
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(Channels)
    for name in ("decide", "check", "authorise", "act", "advance"):
        graph.add_node(name, _node(getattr(moves, name)))  # type: ignore[call-overload]  # its stubs want a literal
    graph.add_node("approve", _asking(moves.settle))  # type: ignore[call-overload]
    graph.add_edge(START, "decide")
    graph.add_conditional_edges("decide", _route(lambda state: "check"), ["check", END])
    graph.add_conditional_edges("check", _route(_after_check), ["authorise", "advance", END])
    for name in ("authorise", "approve"):
        graph.add_conditional_edges(name, _route(_after_question), ["approve", "act", "advance", END])
    graph.add_conditional_edges("act", _route(_after_act), ["approve", "advance", END])
    graph.add_conditional_edges("advance", _route(lambda state: "decide"), ["decide", END])
    return graph.compile(checkpointer=checkpointer)


def _node(move: Move) -> Callable[[Channels], Channels]:
    def node(channels: Channels) -> Channels:
        return {"state": to_json(move(from_json(channels["state"])))}

    return node


def _asking(settle: Callable[[AgentState, Mapping[str, Any]], AgentState]) -> Callable[[Channels], Channels]:
    def approve(channels: Channels) -> Channels:
        from langgraph.types import interrupt

        # Runs from its top again when the decision is there: nothing may happen before it.
        decision = interrupt("approval")
        return {"state": to_json(settle(from_json(channels["state"]), decision))}

    return approve


def _route(following: Callable[[AgentState], str]) -> Callable[[Channels], str]:
    def route(channels: Channels) -> str:
        state = from_json(channels["state"])
        return "__end__" if state.stopped else following(state)

    return route


def _after_check(state: AgentState) -> str:
    return "authorise" if state.call and not state.observation and not state.answer else "advance"


def _after_question(state: AgentState) -> str:
    if state.observation is not None:
        return "advance"
    return "approve" if state.waiting else "act"


def _after_act(state: AgentState) -> str:
    return "approve" if state.waiting else "advance"


def walk(
    graph: Any, state: AgentState | None, run_id: str, max_steps: int, decision: Mapping[str, Any] | None = None
) -> Iterator[tuple[Node, AgentState] | ToolProgress]:
    """Each node's name and the state it left, in order; `state` None goes on from the run's last checkpoint.

    Between them comes what is told of a call under way, when it is told.

    Each node's state is on disk before the next node starts. Where a human has to decide the walk ends; it goes on
    when it is begun again with the `decision`.
    """
    from langgraph.types import Command

    config = {"configurable": {"thread_id": run_id}, "recursion_limit": 8 * max_steps + 16}
    start: Any = None if state is None else {"state": to_json(state)}
    if decision is not None:
        start = Command(resume=dict(decision))
    durability = "sync" if graph.checkpointer is not None else None
    for mode, update in graph.stream(start, config, stream_mode=["updates", "custom"], durability=durability):
        if mode == "custom":
            yield ToolProgress(**update)
            continue
        for name, channels in update.items():
            # Beside the nodes: the interrupt, and a word on writes that were on disk already when a process was killed.
            if not name.startswith("__"):
                yield name, from_json(channels["state"])


def telling() -> Callable[[ToolProgress], None]:
    """What hands on to whoever follows the graph how far a call is, from any thread. To be called inside a node."""
    from langgraph.config import get_stream_writer

    # The writer looks for its node in the context, which other threads do not have.
    write, here = get_stream_writer(), contextvars.copy_context()
    return lambda progress: here.copy().run(write, jsonable(progress))


def prune(graph: Any, run_id: str) -> None:
    """Drops all checkpoints of a run but the last one: each holds the whole state, and nothing goes back to them."""
    if graph.checkpointer is not None:
        graph.checkpointer.prune([run_id])


def stored(graph: Any, run_id: str) -> AgentState | None:
    """The state of the run's last checkpoint, if it has one."""
    values = graph.get_state({"configurable": {"thread_id": run_id}}).values
    return from_json(values["state"]) if values else None


class Checkpoints:
    """A SQLite file of checkpoints, opened when first used. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._saver: Any = None
        self._lock = threading.Lock()

    def saver(self) -> Any:
        """LangGraph's saver on the file. Raises AgentError when the file cannot be used."""
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

        with self._lock:
            if self._connection is None:
                self._connection = _connected(self._path)
                # None here is strict: only msgpack's own types are read back, whatever is written in the file.
                strict = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
                self._saver = _saver_class()(self._connection, serde=strict)
            return self._saver

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._saver = None


@functools.cache
def _saver_class() -> Any:
    """LangGraph's saver in SQLite, which can be pruned as well; made when it is used, to load langgraph then."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    class Saver(SqliteSaver):
        def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
            """Keeps the latest checkpoint of each namespace of these threads; with `delete` none at all."""
            with self.cursor() as cursor:
                for thread in thread_ids:
                    for table in ("checkpoints", "writes"):
                        cursor.execute(_PRUNE[strategy].format(table), (thread,))

    return Saver


# Ids of checkpoints grow with time. The writes of a checkpoint go with it.
_PRUNE = {
    "keep_latest": """DELETE FROM {0} AS one WHERE thread_id = ? AND checkpoint_id < (
        SELECT max(checkpoint_id) FROM checkpoints AS other
        WHERE other.thread_id = one.thread_id AND other.checkpoint_ns = one.checkpoint_ns)""",
    "delete": "DELETE FROM {0} WHERE thread_id = ?",
}


def _connected(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False, timeout=30.0)
        connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise AgentError(f"checkpoints cannot be kept in {path}: {error}") from error
    return connection


class Nested(TypedDict, total=False):
    """What an agent shares with a graph that it is a part of: a task in, an answer out, with all that led to it."""

    task: str
    answer: str
    result: dict[str, Any]


class Follows(Protocol):
    """Begins the run of that id, or goes on with it where it was begun."""

    def __call__(self, task: str, run_id: str, decision: Decision | None) -> Iterator[AgentEvent]: ...


def nested(follow: Follows) -> Any:
    """A compiled graph of one node, `agent`, that can be a node of another graph (`Nested`).

    Where a human has to decide, the graph is interrupted with the approval as JSON, and goes on with the decision as
    JSON (`jsonable(approval.approve())`). Without a checkpointer around it nothing can be interrupted: then the result
    says what it waits for. Events come as JSON in the stream mode `custom`.
    """
    from langgraph.config import get_config
    from langgraph.graph import END, START, StateGraph

    def agent(channels: Nested) -> Nested:
        place = get_config().get("configurable", {})
        thread = place.get("thread_id")
        # The same for each time that this very node is run again, and another one for the next time round.
        run_id = digest(str(thread), str(place.get("checkpoint_ns", ""))) if thread is not None else token_hex(8)
        result = _followed(follow, channels["task"], run_id, waits=thread is not None)
        return {"answer": result.answer.text, "result": jsonable(result)}

    graph = StateGraph(Nested)
    graph.add_node("agent", agent)  # type: ignore[call-overload]  # its stubs do not see that all keys may be left out
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    return graph.compile()


def _followed(follow: Follows, task: str, run_id: str, *, waits: bool) -> AgentResult:
    from langgraph.config import get_stream_writer
    from langgraph.types import interrupt

    write = get_stream_writer()

    def last(decision: Decision | None) -> AgentResult:
        found = None
        for event in follow(task, run_id, decision):
            if event.result is None:
                write(jsonable(event))
            found = event.result
        if found is None:
            raise AgentError("the run ended without a result")
        return found

    result = last(None)
    while waits and result.approval is not None:
        # The node is run from its top for each decision: those on earlier questions come again, and are passed over.
        given = Decision(**interrupt(jsonable(result.approval)))
        if given.approval_id == result.approval.id:
            result = last(given)
    return result
