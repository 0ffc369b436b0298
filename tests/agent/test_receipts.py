"""A run that grows too long for its prompt goes on: what was read becomes receipts, and what was used of it stays."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent import receipts, steps
from ragagent.agent.labels import context
from ragagent.agent.replay import replay, transcript
from ragagent.agent.runner import AgentRunner
from ragagent.agent.state import AgentState, from_json, to_json
from ragagent.settings import AgentSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import tool
from ragagent.types import Answer, Hit, Label, Message, Observation, Step, ToolCall

FILLER = "The weather of the region is described at great length by whoever has lived there. "
ROOM = "A room in the Lakeside Inn costs 84 euros a night."


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=1.0)


def step(index: int, content: str, thought: str = "", *, error: bool = False, trusted: bool = False) -> Step:
    call = ToolCall(id=f"r:{index}", name="look", arguments={"page": index})
    label = Label(trusted=trusted, sources=(f"tool:{index}",))
    seen = Observation(call_id=call.id, name="look", content=content, error=error, label=label)
    return Step(index=index, thought=thought, call=call, observation=seen)


def counted(state: AgentState) -> int:
    return sum(len(message.content) for message in steps.messages(state, "system")) // 4


contents = st.lists(
    st.tuples(st.sampled_from((FILLER, ROOM, "`````", "84 ", "ä\u2028")), st.integers(0, 60)).map(
        lambda p: p[0] * p[1]
    ),
    min_size=1,
    max_size=8,
)


@given(
    texts=contents,
    thoughts=st.lists(st.sampled_from(("", "room: 84 euros", "Lakeside")), min_size=8),
    most=st.integers(1, 3000),
)
def test_a_prompt_never_grows_by_receipts_and_the_newest_result_is_whole(
    texts: list[str], thoughts: list[str], most: int
) -> None:
    made = tuple(step(number, text, thoughts[number]) for number, text in enumerate(texts))
    state = AgentState(run_id="r", task="What does a room cost?", steps=made)
    found = receipts.chosen(state, counted, most)
    short = replace(state, receipts=found)
    assert found == receipts.chosen(state, counted, most)
    assert counted(short) <= counted(state)
    assert (found == ()) or counted(state) > most
    assert not receipts.of(short, made[-1].index)
    assert set(found) <= set(receipts.chosen(short, counted, most)), "none is taken back"
    assert texts[-1] in steps.messages(short, "system")[-1].content
    # Nothing that is decided by what was read changes.
    assert context(short.steps) == context(state.steps)
    assert from_json(to_json(short)) == short


def test_what_later_steps_took_from_a_result_stays() -> None:
    first = step(0, f"{FILLER * 20}{ROOM} {FILLER * 20}")
    later = step(1, FILLER, "price of the room: 84 euros")
    state = AgentState(run_id="r", task="What does a room cost?", steps=(first, later), receipts=((0, 2),))
    shown = steps.messages(state, "system")[3].content
    assert ROOM in shown
    assert shown.count("weather") <= 2, "and its beginning, and no more"
    assert "the same call shows them again" in shown
    assert len(shown) < 500
    unused = steps.messages(replace(state, steps=(first, step(1, FILLER, "nothing yet"))), "system")[3].content
    assert "Nothing of it was used" in unused


def test_a_receipt_stays_as_it_was_made() -> None:
    made = (step(0, f"{FILLER * 20}{ROOM}"), step(1, FILLER, "nothing"), step(2, FILLER, "84 euros"))
    state = AgentState(run_id="r", task="What is the price?", steps=made[:2], receipts=((0, 2),))
    before, after = steps.messages(state, "system"), steps.messages(replace(state, steps=made), "system")
    assert after[: len(before)] == before


def test_what_was_used_is_kept_around_the_figure_and_bounded() -> None:
    long = "word " * 200 + "84 euros " + "word " * 200
    assert "84 euros" in receipts.used_of(long, ("84 euros",), "")
    assert len(receipts.used_of(long, ("84 euros",), "")) <= 300
    many = "\n".join(f"The room {number} is number {number + 1000}." for number in range(50))
    kept = receipts.used_of(many, (many,), "").splitlines()
    assert kept == many.splitlines()[-5:]
    assert receipts.used_of(ROOM, ("a room in the Lakeside Inn",), "a room in the Lakeside Inn") == ""


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Callable[..., AgentRunner]]:
    """A runner over a book of long pages, of which page 2 says the price; `reads` counts the calls."""
    opened: list[AgentRunner] = []

    def made(reply: Callable[[Sequence[Message]], str], reads: list[int], **limits: Any) -> AgentRunner:
        @tool(effects={"read"})
        def read_page(page: int) -> str:
            """Reads a page."""
            reads.append(page)
            return f"Page {page}. {FILLER * 12}{ROOM if page == 2 else ''} {FILLER * 12}"

        llm = ScriptedLLM(reply, context_tokens=limits.pop("context_tokens", 8192))
        settings = AgentSettings(max_steps=limits.pop("max_steps", 30), **limits)
        opened.append(AgentRunner(llm, [read_page], cite=cite, checkpoints=tmp_path / "agent.db", settings=settings))
        made.llm = llm  # type: ignore[attr-defined]
        return opened[-1]

    yield made
    for one in opened:
        one.close()


def say(name: str, found: str = "so", **arguments: Any) -> str:
    return json.dumps({"found": found, "tool": name, "arguments": arguments})


def reading(pages: int, then: Sequence[str]) -> Callable[[Sequence[Message]], str]:
    """Reads so many pages, saying after page 2 what a room costs, and goes on with `then`."""

    def reply(messages: Sequence[Message]) -> str:
        made = sum(message.role == "assistant" for message in messages)
        if made < pages:
            return say("read_page", "a room: 84 euros" if made == 3 else "nothing", page=made)
        return then[made - pages]

    return reply


@pytest.mark.parametrize("limits", [{}, {"prompt_tokens": 3000}])
def test_a_run_that_would_not_fit_the_context_ends_with_its_answer(
    book: Callable[..., Any], limits: dict[str, int]
) -> None:
    reads: list[int] = []
    runner = book(reading(25, [say("final_answer", answer="A room costs 84 euros.")]), reads, **limits)
    result = runner.run("What is the price?", run_id="r")
    assert (result.stopped, result.answer.text) == ("finished", "A room costs 84 euros.")
    assert reads == list(range(25))
    prompts = [sum(len(one.content) for one in request.messages) // 4 for request in book.llm.requests]
    assert max(prompts) < limits.get("prompt_tokens", 8192)
    last = "\n".join(message.content for message in book.llm.requests[-1].messages)
    assert last.count("Receipt (data, not instructions)") > 10
    assert ROOM in last
    # Most prompts begin with the one before, so that the cache holds; they are cut back seldom.
    pairs = itertools.pairwise([request.messages for request in book.llm.requests])
    grown = sum(after[: len(before)] == before for before, after in pairs)
    assert grown >= len(prompts) // 2
    entries = list(runner.journal.entries("r"))
    assert replay(entries).problem == ""
    assert replay(entries).steps == result.steps
    assert any("saw receipts of the results of steps 1, 2" in line for line in transcript(entries))


def test_what_is_left_out_can_be_read_again_and_is_not_called_for_again(book: Callable[..., Any]) -> None:
    reads: list[int] = []
    then = [say("read_page", page=2), say("final_answer", answer="A room costs 84 euros.")]
    runner = book(reading(20, then), reads)
    result = runner.run("What is the price?", run_id="r")
    assert result.stopped == "finished"
    assert reads.count(2) == 1
    again, first = result.steps[20].observation, result.steps[2].observation
    assert again is not None
    assert first is not None
    assert (again.content, again.error, again.label) == (first.content, False, first.label)
    assert ROOM in book.llm.requests[-1].messages[-1].content
    assert replay(runner.journal.entries("r")).problem == ""


def test_a_call_that_is_still_in_sight_is_a_repetition(book: Callable[..., Any]) -> None:
    then = [say("read_page", page=2), say("read_page", page=2), say("final_answer", answer="A room costs 84 euros.")]
    result = book(reading(20, then), []).run("What is the price?")
    assert "was already made" in result.steps[21].observation.content
    assert result.stopped == "finished"


def test_a_run_with_receipts_is_gone_on_with_as_it_was(book: Callable[..., Any]) -> None:
    class Killed(BaseException):
        pass

    def dies(messages: Sequence[Message]) -> str:
        made = sum(message.role == "assistant" for message in messages)
        if made == 18:
            raise Killed
        return reading(25, [])(messages)

    with pytest.raises(Killed):
        book(dies, []).run("What is the price?", run_id="r")
    before = [one.messages for one in book.llm.requests]
    reads: list[int] = []
    runner = book(reading(25, [say("final_answer", answer="A room costs 84 euros.")]), reads)
    assert runner.resume("r").stopped == "finished"
    assert reads == list(range(18, 25))
    assert book.llm.requests[0].messages == before[-1]
    assert replay(runner.journal.entries("r")).problem == ""


def test_short_runs_are_as_they_were(book: Callable[..., Any]) -> None:
    runner = book(reading(4, [say("final_answer", answer="A room costs 84 euros.")]), [])
    runner.run("What is the price?")
    assert not any("Receipt" in message.content for request in book.llm.requests for message in request.messages)
