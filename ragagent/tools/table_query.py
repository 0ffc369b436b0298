"""Questions in SQL to the tables of spreadsheets and CSV files: read only, in memory, bounded in every way.

The tables are copied into a SQLite database of their own, in memory, to which an authoriser lets nothing through but
SELECT and harmless functions. A query is stopped after so many steps of SQLite's machine, which is the same number on
every computer, after so many seconds, and when the process has swollen.

The names of tables and columns are written by whoever wrote the documents. So they are shown by a call, as untrusted
as all that documents say, and never by the description of a tool.
"""

from __future__ import annotations

import itertools
import re
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ragagent.errors import ToolError
from ragagent.protocols import KnownDocument
from ragagent.tools.documents import Found, short_id
from ragagent.tools.tables import Row, Table, Value, has_tables, tables_of
from ragagent.types import Chunk, Document, Hit, Span, ToolSpec, digest

MAX_ROWS = 50
"""Rows of a result that are shown."""
MAX_QUERY_CHARS = 2000
_MOST_CELLS = 4_000_000
_MOST_TABLES = 500
_MOST_CITED = 20
_SHOWN_CELL_CHARS = 200
_MOST_CHARS = 2_000_000
_SHOWN_TABLES = 30
_STEPS_BETWEEN = 1000
_MAX_STEPS = 50_000_000
_MAX_SECONDS = 10.0
_MAX_GROWTH_BYTES = 512 << 20
_ROW = "_row"
_PAGE_BYTES = resource.getpagesize()

_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """abs avg ceil ceiling char coalesce concat concat_ws count date datetime exp floor group_concat
        ifnull iif instr julianday length like glob ln log log10 log2 lower ltrim max min mod nullif
        pow power round row_number rank dense_rank rtrim sign sqrt strftime string_agg substr
        substring sum time total trim trunc typeof unicode unixepoch upper lag lead first_value
        last_value nth_value ntile percent_rank cume_dist""",
    )
)
_ACTIONS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 200_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 4 * MAX_QUERY_CHARS,
    sqlite3.SQLITE_LIMIT_COLUMN: 300,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 50,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 20,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
}
# What makes of several rows one: then no row of the result is a row of a table.
_GATHERS = re.compile(
    r"\b(?:distinct|group|having|union|intersect|except|join|over|with|count|sum|avg|total|min|max|group_concat|"
    r"string_agg)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_BEGIN = re.compile(r"\s*select\s", re.IGNORECASE)
_READS = re.compile(r"\s*(?:select|with|values)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Count:
    """What a query has cost so far; `over` says what there was too much of."""

    ends_at: float
    bytes_before: int
    steps: int = 0
    over: str = ""

    def __call__(self) -> int:
        self.steps += _STEPS_BETWEEN
        if self.steps > _MAX_STEPS or time.monotonic() > self.ends_at:
            self.over = "takes too long"
        elif _resident_bytes() - self.bytes_before > _MAX_GROWTH_BYTES:
            self.over = "takes too much memory"
        return int(bool(self.over))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The columns and the first `MAX_ROWS` rows of a result; `rows_of` says where each comes from, if it is a row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    more: bool
    read: frozenset[str]
    rows_of: tuple[tuple[str, int], ...] = ()


class Tables:
    """The tables of some documents, copied when they are first asked for, and again when the documents have changed.

    `known` is what there is, `document` opens one; for a session both see what its principal may read. Safe to use from
    several threads, one query at a time.
    """

    def __init__(
        self, known: Callable[[], Mapping[str, KnownDocument]], document: Callable[[str], Document | None]
    ) -> None:
        self._known = known
        self._document = document
        self._copied: tuple[tuple[str, str], ...] | None = None
        self._tables: dict[str, Table] = {}
        self._left_out = 0
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def any(self) -> bool:
        """Whether there is a document that has tables by its name; opens none."""
        return any(has_tables(one.uri) for one in self._known().values())

    def tables(self) -> tuple[Sequence[Table], int]:
        """The tables, and how many were left out because all together were too large."""
        with self._lock:
            self._copy()
            return list(self._tables.values()), self._left_out

    def query(self, sql: str) -> tuple[Result, Mapping[str, Table]]:
        """The result of one SELECT, and the tables by name. Raises ToolError for whatever cannot or may not be done."""
        with self._lock:
            connection = self._copy()
            return _answered(connection, sql.strip().rstrip(";"), self._tables), dict(self._tables)

    def close(self) -> None:
        """Forgets the copy."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._copied = None

    def _copy(self) -> sqlite3.Connection:
        found = sorted(
            (one for one in self._known().values() if has_tables(one.uri)), key=lambda one: (one.uri, one.id)
        )
        state = tuple((one.id, one.revision) for one in found)
        if self._connection is not None and self._copied == state:
            return self._connection
        if self._connection is not None:
            self._connection.close()
        self._tables, self._left_out = _fitting(tables_of(filter(None, (self._document(one.id) for one in found))))
        self._connection, self._copied = _filled(self._tables.values()), state
        return self._connection


def _fitting(found: Iterable[Table]) -> tuple[dict[str, Table], int]:
    """The first tables that fit into memory together, and how many do not."""
    kept: dict[str, Table] = {}
    cells = left_out = 0
    for table in found:
        cells += len(table.rows) * len(table.columns)
        if cells > _MOST_CELLS or len(kept) >= _MOST_TABLES:
            left_out += 1
        else:
            kept[table.name] = table
    return kept, left_out


def _filled(tables: Iterable[Table]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None, cached_statements=0)
    for table in tables:
        columns = ", ".join(f'"{one.name}" {one.type}' for one in table.columns)
        connection.execute(f'CREATE TABLE "{table.name}" ({_ROW} INTEGER PRIMARY KEY, {columns})')
        marks = ", ".join("?" * (len(table.columns) + 1))
        rows = ((number, *row.values) for number, row in enumerate(table.rows))
        connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    return connection


def _answered(connection: sqlite3.Connection, sql: str, tables: Mapping[str, Table]) -> Result:
    if not _READS.match(sql):
        raise ToolError("it is no SELECT; write one such as SELECT city, SUM(amount) FROM sales GROUP BY city")
    read: set[str] = set()

    def authorise(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action not in _ACTIONS:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FUNCTIONS:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_READ and first:
            read.add(first.lower())
            # Its own tables would show nothing of others; they are none of the documents', though.
            return sqlite3.SQLITE_DENY if first.lower().startswith("sqlite_") else sqlite3.SQLITE_OK
        return sqlite3.SQLITE_OK

    count = _Count(ends_at=time.monotonic() + _MAX_SECONDS, bytes_before=_resident_bytes())
    connection.set_authorizer(authorise)
    connection.set_progress_handler(count, _STEPS_BETWEEN)
    try:
        if not _GATHERS.search(_QUOTED.sub(" ", sql)) and _BEGIN.match(sql):
            try:
                numbered = _fetched(connection, _BEGIN.sub(f"SELECT {_ROW}, ", sql, count=1))
            except sqlite3.Error:
                numbered = None
            if numbered is not None and not count.over and len(read & tables.keys()) == 1:
                return _by_row(numbered, frozenset(read & tables.keys()))
        read.clear()
        return _result(_fetched(connection, sql), frozenset(read & tables.keys()))
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        raise ToolError(_problem(error, count.over, tables)) from None
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)


def _fetched(connection: sqlite3.Connection, sql: str) -> tuple[list[str], list[tuple[Value, ...]]]:
    cursor = connection.execute(sql)
    try:
        if cursor.description is None:
            raise ToolError("it is no SELECT that gives rows")
        rows, chars = [], 0
        for row in itertools.islice(cursor, MAX_ROWS + 1):
            rows.append(row)
            chars += sum(len(one) for one in row if isinstance(one, str | bytes))
            if chars > _MOST_CHARS:
                raise ToolError("the result is too long to be read; select fewer columns, or less of them with substr")
        return [one[0] for one in cursor.description], rows
    finally:
        cursor.close()


def _by_row(found: tuple[list[str], list[tuple[Value, ...]]], read: frozenset[str]) -> Result:
    """The result without the numbers of the rows that were asked for in addition, and these apart."""
    (table,) = read
    numbers = tuple((table, row[0]) for row in found[1][:MAX_ROWS] if isinstance(row[0], int))
    return replace(_result(found, read), rows_of=numbers)


def _result(found: tuple[list[str], list[tuple[Value, ...]]], read: frozenset[str]) -> Result:
    columns, rows = found
    # SELECT * has the numbers of rows, too.
    kept = [place for place, name in enumerate(columns) if name != _ROW]
    return Result(
        columns=tuple(columns[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in rows[:MAX_ROWS]),
        more=len(rows) > MAX_ROWS,
        read=read,
    )


def _problem(error: Exception, over: str, tables: Mapping[str, Table]) -> str:
    if over:
        return f"the query {over}; ask for less: fewer tables at once, or a narrower WHERE"
    said = str(error)
    if "no such" in said or "ambiguous" in said:
        return f"{said}. The tables are:\n{_listing(list(tables.values())[:_SHOWN_TABLES])}"
    if "prohibited" in said or "not authorized" in said or "readonly" in said:
        return f"{said}: one SELECT over the tables is all that is allowed"
    return f"the query cannot be run: {said}"


def _resident_bytes() -> int:
    """What this process has in memory now; 0 where the system does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES


def list_tables(tables: Tables, *, page: int = _SHOWN_TABLES) -> TableTool:
    """A tool that shows the tables with their columns, `page` at a time."""
    start = {"type": "integer", "description": "how many tables to skip", "minimum": 0, "default": 0}
    spec = ToolSpec(
        name="list_tables",
        description="Lists the tables of spreadsheets and CSV files with their columns, for query_tables.",
        parameters={
            "type": "object",
            "properties": {"start": start},
            "required": [],
            "additionalProperties": False,
        },
        effects=("read",),
    )

    def find(arguments: Mapping[str, Any]) -> Found:
        start = int(arguments.get("start", 0))
        found, left_out = tables.tables()
        some = found[start : start + page]
        lines = [_listing(some) if some else "There are no more tables." if start else "There are no tables."]
        if len(found) > start + page:
            lines.append(f"({len(found) - start - page} more tables follow: go on with start={start + page})")
        if left_out:
            lines.append(f"(left out, being too large together: {left_out} tables; search for these)")
        documents = tuple(dict.fromkeys(one.document.id for one in some))
        return Found(content="\n".join(lines), documents=documents)

    return TableTool(spec, find)


def query_tables(tables: Tables) -> TableTool:
    """A tool that answers one SELECT of SQLite over the tables. What comes back can be cited: by row where the rows of
    the result are rows of a table, else by the beginning of each table that was read.
    """
    sql = {
        "type": "string",
        "description": "one SELECT in SQLite's SQL: SELECT city, SUM(amount) FROM sales GROUP BY city",
        "minLength": 1,
        "maxLength": MAX_QUERY_CHARS,
    }
    spec = ToolSpec(
        name="query_tables",
        description="Answers a SQL SELECT over the tables that list_tables shows: filters, counts, sums, averages.",
        parameters={"type": "object", "properties": {"sql": sql}, "required": ["sql"], "additionalProperties": False},
        effects=("read",),
    )

    def find(arguments: Mapping[str, Any]) -> Found:
        result, known = tables.query(str(arguments["sql"]))
        return _found(result, known)

    return TableTool(spec, find)


@dataclass(frozen=True, slots=True)
class TableTool:
    """A tool whose results are computed from documents, and cite them."""

    spec: ToolSpec
    find: Callable[[Mapping[str, Any]], Found]
    computes: bool = field(default=True, init=False)

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self.find(arguments).content


def _found(result: Result, tables: Mapping[str, Table]) -> Found:
    read = [tables[name] for name in sorted(result.read)]
    documents = tuple(dict.fromkeys(one.document.id for one in read))
    if result.rows_of:
        hits = _of_rows(result.rows_of, tables)
    else:
        hits = [_hit(one, one.rows[0], one.rows[0], number + 1) for number, one in enumerate(read[:_MOST_CITED])]
    lines = [" | ".join(result.columns), *(" | ".join(map(_shown, row)) for row in result.rows)]
    if not result.rows:
        lines.append("(no row)")
    if result.more:
        lines.append(f"(more rows follow; the first {MAX_ROWS} are shown: narrow it, or count and sum in SQL)")
    names = ", ".join(dict.fromkeys(one.document.title or one.document.uri for one in read[:_MOST_CITED]))
    lines += [f"from {names}"] if names else []
    return Found(content="\n".join(lines), hits=tuple(hits), documents=documents)


def _of_rows(rows_of: Sequence[tuple[str, int]], tables: Mapping[str, Table]) -> list[Hit]:
    """A passage for each run of rows that follow one another."""
    places = sorted(set(rows_of))[: 2 * MAX_ROWS]
    runs = itertools.groupby(enumerate(places), key=lambda item: (item[1][0], item[1][1] - item[0]))
    found: list[Hit] = []
    for (name, _), items in runs:
        numbers = [place for _, (_, place) in items]
        rows = tables[name].rows
        found.append(_hit(tables[name], rows[numbers[0]], rows[numbers[-1]], len(found) + 1))
    return found[:_MOST_CITED]


def _hit(table: Table, first: Row, last: Row, rank: int) -> Hit:
    source = table.document
    span = Span(first.span.start, last.span.end)
    chunk = Chunk(
        id=digest(source.id, f"{span.start}:{span.end}", span.of(source.text)),
        document_id=source.id,
        span=span,
        text=span.of(source.text),
        page=source.page_at(span.start),
    )
    return Hit(chunk=chunk, rank=rank, score=0.0, via="sparse", title=source.title, uri=source.uri, page=chunk.page)


def _listing(tables: Sequence[Table]) -> str:
    return "\n".join(
        f"{one.name} ({', '.join(f'{column.name} {column.type}' for column in one.columns)}): {len(one.rows)} rows, "
        f"of {one.document.title or one.document.uri} (document {short_id(one.document.id)})"
        for one in tables
    )


def _shown(value: Value | bytes) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".12g")
    if isinstance(value, bytes):
        return "(bytes)"
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN_CELL_CHARS else f"{text[:_SHOWN_CELL_CHARS]}..."
