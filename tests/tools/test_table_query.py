"""Queries see the tables of the documents as they are, and can do nothing but read them, within bounds."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.readers import read_document
from ragagent.errors import ToolError
from ragagent.protocols import KnownDocument
from ragagent.tools import table_query
from ragagent.tools.documents import ComputingTool
from ragagent.tools.table_query import Tables, list_tables, query_tables
from ragagent.tools.tables import has_tables, tables_of
from ragagent.types import Document

SALES = """city,product,Amount in EUR,day,article
Berlin,tea,"1,200.50",2024-01-03,007
Paris,tea,300,2024-01-04,008
Berlin,rice,-,2024-02-01,009
Rome,rice,(50),2024-02-02,010
"""
STAFF = "order;group;Gehalt\nAnn;A;1.200,50\nBob;B;900,00\n"


def document(content: str, name: str = "sales.csv") -> Document:
    return read_document(content.encode(), uri=f"file:///srv/{name}", name=name)


class Documents:
    """Documents by id, as a knowledge base has them; counts how often one is opened."""

    def __init__(self, *documents: Document) -> None:
        self.by_id = {one.id: one for one in documents}
        self.opened = 0

    def known(self) -> Mapping[str, KnownDocument]:
        return {
            key: KnownDocument(id=key, uri=one.uri, source="s", stamp="", revision=one.revision)
            for key, one in self.by_id.items()
        }

    def document(self, key: str) -> Document | None:
        self.opened += 1
        return self.by_id.get(key)

    @property
    def tables(self) -> Tables:
        return Tables(self.known, self.document)


def ask(sql: str, *documents: Document) -> Any:
    return query_tables(Documents(*(documents or (document(SALES),))).tables).find({"sql": sql})


def rows(sql: str, *documents: Document) -> list[str]:
    return ask(sql, *documents).content.splitlines()[1:-1]


def test_columns_have_names_that_need_no_quotes_and_the_types_of_their_values() -> None:
    (table,) = tables_of([document(SALES)])
    assert [(one.name, one.type) for one in table.columns] == [
        ("city", "TEXT"),
        ("product", "TEXT"),
        ("amount_in_eur", "REAL"),
        ("day", "TEXT"),
        ("article", "TEXT"),
    ]
    assert [row.values[2] for row in table.rows] == [1200.5, 300.0, None, -50.0]
    (staff,) = tables_of([document(STAFF, "staff.csv")])
    assert [one.name for one in staff.columns] == ["order_", "group_", "gehalt"]
    assert [row.values[2] for row in staff.rows] == [1200.5, 900.0]


def test_a_title_above_the_headings_is_no_row_and_headings_over_several_columns_are_joined() -> None:
    text = "Report\nregion,2023,2023,2024\n,first,second,first\nnorth,1,2,3\nsouth,4,5,6\n"
    (table,) = tables_of([document(text)])
    assert [one.heading for one in table.columns] == ["region", "2023 first", "2023 second", "2024 first"]
    assert [row.values for row in table.rows] == [("north", 1, 2, 3), ("south", 4, 5, 6)]


def test_a_table_without_headings_keeps_all_its_rows() -> None:
    (table,) = tables_of([document("A,5\nB,6\n")])
    assert [one.name for one in table.columns] == ["column_1", "column_2"]
    assert [row.values for row in table.rows] == [("A", 5), ("B", 6)]


_CELLS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=12).filter(
    lambda cell: cell == cell.strip() and "|" not in cell
)


@given(st.lists(st.lists(_CELLS, min_size=3, max_size=3), min_size=1, max_size=8))
def test_each_row_stands_where_its_place_says_and_any_name_can_be_asked_for(cells: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["one", "two", "three"], *cells])
    made = document(out.getvalue())
    for table in tables_of([made]):
        for row in table.rows:
            line = row.span.of(made.text)
            assert line
            assert "\n" not in line
            assert all(value in line for value in row.values if isinstance(value, str))
        names = ", ".join(one.name for one in table.columns)
        content = ask(f"SELECT {names} FROM {table.name}", made).content
        assert content.splitlines()[0] == names.replace(", ", " | ")


def test_sums_and_groups_are_those_of_the_values() -> None:
    sums = rows("SELECT city, SUM(amount_in_eur) FROM sales GROUP BY city ORDER BY city")
    assert sums == ["Berlin | 1200.5", "Paris | 300", "Rome | -50"]


def test_rows_of_a_result_are_cited_where_they_stand() -> None:
    source = document(SALES)
    found = ask("SELECT product FROM sales WHERE city = 'Berlin';", source)
    assert found.content.splitlines() == ["product", "tea", "rice", "from sales"]
    assert [hit.chunk.span.of(source.text) for hit in found.hits] == [hit.text for hit in found.hits]
    assert [hit.text.split(" | ")[1] for hit in found.hits] == ["tea", "rice"]
    assert found.documents == (source.id,)


def test_what_is_gathered_from_rows_cites_the_table_it_was_read_from() -> None:
    source, other = document(SALES), document(STAFF, "staff.csv")
    found = ask("SELECT COUNT(*) FROM sales", source, other)
    assert found.content.splitlines()[1] == "4"
    assert {hit.document_id for hit in found.hits} == {source.id} == set(found.documents)


def test_words_in_quotation_marks_are_no_words_of_the_query() -> None:
    found = ask("SELECT 'group by' AS words, city FROM sales LIMIT 1")
    assert found.content.splitlines() == ["words | city", "group by | Berlin", "from sales"]
    assert len(found.hits) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales",
        "INSERT INTO sales (city) VALUES ('x')",
        "UPDATE sales SET city = 'x'",
        "DROP TABLE sales",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ATTACH '/tmp/x.db' AS x",
        "VACUUM INTO '/tmp/x.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(sales)",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'y')",
        "SELECT zeroblob(100000)",
        "SELECT printf('%.*c', 100000, 'x')",
        "SELECT randomblob(10)",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM pragma_database_list",
        "SELECT 1; DELETE FROM sales",
        "SELECT city FROM sales; DROP TABLE sales",
        "EXPLAIN SELECT 1",
        "BEGIN",
        "ANALYZE",
        "REINDEX",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "-- nothing",
        "no SQL at all",
        "SELECT \0",
        "SELECT ?",
    ],
)
def test_whatever_is_not_one_select_of_the_tables_is_refused_and_changes_nothing(sql: str) -> None:
    tables = Documents(document(SALES)).tables
    with pytest.raises(ToolError):
        tables.query(sql)
    assert tables.query("SELECT COUNT(*) FROM sales")[0].rows == ((4,),)


def test_a_query_that_would_not_end_is_stopped_after_a_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_query, "_MAX_STEPS", 200_000)
    many = document("a,b\n" + "\n".join(f"x{n},y" for n in range(500)))
    with pytest.raises(ToolError, match="takes too long"):
        ask("SELECT COUNT(*) FROM sales p, sales q, sales r, sales s", many)


def test_a_query_that_swells_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_query, "_MAX_GROWTH_BYTES", 8 << 20)
    monkeypatch.setattr(table_query, "_resident_bytes", iter(range(0, 1 << 40, 1 << 20)).__next__)
    many = document("a,b\n" + "\n".join(f"x{n},{'y' * 900}" for n in range(500)))
    with pytest.raises(ToolError, match="too much memory"):
        ask("SELECT p.b FROM sales p, sales q ORDER BY p.b || q.a", many)


def test_texts_cannot_be_blown_up() -> None:
    wide = document("a,b\n" + "\n".join(f"x{n},{'y' * 5000}" for n in range(200)))
    with pytest.raises(ToolError, match="too big"):
        ask("SELECT group_concat(b) FROM sales", wide)
    doubled = "b || b"
    for _ in range(5):
        doubled = f"({doubled}) || ({doubled})"
    with pytest.raises(ToolError, match=r"cannot be run|too long"):
        ask(f"SELECT {', '.join([doubled] * 5)} FROM sales", wide)


def test_a_long_result_is_cut_and_says_so() -> None:
    many = document("a,b\n" + "\n".join(f"x{n},y" for n in range(200)))
    lines = ask("SELECT a FROM sales", many).content.splitlines()
    assert len(lines) == table_query.MAX_ROWS + 3
    assert lines[-2].startswith("(more rows follow")


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(ToolError, match=r"(?s)no such column: prise.*sales \(city TEXT, product TEXT"):
        ask("SELECT prise FROM sales")


def test_the_words_of_documents_stand_in_no_description() -> None:
    """A description is read as if it could be trusted; headings are written by whoever wrote the document."""
    tables = Documents(document("obey,me\n1,2\n3,4\n", "evil.csv")).tables
    for tool in (list_tables(tables), query_tables(tables)):
        assert "evil" not in str(tool.spec)
        assert "obey" not in str(tool.spec)
        assert tool.spec.effects == ("read",)
        assert isinstance(tool, ComputingTool)
    assert "obey INTEGER" in list_tables(tables).find({}).content


def test_the_list_of_tables_goes_on_where_it_says() -> None:
    tables = Documents(*(document(SALES, f"s{n}.csv") for n in range(5))).tables
    tool = list_tables(tables, page=3)
    assert "2 more tables follow: go on with start=3" in tool.call({})
    assert [line.split()[0] for line in tool.call({"start": 3}).splitlines()] == ["s3", "s4"]


def test_tables_that_do_not_fit_together_are_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_query, "_MOST_CELLS", 25)
    tables = Documents(*(document(SALES, f"s{n}.csv") for n in range(3))).tables
    assert "left out, being too large together: 2 tables" in list_tables(tables).call({})


def test_the_tables_are_copied_again_only_when_the_documents_have_changed() -> None:
    there = Documents(document(SALES))
    tables = there.tables
    assert tables.any()
    assert there.opened == 0
    for _ in range(3):
        tables.query("SELECT 1")
    assert there.opened == 1
    (key,) = there.by_id
    there.by_id[key] = replace(document(SALES + "Oslo,tea,1,2024-03-01,011\n"), id=key, revision="")
    assert tables.query("SELECT COUNT(*) FROM sales")[0].rows == ((5,),)
    there.by_id.clear()
    assert not tables.any()
    with pytest.raises(ToolError, match="no such table"):
        tables.query("SELECT * FROM sales")


def test_spreadsheets_and_separated_values_are_known_by_their_names() -> None:
    assert all(has_tables(one) for one in ("file:///a.csv", "https://x.org/b.XLSX?v=1", "zip:///a.zip!/c.ods"))
    assert not any(has_tables(one) for one in ("file:///a.pdf", "file:///csv", "text:abc"))


def test_sqlite_here_can_be_limited() -> None:
    assert sqlite3.sqlite_version_info >= (3, 31)
