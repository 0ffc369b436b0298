"""A database asked through SQLAlchemy, for reading alone: sessions that write nothing, statements that end."""

from __future__ import annotations

import contextlib
import importlib
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragagent.connectors.addresses import public
from ragagent.errors import ConfigError, ConnectorError, MissingExtra

_BATCH = 500
_POSTGRESQL = ("psycopg", "psycopg2", "pg8000")
_STEPS = 10_000
"""After so many steps of its machine, SQLite is asked whether its time is over."""


class Session:
    """One engine. Nothing is asked before the first `stream`."""

    def __init__(self, address: str, *, user: str, password: str, timeout_s: float) -> None:
        try:
            import sqlalchemy
        except ImportError as error:
            raise MissingExtra("a SQL database", "sql") from error
        self._shown = public(address).partition("?")[0]
        self._timeout_s = timeout_s
        try:
            url = sqlalchemy.make_url(address.partition("+")[2])
            if user or password:
                url = url.set(username=user or url.username, password=password or url.password)
            self._engine = self._made(url)
        except sqlalchemy.exc.NoSuchModuleError as error:
            raise ConfigError(f"{self._shown}: SQLAlchemy knows no such dialect: {error}") from error
        except ImportError as error:
            driver = error.name or str(error)
            raise MissingExtra(f"{self._shown} (the driver {driver} is not installed)", "sql") from error
        except sqlalchemy.exc.ArgumentError as error:
            raise ConfigError(f"{self._shown}: {error}") from error
        weakref.finalize(self, self._engine.dispose)

    def quoted(self, name: str) -> str:
        """The name of a column as the dialect writes it."""
        return str(self._engine.dialect.identifier_preparer.quote(name))

    def stream(
        self, statement: str, values: Mapping[str, Any] | None = None, *, limit: int
    ) -> Iterator[Mapping[str, Any]]:
        """The rows, at most `limit`, as they come. Raises ConnectorError with what the database says."""
        import sqlalchemy

        try:
            with self._engine.connect() as connection:
                self._bound(connection)
                # A text as it is: a colon in a query of the user's is no parameter.
                text = sqlalchemy.text(statement) if values else sqlalchemy.text(statement.replace(":", "\\:"))
                result = connection.execution_options(**self._streaming()).execute(text, dict(values or {}))
                for count, row in enumerate(result.mappings()):
                    if count >= limit:
                        return
                    yield dict(row)
        except (sqlalchemy.exc.SQLAlchemyError, OSError, TypeError) as error:
            # A driver that misses an argument says so by a TypeError.
            raise ConnectorError(f"{self._shown}: {_said(error)}") from error

    def matching(
        self, query: str, columns: Sequence[str], keys: Sequence[tuple[Any, ...]]
    ) -> tuple[str, dict[str, Any]]:
        """The statement, and its values, that gives the rows of `query` whose `columns` are one of `keys`."""
        values: dict[str, Any] = {}
        rows = []
        for number, key in enumerate(keys):
            names = [f"k{number}_{place}" for place in range(len(columns))]
            values.update(zip(names, key, strict=True))
            rows.append(
                " AND ".join(f"q.{self.quoted(column)} = :{name}" for column, name in zip(columns, names, strict=True))
            )
        inner = query.replace(":", "\\:")
        return f"SELECT * FROM ({inner}) q WHERE " + " OR ".join(f"({row})" for row in rows), values

    def _made(self, url: Any) -> Any:
        import sqlalchemy

        if url.drivername == "sqlite":
            return sqlalchemy.create_engine(_sqlite(url), poolclass=sqlalchemy.pool.NullPool)
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername=f"postgresql+{_first(_POSTGRESQL)}")
        return sqlalchemy.create_engine(url, pool_size=1, max_overflow=4, pool_pre_ping=True)

    def _bound(self, connection: Any) -> None:
        """Makes the transaction one that only reads, and statements end in time, where the engine can do that."""
        name = connection.dialect.name
        milliseconds = int(self._timeout_s * 1000)
        if name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
        elif name in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
            with contextlib.suppress(Exception):  # MariaDB has another name for it
                connection.exec_driver_sql(f"SET SESSION MAX_EXECUTION_TIME = {milliseconds}")
        elif name == "sqlite":
            deadline = time.monotonic() + self._timeout_s
            raw = connection.connection.driver_connection
            raw.execute("PRAGMA query_only = ON")
            raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)

    def _streaming(self) -> dict[str, Any]:
        return {"stream_results": True, "yield_per": _BATCH}


def _sqlite(url: Any) -> Any:
    """The address of a SQLite file that is opened for reading and is not made where there is none."""
    if not url.database or url.database == ":memory:":
        raise ConfigError("sql+sqlite:///PATH: a database in memory has nothing to read")
    path = url.database if url.database.startswith("file:") else "file:" + url.database.replace("?", "%3f")
    return url.set(database=path, query={"mode": "ro", "uri": "true"})


def _first(drivers: Sequence[str]) -> str:
    """The first driver that is installed; the last where none is, so that its absence is told."""
    for driver in drivers:
        with contextlib.suppress(ImportError):
            importlib.import_module(driver)
            return driver
    return drivers[-1]


def _said(error: Exception) -> str:
    """What the database said, without the statement that SQLAlchemy writes beside it."""
    cause = getattr(error, "orig", None) or error
    said = cause.args[0] if cause.args else cause
    if isinstance(said, dict):
        said = said.get("M", said)
    return f"{type(cause).__name__}: {' '.join(str(said).split())[:300]}"
