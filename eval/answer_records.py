"""The record of each question of an answers run, and the file they are appended to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ragagent.errors import ConfigError
from ragagent.eval.about import About
from ragagent.eval.statistics import Interval
from ragagent.jsonable import jsonable
from ragagent.types import Span, digest

MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationRecord:
    """A citation as it was shown (`verified`) and as it was found to be (`exact`)."""

    quote: str
    document_id: str
    span: Span | None
    page: int | None
    verified: bool
    exact: bool
    contains_gold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRecord:
    """One question, what was answered, what that is worth and what it cost. `status` failed: there was no answer.

    `signals` is what its confidence is made of (`ragagent.types.Signals`), empty for an answer without.
    """

    id: str
    question: str
    golds: tuple[str, ...]
    impossible: bool
    answer: str
    status: str
    confidence: float
    reason: str
    refused: bool
    citations: tuple[CitationRecord, ...]
    scores: Mapping[str, float]
    seconds: float
    prompt_tokens: int = 0
    reused_tokens: int = 0
    completion_tokens: int = 0
    row: str = ""
    signals: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersRun:
    """A run: each figure with its 95 % interval, and the record of every question in the order asked."""

    about: About
    figures: Mapping[str, Mapping[str, Interval | None]]
    records: tuple[QuestionRecord, ...]
    kind: str = "answers"


class Records:
    """Records that survive a kill: a file whose first line says which run it is of, then one record a line.

    Without a path nothing is kept. A last line that a kill cut off is dropped. Raises ConfigError when the file is
    of another run or is no such file at all.
    """

    def __init__(self, path: Path | None, about: About) -> None:
        self._path = path
        self._mark = mark(about)
        self._known: dict[str, QuestionRecord] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Records:
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a+b")
            except OSError as error:
                raise ConfigError(f"{self._path}: records cannot be kept there: {error.strerror}") from error
            try:
                self._take_over(self._path, self._file)
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def found(self, question_id: str) -> QuestionRecord | None:
        """The record of an earlier run, or None."""
        return self._known.get(question_id)

    def recorded(self, question_id: str, ask: Callable[[], QuestionRecord]) -> QuestionRecord:
        """The record of an earlier run, or else what `ask` returns, which is on the disk when this returns."""
        record = self.found(question_id)
        if record is None:
            record = ask()
            self.append(record)
        return record

    def append(self, record: QuestionRecord) -> None:
        """Keeps `record`; it is on the disk when this returns."""
        if self._file is not None:
            self._write(jsonable(record))

    def _take_over(self, path: Path, file: BinaryIO) -> None:
        """Reads what is there, cuts off a torn last line, and writes the first line if there is none."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{path}: another run is writing its records there; name another file") from error
        end = self._read(path, file)
        file.truncate(end)
        if not end:
            self._write({"run": self._mark})

    def _write(self, value: Any) -> None:
        assert self._file is not None
        self._file.write(_line(value))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path, file: BinaryIO) -> int:
        """Takes in the records of `file` and returns where its last whole line ends."""
        end = 0
        file.seek(0)
        for number, line in enumerate(iter(lambda: file.readline(MAX_RECORD_BYTES), b""), start=1):
            if not line.endswith(b"\n"):
                if number == 1 and not _line({"run": self._mark}).startswith(line):
                    raise ConfigError(f"{path}: holds something else than records of answers; name another file")
                break
            self._take(path, number, line)
            end += len(line)
        return end

    def _take(self, path: Path, number: int, line: bytes) -> None:
        try:
            values = json.loads(line.decode("utf-8", "surrogatepass"))
            if number > 1:
                record = _record(values)
                self._known[record.id] = record
                return
            made_by = values["run"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{path}, line {number}: no record of an answers run ({error}); name another file"
            ) from error
        if made_by != self._mark:
            raise ConfigError(
                f"{path}: holds the records of another run ({_differences(made_by, self._mark)}); "
                "name another file, or remove this one to start anew"
            )


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def mark(about: About) -> dict[str, str]:
    """What must be the same for records to belong together; the number of questions and the machine may differ."""
    return {
        "data": about.data,
        "ragagent": str(about.environment.get("ragagent")),
        "models": json.dumps(dict(about.models), sort_keys=True),
        "settings": digest(json.dumps(jsonable(about.settings), sort_keys=True)),
    }


def _differences(one: Any, other: Mapping[str, str]) -> str:
    if not isinstance(one, dict):
        return "no run"
    return ", ".join(key for key in other if one.get(key) != other[key]) + " differ"


def _record(values: Any) -> QuestionRecord:
    known = {item.name for item in fields(QuestionRecord)}
    row = {key: value for key, value in values.items() if key in known}
    row["golds"] = tuple(row["golds"])
    row["citations"] = tuple(_citations(row["citations"]))
    return QuestionRecord(**row)


def _citations(rows: Iterable[Mapping[str, Any]]) -> Iterable[CitationRecord]:
    for row in rows:
        span = Span(*row["span"]) if row["span"] is not None else None
        yield CitationRecord(**{**row, "span": span})
