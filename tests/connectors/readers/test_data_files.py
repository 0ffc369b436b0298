"""Tables, JSON and XML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.readers import read_document
from ragagent.errors import ReadError
from ragagent.types import Document


def _read(data: str | bytes, name: str) -> Document:
    return read_document(data.encode() if isinstance(data, str) else data, uri="test:1", name=name)


def _blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.span.of(document.text)) for block in document.blocks]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    rows = [["Name", "Price"], ["Rose, red", "1.50"], ['the "best"', "2"]]
    lines = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    assert _blocks(_read("\r\n".join(lines), "a.csv")) == [("table", 'Name | Price\nRose, red | 1.50\nthe "best" | 2')]


def test_a_cell_over_several_lines_stays_in_its_row() -> None:
    assert _read('a,b\n"one\ntwo",3\n', "a.csv").text == "a | b\none two | 3"


def test_a_table_on_one_endless_line_is_read() -> None:
    assert len(_read("word," * 400_000, "a.csv").text) > 2_000_000
    assert _read('"' + "word," * 400_000, "a.csv").text


def test_json_says_every_value_beside_its_path() -> None:
    value = {"name": "House", "open": True, "size": 1.50, "place": {"city": "Bonn", "tags": ["a", "b"]}}
    value["rooms"] = [{"name": "Linden", "seats": 60}, {"name": "Oak", "seats": None}]
    assert _blocks(_read(json.dumps(value), "a.json")) == [
        ("paragraph", "name: House\nopen: true\nsize: 1.5\nplace.city: Bonn\nplace.tags: a, b"),
        ("heading", "rooms"),
        ("table", "name | seats\nLinden | 60\nOak | null"),
    ]


def test_json_lines_of_one_shape_are_a_table_and_others_are_not() -> None:
    assert _read('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', "a.jsonl").text == "a | b\n1 | x\n2 | y"
    assert _read('{"a": 1}\n{"b": {"c": 2}}\n', "a.ndjson").text == "a: 1\n\nb.c: 2"
    with pytest.raises(ReadError, match="line 2"):
        _read('{"a": 1}\n{"a": \n', "a.jsonl")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(min_size=1, alphabet="abc 1\n"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="xyz", min_size=1), inner),
    max_leaves=15,
)


@given(JSON)
def test_no_word_of_a_json_file_is_lost(value: object) -> None:
    text = _read(json.dumps({"top": "here", "value": value}), "a.json").text
    words = [word for leaf in _leaves(value) for word in leaf.split()]
    assert all(word in text for word in words)


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value if isinstance(value, str) else json.dumps(value)]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 250 + "]" * 250])
def test_json_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(ReadError, match="deeper"):
        _read(text, "a.json")


def test_numbers_of_any_length_are_read() -> None:
    assert "9" * 100_000 in _read('{"n": ' + "9" * 100_000 + "}", "a.json").text


ARTICLE = """<?xml version="1.0"?><!DOCTYPE article SYSTEM "http://localhost:1/none.dtd"><article><front><article-meta>
<title-group><article-title>On <italic>roses</italic></article-title></title-group></article-meta></front><body><sec>
<title>Methods</title><p>We planted&nbsp;<bold>three</bold>.</p><sec><title>Soil</title><list list-type="order">
<list-item><p>dig</p></list-item><list-item><p>water</p></list-item></list></sec><table-wrap><label>Table 1</label>
<table><tr><th>Bed</th><th>Count</th></tr><tr><td>A</td><td>3</td></tr></table></table-wrap></sec></body></article>"""


def test_an_article_keeps_its_sections_lists_and_tables() -> None:
    document = _read(ARTICLE, "a.xml")
    assert _blocks(document) == [
        ("heading", "On roses"),
        ("heading", "Methods"),
        ("paragraph", "We planted three."),
        ("heading", "Soil"),
        ("list", "1. dig\n2. water"),
        ("paragraph", "label: Table 1"),
        ("table", "Bed | Count\nA | 3"),
    ]
    assert [block.level for block in document.blocks if block.kind == "heading"] == [1, 2, 3]


def test_records_in_xml_are_lines_of_name_and_value() -> None:
    text = "<shop><book><name>Roses</name><price>12</price></book><book><name>Oaks</name></book></shop>"
    assert _read(text, "a.xml").text == "name: Roses\nprice: 12\n\nname: Oaks"


def test_xml_entities_neither_grow_nor_reach_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    bomb = '<!DOCTYPE x [<!ENTITY a "haha">' + "".join(
        f'<!ENTITY {name} "{f"&{below};" * 100}">' for below, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    text = f'<?xml version="1.0"?>{bomb}<!ENTITY f SYSTEM "file://{secret}">]><x><p>safe &h; &f; text</p></x>'
    try:
        found = _read(text, "a.xml").text
    except ReadError:
        return
    assert "SECRET" not in found
    assert "haha" not in found


def test_xml_nested_too_deep_is_refused() -> None:
    with pytest.raises(ReadError, match="deep"):
        _read("<?xml version='1.0'?>" + "<a>" * 100_000 + "x" + "</a>" * 100_000, "a.xml")


def test_of_a_drawing_the_words_are_read_and_not_the_markup() -> None:
    words = '<style>.a{}</style><title>A plan</title><text x="1">Gate</text>'
    svg = f'<svg class="a" xmlns="http://www.w3.org/2000/svg">{words}</svg>'
    document = _read(svg, "plan.svg")
    assert document.media_type == "application/xml"
    assert "Gate" in document.text
    assert "xmlns" not in document.text
