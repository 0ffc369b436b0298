"""What runs have done, in SQLite: each side effect once, each approval once, and a log that only grows.

Before a call that changes something its intent is on disk, after it what came of it. A call whose intent is there and
whose outcome is not may have taken effect or not: nobody can know, so it is never made again unasked.

The log is a chain: each entry carries a hash over itself and the entry before. A row that is changed, left out or put
in breaks it (`check`); what is cut off at the end cannot be seen from the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragagent.agent.policy import call_digest
from ragagent.errors import AgentError
from ragagent.jsonable import canonical
from ragagent.types import Approval, Decision, ToolCall

_SCHEMA = """
CREATE TABLE IF NOT EXISTS effects(
  run_id TEXT, step INTEGER, digest TEXT, attempt INTEGER, tool TEXT, arguments TEXT, approval TEXT,
  intended_at REAL, done_at REAL, outcome TEXT, PRIMARY KEY(run_id, step, digest, attempt)) STRICT;
CREATE TABLE IF NOT EXISTS approvals(
  id TEXT PRIMARY KEY, run_id TEXT, step INTEGER, digest TEXT, expires_at REAL,
  approved INTEGER, decided_by TEXT, decided_at REAL, used_at REAL) STRICT;
CREATE TABLE IF NOT EXISTS log(
  number INTEGER PRIMARY KEY, run_id TEXT, step INTEGER, at REAL, kind TEXT, body TEXT, hash TEXT) STRICT;
CREATE INDEX IF NOT EXISTS log_of_run ON log(run_id, number);
CREATE TRIGGER IF NOT EXISTS log_is_kept BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER IF NOT EXISTS log_is_fixed BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
"""
_FIRST = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is known of a call before it is made.

    `new`: it was not made before, and now counts as begun. `done`: it was, and `outcome` came of it. `unknown`: it was
    begun, and nobody knows more.
    """

    kind: Literal["new", "done", "unknown"]
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the log."""

    number: int
    run_id: str
    step: int
    at: float
    kind: str
    body: Mapping[str, Any]


class Journal:
    """The tables in a SQLite file, opened when first used; in memory where there is none. Safe for several threads."""

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def intend(
        self, run_id: str, step: int, call: ToolCall, *, approval: str = "", again: bool = False, harmless: bool = False
    ) -> Intent:
        """Notes that `call` is about to be made, unless it was begun before.

        One that was begun may be made `again` under an approval of its own, or when a repetition is `harmless`. An
        approval is used up by the same commit. Raises AgentError for one that was not given for this call.
        """
        digest = call_digest(call)
        with self._writing() as connection:
            last = connection.execute(
                "SELECT attempt, outcome FROM effects WHERE run_id=? AND step=? AND digest=? ORDER BY attempt DESC",
                (run_id, step, digest),
            ).fetchone()
            if last is not None and last[1] is not None:
                return Intent(kind="done", outcome=json.loads(last[1]))
            repeated = last is not None and harmless
            if last is not None and not repeated and not (again and _unused(connection, approval)):
                return Intent(kind="unknown")
            if approval and not repeated:
                self._use(connection, approval, run_id, step, digest)
            number = last[0] + 1 if last is not None else 0
            body = {"call": call.name, "digest": digest, "attempt": number, "approval": approval}
            connection.execute(
                "INSERT INTO effects VALUES(?,?,?,?,?,?,?,?,NULL,NULL)",
                (run_id, step, digest, number, call.name, canonical(dict(call.arguments)), approval, self._clock()),
            )
            self._append(connection, run_id, step, "intent", body)
        return Intent(kind="new")

    def done(self, run_id: str, step: int, call: ToolCall, outcome: Mapping[str, Any]) -> None:
        """Notes what came of the call that was begun last."""
        key = (run_id, step, call_digest(call))
        with self._writing() as connection:
            connection.execute(
                "UPDATE effects SET done_at=?, outcome=? WHERE run_id=? AND step=? AND digest=? AND attempt="
                "(SELECT max(attempt) FROM effects WHERE run_id=? AND step=? AND digest=?)",
                (self._clock(), canonical(outcome), *key, *key),
            )

    def asked(self, approval: Approval) -> None:
        """Notes an approval that is asked for."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO approvals(id, run_id, step, digest, expires_at) VALUES(?,?,?,?,?)",
                (approval.id, approval.run_id, approval.step, approval.digest, approval.expires_at),
            )

    def decided(self, decision: Decision) -> None:
        """Notes a decision; the first one counts. Raises AgentError when the other one was made before."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE approvals SET approved=?, decided_by=?, decided_at=? WHERE id=? AND approved IS NULL",
                (int(decision.approved), decision.by, self._clock(), decision.approval_id),
            )
            row = connection.execute("SELECT approved FROM approvals WHERE id=?", (decision.approval_id,)).fetchone()
            if row is None or bool(row[0]) != decision.approved:
                raise AgentError(f"the approval {decision.approval_id!r} was decided otherwise, or never asked for")

    def log(self, run_id: str, step: int, kind: str, body: Mapping[str, Any]) -> None:
        """Adds an entry to the end of the log."""
        with self._writing() as connection:
            self._append(connection, run_id, step, kind, body)

    def entries(self, run_id: str | None = None) -> Iterator[Entry]:
        """The log of a run, or all of it, in the order it was written."""
        query = "SELECT number, run_id, step, at, kind, body FROM log WHERE ? IS NULL OR run_id=? ORDER BY number"
        with self._reading() as connection:
            rows = connection.execute(query, (run_id, run_id)).fetchall()
        for number, run, step, at, kind, body in rows:
            yield Entry(number=number, run_id=run, step=step, at=at, kind=kind, body=json.loads(body))

    def runs(self) -> list[str]:
        """The ids of the runs that the log knows, the latest first."""
        with self._reading() as connection:
            rows = connection.execute("SELECT run_id FROM log GROUP BY run_id ORDER BY min(number) DESC").fetchall()
        return [run_id for (run_id,) in rows]

    def check(self) -> str:
        """What is wrong with the chain of the log; "" when nothing is."""
        before, expected = _FIRST, 1
        with self._reading() as connection:
            for number, *fields, found in connection.execute(
                "SELECT number, run_id, step, at, kind, body, hash FROM log ORDER BY number"
            ):
                before = _chained(before, [number, *fields])
                if number != expected or found != before:
                    return f"entry {number} of the log is not what was written, or one before it is gone"
                expected += 1
        return ""

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _use(self, connection: sqlite3.Connection, approval: str, run_id: str, step: int, digest: str) -> None:
        used = connection.execute(
            "UPDATE approvals SET used_at=? WHERE id=? AND run_id=? AND step=? AND digest=? AND approved=1 "
            "AND used_at IS NULL AND decided_at<=expires_at",
            (self._clock(), approval, run_id, step, digest),
        )
        if used.rowcount != 1:
            raise AgentError(f"the approval {approval!r} was not given for this call, has expired, or was used before")

    def _append(
        self, connection: sqlite3.Connection, run_id: str, step: int, kind: str, body: Mapping[str, Any]
    ) -> None:
        last = connection.execute("SELECT number, hash FROM log ORDER BY number DESC LIMIT 1").fetchone() or (0, _FIRST)
        row = [last[0] + 1, run_id, step, self._clock(), kind, canonical(body)]
        connection.execute("INSERT INTO log VALUES(?,?,?,?,?,?,?)", (*row, _chained(last[1], row)))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                self._connection = _opened(self._path)
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise AgentError(f"the journal in {self._path or 'memory'} cannot be used: {error}") from error


def _unused(connection: sqlite3.Connection, approval: str) -> bool:
    row = connection.execute("SELECT used_at FROM approvals WHERE id=?", (approval,)).fetchone()
    return row is not None and row[0] is None


def _chained(before: str, row: list[Any]) -> str:
    return hashlib.sha256(f"{before}{canonical(row)}".encode()).hexdigest()


def _opened(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path if path is not None else ":memory:", check_same_thread=False, timeout=30.0, isolation_level=None
        )
        connection.execute("PRAGMA journal_mode=WAL")
        # An intent that a power failure takes back would let its call be made twice.
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
    except (OSError, sqlite3.Error) as error:
        raise AgentError(f"the journal cannot be kept in {path}: {error}") from error
    return connection
