"""One analyser for every script: what is written is found by what is asked."""

from __future__ import annotations

import random
import threading
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.text.analyser import MAX_TERM_CHARS, STOP_WORDS, Analyser

ANALYSER = Analyser()
LANGUAGE = st.sampled_from(["", "en", "de", "fr", "vi", "tr", "ru", "ar", "fa", "hi", "el", "zh", "ko", "xx"])
WORD = (
    st.sampled_from(
        [
            "the",
            "Häuser",
            "runs",
            "l'eau",
            "città",
            "İstanbul",
            "niños",
            "trường",
            "кошками",
            "كتابها",
            "कमरे",
            "数据",
            "ﬁne",
        ]
    )
    | st.sampled_from(["πόλεις", "AB-1234", "getName", "3,5", "O'Neil's"])
    | st.text("abcdeäßçñịкошمعक", min_size=1, max_size=12)
)
TEXT = st.text(max_size=200) | st.text("aB1_.,-/@'+#é数ก한ि \u0301\u00ad", max_size=60)


@given(TEXT)
def test_terms_hold_no_space_and_are_bounded(text: str) -> None:
    for term in ANALYSER.index_terms(text):
        assert term
        assert len(term) <= MAX_TERM_CHARS
        assert term.split() == [term]
        term.encode()


@given(TEXT)
def test_the_same_text_gives_the_same_terms_with_and_without_the_cache(text: str) -> None:
    assert Analyser().index_terms(text) == ANALYSER.index_terms(text) == ANALYSER.index_terms(text)


@given(TEXT, LANGUAGE)
def test_a_question_asks_for_nothing_that_its_own_text_would_not_be_indexed_by(text: str, language: str) -> None:
    assert set(ANALYSER.query_terms(text, language)) <= set(ANALYSER.index_terms(text, language))
    assert bool(ANALYSER.query_terms(text, language)) == bool(ANALYSER.index_terms(text, language))


@given(st.lists(WORD, min_size=1, max_size=25).map(" ".join), LANGUAGE)
def test_whatever_a_text_was_taken_for_each_of_its_words_is_found_by_the_same_word(text: str, language: str) -> None:
    asked = ANALYSER.query_words(text)
    written = ANALYSER.index_terms(text, language)
    assert set(ANALYSER.query_terms(text, language)) <= {term for word in asked for term in word}
    for word in asked:
        assert len(set(word) & set(written)) >= 1
        assert len(word) == 1 or "|" not in word[0]
        assert all("|" in term for term in word[1:])


@given(st.text(max_size=40))
def test_no_text_holds_the_mark_of_a_language(text: str) -> None:
    assert not any("|" in term for term in ANALYSER.index_terms(text))


@given(TEXT)
def test_equivalent_unicode_is_the_same_text(text: str) -> None:
    assert ANALYSER.index_terms(unicodedata.normalize("NFD", text)) == ANALYSER.index_terms(
        unicodedata.normalize("NFC", text)
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_long_text_gives_the_terms_of_its_words(seed: int) -> None:
    words = random.Random(seed).choices(["alpha", "82,959", "x_1", "数据库", "C++", "end."], k=3000)
    assert ANALYSER.index_terms(" ".join(words)) == [term for word in words for term in ANALYSER.index_terms(word)]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The foxes' running company's engines", ["the", "fox", "run", "compani", "engin"]),
        ("isn't it?", ["isn't", "it"]),
        ("café Straße naïve ﬁre", ["cafe", "strass", "naiv", "fire"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("مرحبا ١٢٣", ["مرحبا", "123"]),
        ("我们使用Python检索", ["我们", "们使", "使用", "python", "检索"]),
        ("東京。", ["東京"]),
        ("水", ["水"]),
        ("한국어 문장", ["한국", "국어", "문장"]),
        ("ไทย", ["ไท", "ทย"]),
        ("82,959", ["82,959", "82959"]),
        ("1,234,567.89", ["1,234,567.89", "1234567.89"]),
        ("1.234,56", ["1.234,56", "1234.56"]),
        ("3.14", ["3.14"]),
        ("3,5", ["3,5", "3.5"]),
        ("1,2,3", ["1,2,3", "1", "2", "3"]),
        ("2024-01-15", ["2024-01-15", "2024", "01", "15"]),
        ("$5.00 is 50%", ["5.00", "is", "50"]),
        ("getUserName", ["getusername", "get", "user", "name"]),
        ("XMLHttpRequest2", ["xmlhttprequest2", "xml", "http", "request"]),
        ("max_tokens", ["max_tokens", "max", "token"]),
        ("os.path.join", ["os.path.join", "os", "path", "join"]),
        ("AB-1234-X", ["ab-1234-x", "ab", "1234", "x"]),
        ("COVID-19", ["covid-19", "covid", "19"]),
        ("copper-free and/or", ["copper", "free", "and", "or"]),
        ("C++, C# & AT&T", ["c", "c++", "c", "c#", "at&t", "at", "t"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("one\u2014two\u2013three", ["one", "two", "three"]),
        ("a\x00b \ud800c", ["a", "b", "c"]),
        ("", []),
        ("?! ... -- '' +", []),
    ],
)
def test_examples(text: str, terms: list[str]) -> None:
    assert ANALYSER.index_terms(text) == terms


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("running engines", "Run the engine"),
        ("café", "CAFE"),
        ("82,959 shares", "82959"),
        ("part AB-1234-X", "ab-1234-x"),
        ("part AB-1234-X", "1234"),
        ("getUserName()", "user name"),
        ("max_tokens=5", "tokens"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("今天天气很好", "天气"),
        ("대한민국의 수도", "대한민국"),
    ],
)
def test_what_is_written_is_found_by_what_is_asked(written: str, asked: str) -> None:
    assert set(ANALYSER.query_terms(asked)) <= set(ANALYSER.index_terms(written))
    assert all(set(word) & set(ANALYSER.index_terms(written)) for word in ANALYSER.query_words(asked))


@pytest.mark.parametrize(
    ("language", "written", "asked"),
    [
        ("de", "Die Kirchen der Städte", "Kirche in der Stadt"),
        ("fr", "Les gouvernements européens", "gouvernement européenne"),
        ("es", "las canciones", "canción"),
        ("it", "le città italiane", "citta italiana"),
        ("tr", "kitaplarından", "kitaplar"),
        ("ru", "о красивых городах", "красивый город"),
        ("ar", "المدارس", "مدارس"),
        ("hi", "कमरों", "कमरे"),
        ("el", "οι μεγάλες πόλεις", "μεγάλη πόλη"),
        ("vi", "trường học", "Trường"),
    ],
)
def test_forms_of_a_word_are_found_in_its_language(language: str, written: str, asked: str) -> None:
    indexed = set(ANALYSER.index_terms(written, language))
    missed = [word for word in ANALYSER.query_words(asked) if not indexed & set(word)]
    assert not missed


def test_words_that_differ_in_their_accents_alone_differ_where_accents_tell() -> None:
    indexed = set(ANALYSER.index_terms("trường", "vi"))
    assert [set(word) & indexed for word in ANALYSER.query_words("truong")] == [set()]


def test_the_stop_words_of_a_language_are_left_out_where_it_is_sure() -> None:
    assert [word[0] for word in ANALYSER.query_words("Wie viele Kirchen gibt es in der Stadt?")] == [
        "kirchen",
        "gibt",
        "stadt",
    ]
    assert [word[0] for word in ANALYSER.query_words("Die Hard")] == ["die", "hard"]


def test_stop_words_are_left_out_of_a_question_that_has_others() -> None:
    assert ANALYSER.query_terms("What is the capital of France?") == ["capit", "franc"]
    assert ANALYSER.query_terms("To be, or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert "the" in STOP_WORDS
    assert "the" in ANALYSER.index_terms("the capital")


def test_piled_up_marks_and_endless_words_are_bounded_work() -> None:
    # Both take minutes where the work is quadratic; the test's time limit is the judge.
    assert ANALYSER.index_terms("a" + "\u0301\u0327" * 500_000)
    assert ANALYSER.index_terms("aB1-" * 500_000)
    assert max(map(len, ANALYSER.index_terms("x" * 100 + "# " + "ΐ" * 100))) == MAX_TERM_CHARS
    assert ANALYSER.index_terms("x" * 2_000_000) == ["x" * MAX_TERM_CHARS] * -(-2_000_000 // 4096)


def test_threads_share_one_analyser() -> None:
    shared, texts = Analyser(), [f"running{letter}ing engines{letter}" for letter in "abcdefgh"] * 50
    expected = [ANALYSER.index_terms(text) for text in texts]
    results: list[list[list[str]]] = []
    threads = [
        threading.Thread(target=lambda: results.append([shared.index_terms(text) for text in texts])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4
