from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.agent.journal import Journal
from ragagent.agent.policy import call_digest
from ragagent.errors import AgentError
from ragagent.types import Approval, ToolCall

CALL = ToolCall(id="r:0", name="send", arguments={"to": "amy", "text": "hello"})
ASKED = Approval(
    id="a1",
    run_id="r",
    step=0,
    kind="call",
    tool="send",
    arguments=CALL.arguments,
    digest=call_digest(CALL),
    effects=("network",),
    reason="",
    origins=(),
    asked_at=0.0,
    expires_at=100.0,
)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def journal(name: str = "agent.db", at: float = 1.0) -> Journal:
        made.append(Journal(tmp_path / name, clock=lambda: at))
        return made[-1]

    yield journal
    for one in made:
        one.close()


def test_a_call_is_new_once_then_unknown_until_its_outcome_is_there(opened: Callable[..., Journal]) -> None:
    assert opened().intend("r", 0, CALL).kind == "new"
    assert opened().intend("r", 0, CALL).kind == "unknown"
    assert opened().intend("r", 0, CALL, again=True).kind == "unknown"  # nobody has approved that
    assert opened().intend("r", 1, CALL).kind == "new"
    assert opened().intend("other", 0, CALL).kind == "new"
    assert opened().intend("r", 0, replace(CALL, arguments={})).kind == "new"
    opened().done("r", 0, CALL, {"said": "ok"})
    found = opened().intend("r", 0, replace(CALL, arguments=dict(reversed(CALL.arguments.items()))))
    assert (found.kind, found.outcome) == ("done", {"said": "ok"})


def test_a_call_that_does_no_harm_twice_is_new_again_until_it_is_done(opened: Callable[..., Journal]) -> None:
    journal = opened()
    assert [journal.intend("r", 0, CALL, harmless=True).kind for _ in range(3)] == ["new"] * 3
    journal.done("r", 0, CALL, {})
    assert journal.intend("r", 0, CALL, harmless=True).kind == "done"


def test_an_approval_is_for_one_call_once(opened: Callable[..., Journal]) -> None:
    journal = opened()
    journal.asked(ASKED)
    with pytest.raises(AgentError, match="not given for this call"):
        journal.intend("r", 0, CALL, approval="a1")
    journal.decided(ASKED.approve())
    for run_id, step, call in [("other", 0, CALL), ("r", 1, CALL), ("r", 0, replace(CALL, arguments={"to": "eve"}))]:
        with pytest.raises(AgentError, match="not given for this call"):
            journal.intend(run_id, step, call, approval="a1")
    assert journal.intend("r", 0, CALL, approval="a1").kind == "new"
    assert journal.intend("r", 0, CALL, approval="a1").kind == "unknown"
    assert journal.intend("r", 0, CALL, approval="a1", again=True).kind == "unknown"
    journal.asked(replace(ASKED, id="a2", kind="unknown"))
    journal.decided(replace(ASKED, id="a2").approve())
    assert journal.intend("r", 0, CALL, approval="a2", again=True).kind == "new"
    assert journal.intend("r", 0, CALL, approval="a2", again=True).kind == "unknown"


def test_a_denied_or_late_approval_lets_nothing_through(opened: Callable[..., Journal]) -> None:
    journal = opened()
    journal.asked(ASKED)
    journal.decided(ASKED.deny())
    with pytest.raises(AgentError, match="decided otherwise"):
        journal.decided(ASKED.approve())
    with pytest.raises(AgentError, match="not given"):
        journal.intend("r", 0, CALL, approval="a1")
    late = opened("late.db", at=101.0)
    late.asked(ASKED)
    late.decided(ASKED.approve())
    with pytest.raises(AgentError, match="expired"):
        late.intend("r", 0, CALL, approval="a1")
    with pytest.raises(AgentError, match="never asked for"):
        late.decided(replace(ASKED, id="a9").approve())


changes = st.sampled_from(
    [
        "UPDATE log SET body=? WHERE number=2",
        "UPDATE log SET kind=? WHERE number=1",
        "UPDATE log SET run_id=? WHERE number=3",
        "UPDATE log SET hash=? WHERE number=4",
        "DELETE FROM log WHERE number=1 AND ?<>'x'",
        "DELETE FROM log WHERE number=3 AND ?<>'x'",
        "INSERT INTO log VALUES(0, ?, 0, 0, '', '{}', '')",
    ]
)


@given(change=changes, text=st.text(min_size=1, max_size=3).filter(lambda text: text != "x" and text.isprintable()))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_that_was_changed_in_the_middle_does_not_check(change: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / f"log-{len(list(tmp_path.iterdir()))}.db"
    journal = Journal(file)
    for number in range(4):
        journal.log("r", number, "step", {"number": number})
    assert journal.check() == ""
    journal.close()
    with sqlite3.connect(file) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            connection.execute("UPDATE log SET kind='other'")
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            connection.execute("DELETE FROM log")
        connection.execute("DROP TRIGGER log_is_kept")
        connection.execute("DROP TRIGGER log_is_fixed")
        connection.execute(change, (text,))
    connection.close()
    journal = Journal(file)
    assert "of the log" in journal.check()
    journal.close()


def test_two_processes_add_to_one_chain(opened: Callable[..., Journal]) -> None:
    one, other = opened(), opened()
    for number in range(10):
        (one if number % 2 else other).log("r" if number < 5 else "s", number, "step", {"number": number})
    assert one.check() == other.check() == ""
    assert [entry.step for entry in one.entries("r")] == [0, 1, 2, 3, 4]
    assert one.runs() == ["s", "r"]


def test_a_file_that_is_no_journal_says_so(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_text("not a database, but long enough to be looked at as one " * 9)
    with pytest.raises(AgentError, match="cannot be"):
        Journal(tmp_path / "agent.db").runs()
