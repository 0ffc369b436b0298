"""A filter is exactly what brute force over the documents says."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.index import filters
from ragagent.testing.entries import entry, vector_of
from ragagent.types import Document
from ragagent.where import (
    DEEPEST,
    MOST_VALUES,
    And,
    Eq,
    Exists,
    In,
    Not,
    Or,
    Prefix,
    Range,
    as_value,
    from_json,
    written,
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, float(2**60)]),
    st.sampled_from(["", "1", "true", "null", "a'b\"c", "x OR 1=1", "é", "*", "%"]),
)  # fmt: skip
TEXTS = st.sampled_from(["", "a", "ab", "b", "é", "2024-01-31", "2024-02-01", 'a" or 1==1 or "', "\U0010ffff", "x\0y"])
NUMBERS = st.one_of(
    st.integers(-3, 3), st.floats(-2, 2, width=16), st.sampled_from([float("inf"), -float("inf"), 2**53, 2**53 + 1])
)
KEYS = st.sampled_from(["a", "b", "id", "title", "uri", "source", "'; DROP TABLE documents --"])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


def accepts(one, where: dict[str, Any]) -> bool:
    """What `where` means, said plainly; a value equals another when they are the same JSON value."""
    document: Document = one.document
    own = {"id": document.id, "uri": document.uri, "title": document.title, "source": one.source}
    fields = {**document.metadata, **own}

    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    def same(left: Any, right: Any) -> bool:
        return isinstance(left, bool) == isinstance(right, bool) and left == right

    return all(
        key in fields and any(same(has, wanted) for has in listed(fields[key]) for wanted in listed(value))
        for key, value in where.items()
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metadata=st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=12),
    wheres=st.lists(st.dictionaries(KEYS, VALUES, max_size=2), min_size=1, max_size=10),
)
def test_a_filter_is_brute_force(opened, metadata, wheres) -> None:
    index = opened(fold_chunks=5)
    index.write(remove=list(index.known()))
    library = [
        entry(f"u{number}", [f"common words {number}"], title=str(number % 2), metadata=one, source="1")
        for number, one in enumerate(metadata)
    ]
    index.write(library)
    for where in wheres:
        expected = {one.document.uri for one in library if accepts(one, where)}
        for mode in ("dense", "sparse", "hybrid"):
            hits = index.search("common", vector_of("common"), k=100, mode=mode, where=where)
            assert {hit.uri for hit in hits} == expected, (mode, where)


def test_what_is_no_scalar_is_refused(opened) -> None:
    index = opened()
    index.write([entry("a", ["words"])])
    for value in ({"x": 1}, [[1]], object()):
        with pytest.raises(ConfigError, match="cannot be filtered by"):
            index.search("words", None, k=1, mode="sparse", where={"a": value})
    with pytest.raises(ConfigError, match="at most"):
        index.search("words", None, k=1, mode="sparse", where={"a": list(range(MOST_VALUES + 1))})


@given(left=SCALARS, right=SCALARS)
def test_values_are_encoded_alike_exactly_when_they_are_equal(left: Any, right: Any) -> None:
    same = isinstance(left, bool) == isinstance(right, bool) and left == right
    assert (filters.encoded(left) == filters.encoded(right)) == same


@given(left=st.one_of(st.integers(), st.floats()), right=st.one_of(st.integers(), st.floats()))
def test_numbers_are_encoded_in_their_order(left: float, right: float) -> None:
    if left == left and right == right:
        assert (filters.encoded(left) < filters.encoded(right)) == (left < right)


@pytest.mark.parametrize("step", [1, 2**53 - 1, 2**53, 10**308, 10**309, 10**400], ids=lambda step: len(str(step)))
def test_whole_numbers_are_encoded_in_their_order_however_large(step: int) -> None:
    numbers = sorted({sign * (step + more) for sign in (-1, 1) for more in (0, 1, 2, 3, 10**300, 10**310)})
    assert [filters.encoded(one) for one in numbers] == sorted(filters.encoded(one) for one in numbers)
    assert len({filters.encoded(one) for one in numbers}) == len(numbers)


def ranges(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Range]:
    low, high = st.sampled_from(["ge", "gt"]), st.sampled_from(["le", "lt"])
    return st.one_of(
        st.builds(lambda key, side, bound: Range(key, **{side: bound}), KEYS, st.one_of(low, high), bounds),
        st.builds(lambda key, one, least, two, most: Range(key, **{one: least, two: most}),
                  KEYS, low, bounds, high, bounds),
    )  # fmt: skip


CONDITIONS = st.one_of(
    st.builds(Eq, KEYS, st.one_of(SCALARS, TEXTS, NUMBERS)),
    st.builds(In, KEYS, st.lists(st.one_of(SCALARS, TEXTS, NUMBERS), max_size=4).map(tuple)),
    st.builds(Prefix, KEYS, TEXTS),
    st.builds(Exists, KEYS),
    ranges(TEXTS),
    ranges(NUMBERS),
)
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=8,
)


def holds(part: Any, fields: dict[str, list[Any]]) -> bool:
    """What an expression means, said plainly."""
    if isinstance(part, And):
        return all(holds(one, fields) for one in part.parts)
    if isinstance(part, Or):
        return any(holds(one, fields) for one in part.parts)
    if isinstance(part, Not):
        return not holds(part.part, fields)
    values = fields.get(part.key, [])
    if isinstance(part, Exists):
        return any(value is not None for value in values)
    if isinstance(part, Prefix):
        return any(isinstance(value, str) and value.startswith(part.prefix) for value in values)
    if isinstance(part, Range):
        return any(within(value, part) for value in values)
    wanted = part.values if isinstance(part, In) else (part.value,)
    return any(same(value, one) for value in values for one in wanted)


def same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def within(value: Any, part: Range) -> bool:
    bounds = part.bounds()
    text = isinstance(next(iter(bounds.values())), str)
    if isinstance(value, bool) or not isinstance(value, str if text else int | float):
        return False
    return (
        ("ge" not in bounds or value >= bounds["ge"])
        and ("gt" not in bounds or value > bounds["gt"])
        and ("le" not in bounds or value <= bounds["le"])
        and ("lt" not in bounds or value < bounds["lt"])
    )


MANY = st.one_of(SCALARS, TEXTS, NUMBERS)
METADATA = st.dictionaries(KEYS, st.one_of(MANY, st.lists(MANY, max_size=3)), max_size=4)


def fields_of(one: Any) -> dict[str, list[Any]]:
    own = {
        "id": one.document.id,
        "uri": one.document.uri,
        "title": one.document.title,
        "source": one.source,
        "media_type": "text/plain",
    }
    fields = {**one.document.metadata, **own}
    return {key: value if isinstance(value, list) else [value] for key, value in fields.items()}


@pytest.mark.parametrize("few", [0, 3, filters.FEW])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(METADATA, min_size=1, max_size=12),
    later=st.lists(METADATA, max_size=5),
    wheres=st.lists(EXPRESSIONS, min_size=1, max_size=10),
)
def test_an_expression_is_brute_force_before_and_after_a_write(opened, monkeypatch, few, first, later, wheres) -> None:
    # However few documents are read from the database, and the rest from memory, they are the same.
    monkeypatch.setattr(filters, "FEW", few)
    index = opened(fold_chunks=5)
    index.write(remove=list(index.known()))
    library: dict[str, Any] = {}
    for version, metadata in enumerate((first, later)):
        changed = [
            entry(f"u{number * (version + 1)}", [f"common words {number}"], metadata=one, source="1")
            for number, one in enumerate(metadata)
        ]
        removed = [key for number, key in enumerate(library) if number % 5 == 4]
        index.write(changed, removed)
        library = {key: one for key, one in library.items() if key not in removed}
        library |= {one.document.id: one for one in changed}
        for where in wheres:
            expected = {one.document.uri for one in library.values() if holds(where, fields_of(one))}
            for mode in ("dense", "sparse"):
                for form in (where, written(where)):
                    hits = index.search("common", vector_of("common"), k=100, mode=mode, where=form)
                    assert {hit.uri for hit in hits} == expected, (mode, form)


@given(EXPRESSIONS)
def test_an_expression_survives_json(where: Any) -> None:
    again = from_json(json.dumps(as_value(where)))
    if isinstance(where, Not) and isinstance(where.part, Exists):
        assert again == where
    assert as_value(again) == as_value(where)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON object"),
        ('{"and": {"key": "a", "eq": 1}}', "take a list"),
        ('{"and": [], "or": []}', "write an object with"),
        ('{"and": [3]}', "3 is no part of a filter"),
        ('{"key": "a"}', "each with a value of its kind"),
        ('{"key": "a", "eq": [1]}', "each with a value of its kind"),
        ('{"key": "a", "eq": 1, "ge": 2}', "each with a value of its kind"),
        ('{"key": "a", "near": 2}', "each with a value of its kind"),
        ('{"key": 1, "eq": 2}', "key must be text"),
        ('{"key": "a", "ge": 1, "gt": 2}', "one of ge and gt"),
        ('{"key": "a", "ge": 1, "lt": "b"}', "all numbers or all text"),
        ('{"key": "a", "ge": true}', "all numbers or all text"),
        ('{"key": "a", "ge": NaN}', "all numbers or all text"),
        ('{"not": ' * 100 + '{"key": "a", "eq": 1}' + "}" * 100, f"{DEEPEST} levels"),
        ('{"and": [' + '{"key": "a", "eq": 1},' * 1000 + '{"key": "a", "eq": 1}]}', "1000 parts"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_filter_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(text)


def test_a_filter_that_is_no_filter_is_refused(opened) -> None:
    index = opened()
    index.write([entry("a", ["words"])])
    for where in (["a"], And(("x",)), And(("year > 3",))):
        with pytest.raises(ConfigError, match="is no filter"):
            index.search("words", None, k=1, mode="sparse", where=where)
    with pytest.raises(ConfigError, match="lone surrogate"):
        index.search("words", None, k=1, mode="sparse", where={"a": "\ud800"})


def test_json_without_an_operator_is_a_mapping() -> None:
    assert from_json('{"team": ["law", "tax"], "year": 2020}') == {"team": ["law", "tax"], "year": 2020}


def test_dates_are_bounds() -> None:
    assert Range("day", ge=datetime.date(2024, 1, 31)) == Range("day", ge="2024-01-31")


def test_a_hit_explains_what_its_filter_let_through_and_how(opened, monkeypatch) -> None:
    index = opened()
    index.write([entry(f"u{number}", ["common words"], metadata={"year": number}) for number in range(10)])
    where = And((Range("year", ge=3), Not(Eq("year", 5))))
    hit = index.search("common", None, k=1, mode="sparse", where=where)[0]
    last = hit.explain().splitlines()[-1]
    assert last.startswith("  filter: 6 of 10 chunks pass; year >= 3: read 7 documents from the database")
    monkeypatch.setattr(filters, "FEW", 3)
    hit = index.search("common", None, k=1, mode="sparse", where=where)[0]
    assert "read from the column of 'year' in memory" in hit.explain()
    assert "filter" not in index.search("common", None, k=1, mode="sparse")[0].explain()
