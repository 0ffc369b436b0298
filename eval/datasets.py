"""Evaluation sets on disk: folders of JSON lines, read line by line and checked while they are read.

    retrieval set   documents.jsonl {id, title, text, ...}, queries.jsonl {id, text}, qrels.jsonl {qid, docid, score}
    question set    documents.jsonl (or docs/, a folder of files; or neither), qa.jsonl {id, question, answers,
                    is_impossible?, doc_ids?, excerpts?}
    file set        manifest.jsonl {path, kind, expect, ...}

A malformed line is a ConfigError that names the file and the line. Only documents are never held together in
memory; their number and every line's length are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ragagent.errors import ConfigError
from ragagent.types import Document, Scalar, Span

MAX_LINE_CHARS = 64 * 1024 * 1024
MAX_LINES = 20_000_000
DOCUMENTS = "documents.jsonl"
FOLDER = "docs"

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of a retrieval set."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A stretch of a document that answers a question: `document.text[span.start:span.end] == text`."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its gold answers, any of which is right. `impossible`: the documents do not tell."""

    id: str
    text: str
    answers: tuple[str, ...] = ()
    impossible: bool = False
    document_ids: tuple[str, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCase:
    """A file of a file set and what should become of it: `expect` is ok, empty, encrypted, malformed, ..."""

    path: Path
    kind: str
    expect: str
    expected_text: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)


Qrels = Mapping[str, Mapping[str, int]]
"""For each query id the gain of each judged document id; 0 is judged and not relevant, absent is not judged."""


def documents(folder: Path) -> Iterator[Document]:
    """The documents of documents.jsonl, in its order; ids are the set's own. Raises ConfigError as it goes."""
    seen: set[str] = set()
    for item in _records(folder / DOCUMENTS, _document):
        if item.id in seen:
            raise ConfigError(f"{folder / DOCUMENTS}: the document id {item.id!r} occurs twice")
        seen.add(item.id)
        yield item


def source(folder: Path) -> Iterator[Document] | Path | None:
    """What a knowledge base ingests for this set: records, a folder of files, or None for a set without documents."""
    if (folder / DOCUMENTS).is_file():
        return documents(folder)
    return folder / FOLDER if (folder / FOLDER).is_dir() else None


def queries(folder: Path) -> list[Query]:
    """The queries of a retrieval set in file order."""
    return _unique(folder / "queries.jsonl", _query)


def qrels(folder: Path) -> dict[str, dict[str, int]]:
    """The judgements of a retrieval set. Negative gains are read as 0; a pair judged twice is an error."""
    judged: dict[str, dict[str, int]] = {}
    path = folder / "qrels.jsonl"
    for query_id, document_id, gain in _records(path, _judgement):
        row = judged.setdefault(query_id, {})
        if document_id in row:
            raise ConfigError(f"{path}: query {query_id!r} judges document {document_id!r} twice")
        row[document_id] = gain
    return judged


def questions(folder: Path) -> list[Question]:
    """The questions of a question set in file order."""
    return _unique(folder / "qa.jsonl", _question)


def as_retrieval(asked: list[Question]) -> tuple[list[Query], dict[str, dict[str, int]]]:
    """Queries and judgements of a question set: each document that holds the answer is relevant with gain 1."""
    useful = [item for item in asked if item.document_ids and not item.impossible]
    return (
        [Query(id=item.id, text=item.text) for item in useful],
        {item.id: dict.fromkeys(item.document_ids, 1) for item in useful},
    )


def files(folder: Path) -> Iterator[FileCase]:
    """The files of a manifest, in its order. A path that leads out of the folder is a ConfigError."""
    for case in _records(folder / "manifest.jsonl", _file_case):
        yield FileCase(
            path=_inside(folder, case.path),
            kind=case.kind,
            expect=case.expect,
            expected_text=_inside(folder, case.expected_text) if case.expected_text else None,
            facts=case.facts,
        )


class _Row:
    """One JSON object of a file; every access says which file, line and key is wrong."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self.values = values

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # ids are numbers in some sets
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not value.strip():
            raise self.wrong(key, "text that is not empty")
        return value

    def whole(self, key: str) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "a whole number")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def rows(self, key: str) -> list[_Row]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, "a list of objects")
        return [_Row(f"{self.where}, {key}[{number}]", item) for number, item in enumerate(value)]

    def wrong(self, key: str, wanted: str) -> ConfigError:
        shown = "is missing" if key not in self.values else f"is {repr(self.values[key])[:80]}"
        return ConfigError(f"{self.where}: {key!r} {shown}; it must be {wanted}")


def _records(path: Path, make: Callable[[_Row], Record]) -> Iterator[Record]:
    """Each line of `path` as a record; blank lines are skipped."""
    try:
        # newline="\n": a text may hold a lone carriage return, which must not end a line
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number in range(1, MAX_LINES + 1):
                line = lines.readline(MAX_LINE_CHARS)
                if not line:
                    return
                if line.strip():
                    yield make(_row(path, number, line))
            raise ConfigError(f"{path}: more than {MAX_LINES} lines; split the set")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error}") from error


def _row(path: Path, number: int, line: str) -> _Row:
    where = f"{path}, line {number}"
    if len(line) >= MAX_LINE_CHARS:
        raise ConfigError(f"{where}: longer than {MAX_LINE_CHARS} characters; split the document")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a JSON object, not {type(values).__name__}")
    return _Row(where, values)


def _unique(path: Path, make: Callable[[_Row], Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for item in _records(path, make):
        if item.id in found:
            raise ConfigError(f"{path}: the id {item.id!r} occurs twice")
        found[item.id] = item
    return list(found.values())


def _document(row: _Row) -> Document:
    known = {"id", "title", "text", "uri"}
    metadata: dict[str, Scalar] = {
        key: value
        for key, value in row.values.items()
        if key not in known and (value is None or isinstance(value, str | int | float | bool))
    }
    return Document(
        id=row.name("id"),
        title=row.text("title", ""),
        text=row.text("text"),
        uri=row.text("uri", ""),
        metadata=metadata,
    )


def _query(row: _Row) -> Query:
    return Query(id=row.name("id"), text=row.name("text"))


def _judgement(row: _Row) -> tuple[str, str, int]:
    return row.name("qid"), row.name("docid"), max(0, row.whole("score"))


def _question(row: _Row) -> Question:
    return Question(
        id=row.name("id"),
        text=row.name("question"),
        answers=row.texts("answers"),
        impossible=row.flag("is_impossible"),
        document_ids=row.texts("doc_ids"),
        excerpts=tuple(_excerpt(item) for item in row.rows("excerpts")),
    )


def _excerpt(row: _Row) -> Excerpt:
    span = Span(row.whole("start_index"), row.whole("end_index"))
    if not 0 <= span.start < span.end:
        raise row.wrong("end_index", f"greater than start_index, which is {span.start}")
    return Excerpt(text=row.name("content"), span=span)


def _file_case(row: _Row) -> FileCase:
    expected = row.text("expected_text", "")
    return FileCase(
        path=Path(row.name("path")),
        kind=row.name("kind"),
        expect=row.name("expect"),
        expected_text=Path(expected) if expected else None,
        facts=row.values,
    )


def _inside(folder: Path, path: Path) -> Path:
    full = folder / path
    if not full.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{folder / 'manifest.jsonl'}: {str(path)!r} leads out of the folder")
    return full
