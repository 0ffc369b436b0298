from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ragagent.connectors import open_connector, readers
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector
from ragagent.types import Failure

pytest.importorskip("sqlalchemy")
PASSWORD = "s3cret!"
SETUP = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, head TEXT, body TEXT, price NUMERIC(10, 2), day DATE, rev INTEGER);
INSERT INTO notes VALUES (1, 'Bees', 'Bees dance: to tell of 100% flowers.', 1.50, '2025-01-31', 7);
INSERT INTO notes VALUES (2, 'Ants', 'Ants follow scent.', 2, '2025-02-01', 7);
INSERT INTO notes VALUES (3, 'Whales ü', 'Whales sing.', NULL, NULL, 7);
CREATE TABLE parts (shelf TEXT, place INTEGER, words TEXT, PRIMARY KEY (shelf, place));
INSERT INTO parts VALUES ('a/b', 1, 'One.'), ('a/b', 2, 'Two.'), ('c', 1, 'Three.');
"""


@dataclass
class Database:
    """A database with notes in it: its address without the password, and what changes it."""

    address: str
    run: Callable[[str], None]
    options: dict[str, Any]

    def open(self, settings: IngestSettings | None = None, **options: Any) -> Any:
        return open_connector(self.address, settings, options={**self.options, **options})


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    path = tmp_path / "notes.db"

    def run(script: str) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()

    run(SETUP)
    return Database(f"sql+sqlite:///{path}", run, {})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Callable[[str], None]]]:
    """PostgreSQL on loopback, where ann has a password: its port, and what runs a script."""
    pytest.importorskip("pg8000")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
    programs = os.path.dirname(found[-1])
    if not programs:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    home = Path(tempfile.mkdtemp(prefix="ragagent-sql-"))
    # The server refuses to run as root.
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    os.chown(home, user, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "password").write_text(PASSWORD)
    os.chown(home / "password", user, -1)

    def call(program: str, *arguments: str, **more: Any) -> None:
        command = [f"{programs}/{program}", *arguments]
        subprocess.run(command, user=user, cwd=home, check=True, capture_output=True, **more)

    call(
        "initdb", "-D", f"{home}/data", "-U", "ann", f"--pwfile={home}/password", "--auth=scram-sha-256",
        "--no-sync", "--encoding=UTF8", "--locale=C",
    )  # fmt: skip
    flags = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
    # The server keeps the pipes of the program that starts it, so these lead nowhere.
    start = [f"{programs}/pg_ctl", "-D", f"{home}/data", "-w", "-l", f"{home}/log", "-o", flags, "start"]
    subprocess.run(start, user=user, cwd=home, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(script: str) -> None:
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        address = ["-h", "127.0.0.1", "-p", str(port), "-U", "ann", "-d", "postgres"]
        call("psql", "-q", "-v", "ON_ERROR_STOP=1", *address, input=script.encode(), env=environment)

    try:
        yield port, run
    finally:
        call("pg_ctl", "-D", f"{home}/data", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgresql(server: tuple[int, Callable[[str], None]]) -> Iterator[Database]:
    port, run = server
    run(SETUP)
    address = f"sql+postgresql://127.0.0.1:{port}/postgres"
    yield Database(address, run, {"user": "ann", "password": PASSWORD})
    run("DROP TABLE notes; DROP TABLE parts; DROP SEQUENCE IF EXISTS counter;")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def _items(connector: Any) -> list[SourceItem]:
    return [item for item in connector.items() if isinstance(item, SourceItem)]


def _fetched(connector: Any) -> list[Fetched]:
    return [connector.fetch(item) for item in _items(connector)]


def test_rows_keep_the_rules(database: Database) -> None:
    def change() -> str:
        database.run("UPDATE notes SET body = 'Bees hum.' WHERE id = 1")
        return f"{database.address}/notes/1"

    def remove() -> str:
        database.run("DELETE FROM notes WHERE id = 2")
        return f"{database.address}/notes/2"

    def unreachable() -> None:
        database.run("ALTER TABLE notes RENAME TO gone")

    def factory() -> Any:
        return database.open(table="notes", text="body")

    check_connector(factory, change=change, remove=remove, unreachable=unreachable, secrets=(PASSWORD,))
    database.run("ALTER TABLE gone RENAME TO notes")


def test_columns_are_title_text_and_metadata(database: Database) -> None:
    query = "SELECT id, head, body, price, day FROM notes WHERE body LIKE '%:%' OR id = 3;"
    bees, whales = _fetched(
        database.open(query=query, name="notes", title="head", text="body", metadata="price,day", format="markdown")
    )
    assert (bees.uri, bees.name, bees.title) == (f"{database.address}/notes/1", "1.md", "Bees")
    assert bees.content == b"Bees dance: to tell of 100% flowers."
    assert dict(bees.metadata) == {"price": 1.5, "day": "2025-01-31"}
    assert dict(whales.metadata) == {"price": None, "day": None}
    document = readers.read(whales, settings=IngestSettings()).document
    assert (document.title, document.text) == ("Whales ü", "Whales sing.")


def test_without_a_text_column_all_columns_are_the_text(database: Database) -> None:
    first = _fetched(database.open(table="notes"))[0]
    assert bytes(first.content).decode().splitlines()[:2] == [  # type: ignore[arg-type]
        "head: Bees",
        "body: Bees dance: to tell of 100% flowers.",
    ]


def test_a_key_may_be_several_columns(database: Database) -> None:
    connector = database.open(table="parts", id="shelf,place", text="words")
    found = {one.uri.removeprefix(database.address): one.content for one in _fetched(connector)}
    assert found == {"/parts/a%2Fb/1": b"One.", "/parts/a%2Fb/2": b"Two.", "/parts/c/1": b"Three."}
    with pytest.raises(ConfigError, match="two rows have the id"):
        list(database.open(table="parts", id="shelf").items())


def test_a_version_column_stands_for_the_row(database: Database) -> None:
    options = {"table": "notes", "version": "rev", "text": "body"}
    before = _items(database.open(**options))
    database.run("UPDATE notes SET body = 'Bees hum.' WHERE id = 1")
    assert _items(database.open(**options)) == before
    database.run("UPDATE notes SET rev = 8 WHERE id = 1")
    assert next(item for item in _items(database.open(**options)) if item not in before).uri.endswith("/notes/1")


def test_a_whole_result_is_one_table(database: Database) -> None:
    connector = database.open(query="SELECT id, head FROM notes ORDER BY id", rows="table", name="list")
    (item,) = _items(connector)
    document = readers.read(connector.fetch(item), settings=IngestSettings()).document
    assert item.uri == connector.source == f"{database.address}/list"
    assert [block.kind for block in document.blocks] == ["table"]
    assert "3 | Whales ü" in document.text
    database.run("UPDATE notes SET head = 'Orcas' WHERE id = 3")
    (other,) = _items(database.open(query="SELECT id, head FROM notes ORDER BY id", rows="table", name="list"))
    assert (other.uri, other.stamp == item.stamp) == (item.uri, False)
    assert _items(database.open(query="SELECT * FROM notes WHERE id = 99", rows="table")) == []


def test_bytes_in_a_column_are_a_file(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE files (id INTEGER, name TEXT, data BLOB); INSERT INTO files VALUES (1, 'a.md', x'2320410a')"
    )
    (found,) = _fetched(sqlite.open(table="files", text="data", filename="name"))
    assert (found.name, found.content) == ("a.md", b"# A\n")


def test_many_rows_are_read_ahead_and_in_any_order(database: Database) -> None:
    rows = ", ".join(f"({number}, 'h', 'Text {number}.', 1, NULL, 1)" for number in range(10, 1010))
    database.run(f"INSERT INTO notes VALUES {rows}")
    connector = database.open(table="notes", text="body")
    items = _items(connector)
    assert len(items) == 1003
    assert connector.fetch(items[900]).content == b"Text 907."
    assert [connector.fetch(item).content for item in items[3:]] == [b"Text %d." % number for number in range(10, 1010)]
    assert connector.fetch(items[5]).content == b"Text 12."
    limited = list(database.open(table="notes", max_rows="5").items())
    assert [type(item) for item in limited] == [SourceItem] * 5 + [Failure]


def test_a_database_is_only_read(sqlite: Database, postgresql: Database, tmp_path: Path) -> None:
    postgresql.run("CREATE SEQUENCE counter")
    with pytest.raises(ConnectorError, match="read-only"):
        list(postgresql.open(query="SELECT nextval('counter') AS id").items())
    for database in (sqlite, postgresql):
        for query in ("DELETE FROM notes RETURNING id", "SELECT 1 AS id; DELETE FROM notes"):
            with pytest.raises(ConnectorError):
                list(database.open(query=query).items())
        assert len(_items(database.open(table="notes"))) == 3
    with pytest.raises(ConnectorError):
        list(open_connector(f"sql+sqlite:///{tmp_path}/none.db", options={"table": "t"}).items())
    assert not (tmp_path / "none.db").exists()


def test_a_statement_that_takes_too_long_is_stopped(sqlite: Database, postgresql: Database) -> None:
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT count(*) AS id FROM n"
    with pytest.raises(ConnectorError, match="interrupted"):
        list(sqlite.open(query=endless, timeout_s=0.3).items())
    with pytest.raises(ConnectorError, match="timeout"):
        list(postgresql.open(query="SELECT 1 AS id, pg_sleep(20)", timeout_s=0.3).items())


def test_what_the_database_refuses_is_told_without_the_password(postgresql: Database) -> None:
    shown = postgresql.address.replace("://", "://ann:wr0ng@")
    for connector in (postgresql.open(table="notes", password="wr0ng"), open_connector(shown, options={"table": "t"})):
        with pytest.raises(ConnectorError) as caught:
            list(connector.items())
        assert "wr0ng" not in str(caught.value)
        assert "wr0ng" not in connector.source
    for host in ("127.0.0.1:1", "ann@127.0.0.1:1"):
        with pytest.raises(ConnectorError, match=r"127\.0\.0\.1:1"):
            list(open_connector(f"sql+postgresql://{host}/x", options={"table": "t"}).items())


def test_wrong_options_are_named(sqlite: Database) -> None:
    with pytest.raises(ConfigError, match="no column 'colour'"):
        list(sqlite.open(table="notes", metadata="colour").items())
    with pytest.raises(ConfigError, match="either"):
        sqlite.open()
    with pytest.raises(ConfigError, match="name of a table"):
        sqlite.open(table="notes; drop")
    with pytest.raises(ConfigError, match="dialect"):
        open_connector("sql+nothing://x/y", options={"table": "t"})
    with pytest.raises(ConfigError, match="in memory"):
        open_connector("sql+sqlite://", options={"table": "t"})


def test_a_row_that_is_gone_or_too_large_is_told(sqlite: Database) -> None:
    connector = sqlite.open(IngestSettings(max_file_bytes=20), table="notes", text="body")
    first, second, _ = _items(connector)
    sqlite.run("DELETE FROM notes WHERE id = 2")
    with pytest.raises(TooLarge):
        connector.fetch(first)
    with pytest.raises(ReadError, match="any more"):
        connector.fetch(second)
