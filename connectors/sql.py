"""What a query of a SQL database gives: one document a row, or the whole result as one table."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ragagent.connectors.addresses import outside, public
from ragagent.connectors.options import SECRET, read_options
from ragagent.connectors.sql_session import Session
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure, Scalar, digest

_AHEAD = 200
"""So many rows are fetched by one query, as the next ones in the order of the listing are wanted soon."""
_MAX_NAME = 80
_ENDINGS = {"text": ".txt", "markdown": ".md", "html": ".html", "json": ".json"}
_TABLE = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOptions:
    """What a database is asked: `table`, or a `query` and a `name` for it, and what the columns mean."""

    query: str = ""
    table: str = ""
    name: str = ""
    """What the rows are kept under; by default the table, or a digest of the query."""
    rows: Literal["documents", "table"] = "documents"
    """Whether each row is a document, or the whole result is one."""
    id: tuple[str, ...] = ("id",)
    """The columns that tell one row from every other."""
    title: str = ""
    text: tuple[str, ...] = ()
    """The columns that are the text; by default all but those of the other options. Bytes are read as a file."""
    metadata: tuple[str, ...] = ()
    version: str = ""
    """A column that changes whenever the row does; without one, whole rows are compared."""
    filename: str = ""
    """The column that names the file where the text is bytes."""
    format: Literal["text", "markdown", "html", "json"] = "text"
    max_rows: int = field(default=1_000_000, metadata=at_least(1))
    timeout_s: float = field(default=300.0, metadata=at_least(0.1))
    """How long one statement may take."""
    user: str = ""
    password: str = field(default="", repr=False, metadata=SECRET)


class SqlConnector:
    """The rows of a query. The session is read-only where the engine knows such sessions."""

    def __init__(self, address: str, *, options: SqlOptions, settings: IngestSettings | None = None) -> None:
        self._options = options
        self._settings = settings or IngestSettings()
        self._query, name = _asked(options, address)
        plain = public(address).partition("?")[0]
        self._address = f"{plain.rstrip('/')}/{quote(name, safe='')}"
        self._session = Session(address, user=options.user, password=options.password, timeout_s=options.timeout_s)
        self._keys: dict[str, tuple[Any, ...]] = {}
        self._listed: list[str] = []
        self._order: dict[str, int] = {}
        self._ahead: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    @property
    def source(self) -> str:
        """The database without credentials, and the name of the query."""
        return outside(self._address)

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every row in the order of its key, or the one table. Rows are streamed; what is kept of each is its key.

        Raises ConnectorError where the database is out of reach or does not take the query, ConfigError for a column
        that the result does not have.
        """
        with self._lock:
            self._keys.clear()
            self._ahead.clear()
            self._listed.clear()
        if self._options.rows == "table":
            mark, count = self._digest()
            if count:
                yield SourceItem(uri=self.source, stamp=mark)
            return
        yield from self._rows()

    def fetch(self, item: SourceItem) -> Fetched:
        """The row as it is now, or the table. Raises ReadError where the row is not there any more, TooLarge."""
        try:
            if self._options.rows == "table":
                return self._whole(item)
            with self._lock:
                row = self._row(item.uri)
        except ReadError:
            raise
        except ConnectorError as error:
            raise ReadError(str(error)) from error
        return self._fetched(item.uri, row)

    def _rows(self) -> Iterator[SourceItem | Failure]:
        options = self._options
        wanted = [*options.id, options.version] if options.version else ["*"]
        key = ", ".join(self._session.quoted(name) for name in options.id)
        columns = ", ".join("*" if name == "*" else f"q.{self._session.quoted(name)}" for name in wanted)
        # Ordered by the key, so that the order is the same each time whatever the engine would choose.
        statement = f"SELECT {columns} FROM ({self._query}) q ORDER BY {key}"
        for count, row in enumerate(self._session.stream(statement, limit=options.max_rows + 1)):
            self._check_columns(row)
            if count == options.max_rows:
                reason = f"there are more than {options.max_rows} rows; the rest was left out (option max_rows)"
                yield Failure(uri=self.source, reason=reason, kind="ConnectorError")
                return
            values = tuple(row[name] for name in options.id)
            uri = f"{self.source}/{outside('/'.join(quote(_plain(value), safe='') for value in values))}"
            if uri in self._keys:
                raise ConfigError(
                    f"{self.source}: two rows have the id {values}; name the columns that tell them apart"
                )
            self._keys[uri] = values
            stamp = _plain(row[options.version]) if options.version else _digest_of(row)
            yield SourceItem(uri=uri, stamp=stamp)

    def _row(self, uri: str) -> Mapping[str, Any]:
        """The row of a key, from those fetched ahead or by a query for it and the next ones."""
        if uri not in self._keys:
            raise ReadError("the query gives no such row")
        if uri not in self._ahead:
            self._ahead = self._some(uri)
        found = self._ahead.pop(uri, None)
        if found is None:
            raise ReadError("the row is not there any more")
        return found

    def _some(self, uri: str) -> dict[str, Mapping[str, Any]]:
        """The rows of `uri` and of the keys after it in the listing."""
        if not self._listed:
            self._listed = list(self._keys)
            self._order = {key: place for place, key in enumerate(self._listed)}
        begin = self._order[uri]
        uris = self._listed[begin : begin + _AHEAD]
        found: dict[tuple[str, ...], Mapping[str, Any]] = {}
        statement, values = self._session.matching(self._query, self._options.id, [self._keys[key] for key in uris])
        for row in self._session.stream(statement, values, limit=len(uris) + 1):
            found[tuple(_plain(row[name]) for name in self._options.id)] = row
        keys = {key: tuple(map(_plain, self._keys[key])) for key in uris}
        return {key: found[values] for key, values in keys.items() if values in found}

    def _fetched(self, uri: str, row: Mapping[str, Any]) -> Fetched:
        options = self._options
        content, name = self._content(row), _plain(row[options.id[0]])[:_MAX_NAME] + _ENDINGS[options.format]
        if isinstance(content, bytes) and options.filename:
            name = _plain(row[options.filename])
        data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
        limit = self._settings.max_file_bytes
        if len(data) > limit:
            raise TooLarge(f"{len(data)} bytes; at most {limit} are read (setting ingest.max_file_bytes)")
        return Fetched(
            uri=uri,
            name=name,
            content=data,
            title=_plain(row[options.title]) if options.title else "",
            metadata={column: _scalar(row[column]) for column in options.metadata},
        )

    def _content(self, row: Mapping[str, Any]) -> str | bytes:
        """The text of a row: its text columns below one another, or every other column with its name."""
        options = self._options
        if options.text:
            values = [row[name] for name in options.text]
            if len(values) == 1 and isinstance(values[0], bytes | memoryview):
                return bytes(values[0])
            return "\n\n".join(_plain(value) for value in values if value is not None)
        taken = {*options.id, options.title, options.version, options.filename, *options.metadata}
        lines = [f"{name}: {_plain(value)}" for name, value in row.items() if name not in taken and value is not None]
        return "\n".join(lines)

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        options = self._options
        wanted = {*options.id, options.version} if options.version else {
            *options.id, options.title, options.filename, *options.text, *options.metadata
        }  # fmt: skip
        missing = sorted(name for name in wanted if name and name not in row)
        if missing:
            raise ConfigError(f"{self.source}: the result has no column {missing[0]!r}; it has {', '.join(row)}")

    def _digest(self) -> tuple[str, int]:
        """A digest of the whole result, which is streamed, and its number of rows."""
        count, mark = 0, ""
        for row in self._result():
            count += 1
            mark = digest(mark, _digest_of(row))
        return mark, count

    def _result(self) -> Iterator[Mapping[str, Any]]:
        limit = self._options.max_rows
        for count, row in enumerate(self._session.stream(f"SELECT * FROM ({self._query}) q", limit=limit + 1)):
            if count >= limit:
                raise ConnectorError(f"{self.source}: there are more than {limit} rows (option max_rows)")
            yield row

    def _whole(self, item: SourceItem) -> Fetched:
        """The result as a CSV file, whose reader makes a table of it."""
        if item.uri != self.source:
            raise ReadError(f"it is not the table {self.source}")
        text = io.StringIO()
        rows = csv.writer(text)
        for count, row in enumerate(self._result()):
            if not count:
                rows.writerow(row)
            rows.writerow(_plain(value) for value in row.values())
            if text.tell() > self._settings.max_file_bytes:
                raise TooLarge(f"more than {self._settings.max_file_bytes} bytes (setting ingest.max_file_bytes)")
        name = self._address.rpartition("/")[2][:_MAX_NAME]
        return Fetched(uri=item.uri, name=f"{name}.csv", content=text.getvalue().encode(), media_type="text/csv")


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> SqlConnector:
    """What a query of the database at `sql+DIALECT://...` gives."""
    chosen = read_options(SqlOptions, options, source=public(address))
    return SqlConnector(address, options=chosen, settings=settings)


def _asked(options: SqlOptions, address: str) -> tuple[str, str]:
    """The query and the name for it."""
    if bool(options.query) == bool(options.table):
        raise ConfigError(f"{public(address)}: give either the option query or the option table")
    if options.table:
        if not _TABLE.fullmatch(options.table):
            raise ConfigError(f"table = {options.table!r}: not the name of a table; use the option query")
        return f"SELECT * FROM {options.table}", options.name or options.table
    query = options.query.strip().rstrip(";").strip()
    return query, options.name or f"query-{digest(query)[:10]}"


def _plain(value: Any) -> str:
    """A value as text, the same each time."""
    if value is None:
        return ""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


def _scalar(value: Any) -> Scalar:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, str | int | float | bool) else _plain(value)


def _digest_of(row: Mapping[str, Any]) -> str:
    return digest(*(part for name, value in row.items() for part in (name, str(value is None), _plain(value))))
