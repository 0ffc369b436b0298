from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.text.sentences import MAX_CHARS, sentences
from ragagent.types import Span

PIECES = st.sampled_from(
    [
        "Mr. ",
        "e.g. ",
        "3.14 ",
        "U.S. ",
        "word ",
        "End. ",
        "Why? ",
        "No! ",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "a | b",
        "。",
        "文",
        "🎉 ",
        *["\t", "...", "“Quote.” ", "\u00a0", "x" * 300, "\r\n", "I. ", "(b) ", "」"],
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=300))


def _split(text: str) -> list[str]:
    return [span.of(text) for span in sentences(text)]


@given(TEXTS)
def test_sentences_are_ordered_disjoint_trimmed_and_bounded(text: str) -> None:
    end = 0
    for span in sentences(text):
        assert end <= span.start < span.end
        piece = span.of(text)
        assert piece == piece.strip()
        assert len(piece) <= MAX_CHARS
        end = span.end
    assert end <= len(text)


@given(TEXTS)
def test_every_visible_character_is_in_a_sentence(text: str) -> None:
    covered = {index for span in sentences(text) for index in range(span.start, span.end)}
    assert all(index in covered or character.isspace() for index, character in enumerate(text))


@given(TEXTS, st.integers(0, 200), st.integers(0, 200))
def test_a_part_is_split_without_looking_outside(text: str, start: int, length: int) -> None:
    start = min(start, len(text))
    end = min(len(text), start + length)
    shifted = [Span(span.start + start, span.end + start) for span in sentences(text[start:end])]
    assert sentences(text, Span(start, end)) == shifted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid $3.50. He left.", ["Dr. Smith paid $3.50.", "He left."]),
        ("See e.g. Fig. 3 for details. Next.", ["See e.g. Fig. 3 for details.", "Next."]),
        ("J. K. Rowling wrote it. Did she? Yes!", ["J. K. Rowling wrote it.", "Did she?", "Yes!"]),
        ("He lives in the U.S. and works.", ["He lives in the U.S. and works."]),
        ("In 2022. The end.", ["In 2022.", "The end."]),
        ("今日は晴れです。明日は雨です。", ["今日は晴れです。", "明日は雨です。"]),
        ("これは文。「引用です。」次の文。", ["これは文。", "「引用です。」", "次の文。"]),
        ("He said “Stop.” Then he left.", ["He said “Stop.”", "Then he left."]),
        ("Items:\n- one\n- two\nend", ["Items:", "- one", "- two", "end"]),
        ("a | b\nc | d", ["a | b", "c | d"]),
        ("Wait... what? Fine.", ["Wait... what?", "Fine."]),
        ("1. Scope of work\n2. Term", ["1. Scope of work", "2. Term"]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert _split(text) == expected


def test_wrapped_prose_is_not_cut_at_line_ends() -> None:
    text = (
        "The quick brown fox jumps over the lazy dog while the cat is\nwatching from the roof of the house. Then it\n"
    )
    assert _split(text) == [text[:97].rstrip(), "Then it"]


def test_a_huge_sentence_is_cut_at_white_space() -> None:
    pieces = _split("word " * 10_000)
    assert {len(piece) % 5 for piece in pieces} == {4}
    assert max(map(len, pieces)) <= MAX_CHARS
