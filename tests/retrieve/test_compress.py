"""Sentences and table rows: exact offsets, and rows that come with what they cannot be read without."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.retrieve import compress
from ragagent.types import Block, Document, Span

TABLE = """Three Months Ended | Nine Months Ended
June 25, | June 26, | June 25, | June 26,
2022 | 2021 | 2022 | 2021
Net sales:
Products | $63,355 | $63,948 | $245,241 | $232,309
Total net sales | 82,959 | 81,434 | 304,182 | 282,457
Cost of sales:
Services | 5,589 | 5,280 | 16,411 | 15,319"""
CAPTION = "(In millions)"

words = st.text(alphabet="ab. \n|5é日", max_size=80)


def filing(before: str = "Apple Inc. reports.", after: str = "The end.") -> Document:
    text = f"{before}\n\n{CAPTION}\n\n{TABLE}\n\n{after}"
    caption = text.index(CAPTION)
    table = text.index(TABLE)
    blocks = (
        Block(kind="paragraph", span=Span(0, len(before))),
        Block(kind="paragraph", span=Span(caption, caption + len(CAPTION))),
        Block(kind="table", span=Span(table, table + len(TABLE))),
        Block(kind="page", span=Span(0, len(text)), number=1),
    )
    return Document(text=text, blocks=blocks)


@given(text=words, data=st.data())
def test_units_are_in_order_disjoint_within_the_span_and_without_outer_white_space(
    text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    low, high = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    document = Document(text=text, blocks=(Block(kind="table", span=Span(low, high)),))
    at = start
    for unit in compress.units(document, Span(start, end)):
        assert at <= unit.span.start < unit.span.end <= end
        piece = unit.span.of(text)
        assert piece == piece.strip()
        at = unit.span.end


@given(text=words)
def test_without_tables_no_character_but_white_space_is_left_out(text: str) -> None:
    document = Document(text=text)
    kept = "".join(unit.span.of(text) for unit in compress.units(document, Span(0, len(text))))
    assert "".join(kept.split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("row", "group"),
    [("Products | $63,355", "Net sales:"), ("Total net sales", "Net sales:"), ("Services | 5,589", "Cost of sales:")],
)
def test_a_row_comes_with_its_caption_its_columns_and_its_group(row: str, group: str) -> None:
    document = filing()
    found = compress.units(document, Span(0, len(document.text)))
    unit = next(unit for unit in found if unit.span.of(document.text).startswith(row))
    context = [span.of(document.text) for span in unit.context]
    assert context == [CAPTION, "\n".join(TABLE.splitlines()[:3]), group]


def test_the_columns_of_a_table_are_found_above_the_part_that_is_searched() -> None:
    document = filing()
    row = document.text.index("Services")
    (unit,) = compress.units(document, Span(row, row + len("Services | 5,589 | 5,280 | 16,411 | 15,319")))
    assert "June 25" in unit.read(document.text)


def test_a_row_is_chosen_by_its_columns_as_well_as_by_its_label() -> None:
    document = filing(before="Sales were discussed with the board in June. Nobody sold anything.")
    found = compress.units(document, Span(0, len(document.text)))
    scores = compress.scores(
        "total net sales three months ended June 25, 2022", [unit.read(document.text) for unit in found]
    )
    best = max(range(len(found)), key=lambda index: scores[index])
    assert found[best].span.of(document.text).startswith("Total net sales")


@given(
    texts=st.lists(st.text(alphabet="abc ", max_size=20), max_size=6), question=st.text(alphabet="abcd ", max_size=9)
)
def test_a_text_scores_above_nothing_exactly_when_it_shares_a_term(texts: list[str], question: str) -> None:
    wanted = set(compress.question_terms(question))
    for text, score in zip(texts, compress.scores(question, texts), strict=True):
        assert (score > 0) == bool(wanted.intersection(compress.terms(text)))


def test_the_rarer_word_counts_more_and_repeating_the_question_changes_nothing() -> None:
    texts = ["the oil price", "the oil tanker", "the embargo"]
    scores = compress.scores("oil embargo", texts)
    assert scores[2] > scores[0]
    assert compress.scores("oil embargo oil embargo", texts) == scores


@given(text=words, cuts=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=5))
def test_joined_spans_are_disjoint_in_order_and_cover_what_was_given(text: str, cuts: list[tuple[int, int]]) -> None:
    spans = [Span(*sorted((min(a, len(text)), min(b, len(text))))) for a, b in cuts if a != b]
    found = compress.joined(spans, text)
    for one, other in itertools.pairwise(found):
        assert one.end < other.start
        assert text[one.end : other.start].strip()
    assert all(any(whole.start <= span.start and span.end <= whole.end for whole in found) for span in spans)


def test_a_heading_goes_with_what_stands_below_it() -> None:
    text = "6. Term and notice\nIt may be ended with three months' warning. Nothing else ends it.\n7. Signatures"
    first, second = Span(0, 18), Span(text.index("7."), len(text))
    blocks = (Block(kind="heading", span=first, level=1), Block(kind="heading", span=second, level=1))
    found = compress.units(Document(text=text, blocks=blocks), Span(0, len(text)))
    assert [unit.read(text) for unit in found] == [
        "6. Term and notice\nIt may be ended with three months' warning.",
        "6. Term and notice\nNothing else ends it.",
        "7. Signatures",
    ]


def test_a_part_of_a_table_below_a_heading_comes_with_the_columns_of_the_part_before() -> None:
    names = "| Q3 2022 | Q3 2023\n"
    parts = {"Abroad": "Net sales | 27 | 32\nProfit | 2 | 1", "Cloud": "Net sales | 20 | 23\nProfit | 5 | 6"}
    text, blocks = f"{names}Net sales | 78 | 87", [Block(kind="table", span=Span(0, len(names) + 19))]
    for heading, rows in parts.items():
        blocks.append(Block(kind="heading", span=Span(len(text) + 2, len(text) + 2 + len(heading))))
        text += f"\n\n{heading}\n\n"
        blocks.append(Block(kind="table", span=Span(len(text), len(text) + len(rows))))
        text += rows
    document = Document(text=text, blocks=tuple(blocks))
    units = compress.units(document, Span(0, len(text)))
    cloud = next(unit for unit in units if unit.span.of(text) == "Net sales | 20 | 23")
    assert [span.of(text) for span in cloud.context] == ["Cloud", names.strip()]
    wider = replace(document, text=text.replace("5 | 6", "5 |6|"))
    assert compress.units(wider, Span(0, len(text)))
    last = compress.units(replace(document, blocks=(blocks[-1],)), Span(0, len(text)))[-1]
    assert last.context == ()
