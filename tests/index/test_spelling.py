from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import spelling
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import SuggestsTerms
from ragagent.testing.entries import DIMENSION, entry
from ragagent.text.analyser import Analyser
from ragagent.text.stemming import bare


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
def test_edits_to_each_beginning_are_counted_as_by_hand_up_to_what_is_asked_for(
    wanted: bytes, words: list[bytes], most: int
) -> None:
    width = len(wanted) + most
    near = [one for one in words if len(one) <= width]
    letters = np.array([list(one.ljust(width, b"\0")) for one in near], np.uint8).reshape(-1, width)
    lengths = np.array([len(one) for one in near], np.int64)
    found = spelling.distances(letters, lengths, list(wanted), most)
    cuts = [range(len(one) - most, len(one) + most + 1) for one in near]
    assert found.tolist() == [
        [min(by_hand(one, wanted[:cut]), most + 1) if 0 <= cut <= len(wanted) else most + 1 for cut in each]
        for one, each in zip(near, cuts, strict=True)
    ]


def index_of(folder: Path, *texts: str) -> EmbeddedIndex:
    index = EmbeddedIndex.open(folder, fingerprint={}, dimension=DIMENSION)
    for number, text in enumerate(texts):  # one by one, so that the terms lie in several parts
        index.write([entry(f"n:{number}", [text])])
    return index


def test_an_unknown_word_has_the_nearest_and_then_the_commonest_terms(tmp_path: Path) -> None:
    with index_of(tmp_path, "vaccine trial", "vaccine doses", "vacuum pump", "machine learning machines") as index:
        assert isinstance(index, SuggestsTerms)
        found = index.similar_terms(["vacine", "mahcine", "machnie", "vaccine", "zebra", "vac", "B1234", "trail"])
        assert found == {"vacine": ("vaccine",), "mahcine": ("machine",), "machnie": ("machine",), "trail": ("trial",)}
        assert index.similar_terms([]) == {}


def test_a_term_is_near_as_long_as_a_live_chunk_has_it(tmp_path: Path) -> None:
    with index_of(tmp_path, "vaccine trial", "pump") as index:
        assert index.similar_terms(["vaccime"]) == {"vaccime": ("vaccine",)}
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


LANGUAGES = {
    "de": "Der Vertrag über die Wohnung wurde von den Mietern und dem Eigentümer im Frühling unterzeichnet, und "
    "die Kündigung ist nicht vor dem Ende des Jahres möglich, weil sich alle Beteiligten darauf geeinigt "
    "haben.",
    "fr": "Le contrat de location de l'appartement a été signé au printemps par les locataires et le "
    "propriétaire, et la résiliation n'est pas possible avant la fin de l'année, dans les conditions que "
    "chacun connaît.",
    "es": "El contrato de alquiler de la vivienda fue firmado en primavera por los inquilinos y el propietario, "
    "y la cancelación no es posible antes del final del año, según las condiciones que todos conocen "
    "desde entonces.",
    "ru": "Договор аренды квартиры был подписан весной жильцами и владельцем, и его нельзя расторгнуть до конца года",
}
SLIPS = {
    "de": ["Vertarg", "Vertrgas", "Kündigugn", "Eigentümmer", "Wohnnung"],
    "fr": ["contart", "propriétiare", "locataries", "apartement", "printmeps"],
    "es": ["contarto", "propeitario", "inquilnos", "primaveera", "vivineda"],
    "ru": ["догавор", "кватриры", "владелцем", "квартииры"],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_slip_in_any_language_finds_what_the_word_would_have_found(tmp_path: Path, language: str) -> None:
    """Though the index holds no words of it, but stems that are marked with their language."""
    others = [text for code, text in LANGUAGES.items() if code != language]
    with index_of(tmp_path, *others, LANGUAGES[language]) as index:
        found = index.similar_terms(SLIPS[language])
        assert list(found) == SLIPS[language]
        for slip, (nearest, *_) in found.items():
            assert not index.search(slip, None, k=1, mode="sparse")
            hit = index.search(nearest, None, k=1, mode="sparse")[0]
            assert hit.text == LANGUAGES[language], (slip, nearest)


ANALYSER = Analyser()
WORDS = [
    (word, term)
    for language, text in LANGUAGES.items()
    for word in re.findall(r"[^\W\d_]{9,}", text)
    for term in ANALYSER.index_terms(word, language)
    if bare(word.casefold()).startswith(term.partition("|")[0])
]


@given(data=st.data())
def test_a_slip_within_the_stem_of_a_word_of_any_script_is_mended(shelf: EmbeddedIndex, data: st.DataObject) -> None:
    """Whatever the slip, unless the word is there with it; what it leaves of the ending makes no difference."""
    word, term = data.draw(st.sampled_from(WORDS))
    at = data.draw(st.integers(1, len(term.partition("|")[0]) - 2))
    slips = [
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[0].lower() + word[at + 1 :],
    ]
    wrong = data.draw(st.sampled_from(slips))
    if not shelf.search(wrong, None, k=1, mode="sparse"):
        nearest = shelf.similar_terms([wrong])[wrong]
        assert any(term in terms for one in nearest for terms in ANALYSER.query_words(one)), nearest


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedIndex]:
    with index_of(tmp_path_factory.mktemp("shelf"), *LANGUAGES.values()) as index:
        yield index
