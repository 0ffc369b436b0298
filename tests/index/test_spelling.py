from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import spelling
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import SuggestsTerms
from ragagent.testing.entries import DIMENSION, entry


def by_hand(first: bytes, second: bytes) -> int:
    """Optimal string alignment, cell by cell."""
    table = {(i, 0): i for i in range(len(first) + 1)} | {(0, j): j for j in range(len(second) + 1)}
    for i, j in itertools.product(range(1, len(first) + 1), range(1, len(second) + 1)):
        table[i, j] = min(
            table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (first[i - 1] != second[j - 1])
        )
        if i > 1 and j > 1 and first[i - 1] == second[j - 2] and first[i - 2] == second[j - 1]:
            table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(first), len(second)]


word = st.text("abc", min_size=1, max_size=9).map(str.encode)


@given(wanted=word, words=st.lists(word, min_size=1, max_size=12), most=st.integers(1, 2))
@settings(max_examples=200)
def test_edits_are_counted_as_by_hand_up_to_what_is_asked_for(wanted: bytes, words: list[bytes], most: int) -> None:
    width = len(wanted) + most
    near = [one for one in words if abs(len(one) - len(wanted)) <= most]
    letters = np.array([list(one.ljust(width, b"\0")) for one in near], np.uint8).reshape(-1, width)
    lengths = np.array([len(one) for one in near], np.int64)
    found = spelling.distances(letters, lengths, wanted, most)
    assert found.tolist() == [min(by_hand(one, wanted), most + 1) for one in near]


def index_of(folder: Path, *texts: str) -> EmbeddedIndex:
    index = EmbeddedIndex.open(folder, fingerprint={}, dimension=DIMENSION)
    for number, text in enumerate(texts):  # one by one, so that the terms lie in several parts
        index.write([entry(f"n:{number}", [text])])
    return index


def test_an_unknown_word_has_the_nearest_and_then_the_commonest_terms(tmp_path: Path) -> None:
    with index_of(tmp_path, "vaccine trial", "vaccine doses", "vacuum pump", "machine learning machines") as index:
        assert isinstance(index, SuggestsTerms)
        found = index.similar_terms(["vacine", "mahcine", "machnie", "vaccine", "zebra", "vac", "B1234", "trail"])
        assert found == {"vacine": ("vaccin",), "mahcine": ("machin",), "machnie": ("machin",), "trail": ("trial",)}
        assert index.similar_terms([]) == {}


def test_a_term_is_near_as_long_as_a_live_chunk_has_it(tmp_path: Path) -> None:
    with index_of(tmp_path, "vaccine trial", "pump") as index:
        assert index.similar_terms(["vaccime"]) == {"vaccime": ("vaccin",)}
        index.write(remove=[next(iter(index.known()))])
        assert index.similar_terms(["vaccime"]) == {}


def test_long_words_may_differ_in_two_places_and_the_first_letter_stands(tmp_path: Path) -> None:
    with index_of(tmp_path, "photosynthesis", "thermometer") as index:
        found = index.similar_terms(["fotosynthesis", "photosinthezis", "termometer", "thermomoter", "thremomoter"])
        assert set(found) == {"photosinthezis", "termometer", "thermomoter", "thremomoter"}


def test_other_scripts_are_words_too(tmp_path: Path) -> None:
    with index_of(tmp_path, "\u0434\u043e\u0433\u043e\u0432\u043e\u0440 \u0430\u0440\u0435\u043d\u0434\u044b") as index:
        assert index.similar_terms(["\u0434\u043e\u0433\u0430\u0432\u043e\u0440"]) == {
            "\u0434\u043e\u0433\u0430\u0432\u043e\u0440": ("\u0434\u043e\u0433\u043e\u0432\u043e\u0440",)
        }
