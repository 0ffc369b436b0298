from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ModelLoadError
from ragagent.models.tokenizer import FastTokenizer, read_tokenizer

WORDS = st.sampled_from(
    ["the", "café", "naïve", "東京", "e\u0301a", "ﬁne", "x" * 120, "don't", "\x00", "\ud800", "😀", "ß"]
)
SPACES = st.sampled_from([" ", "\n", "\t", "\u00a0", "\u2028", "  ", "", "."])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=60).map(lambda parts: "".join(a + b for a, b in parts)) | st.text()


@pytest.fixture(scope="module")
def tokenizer(minilm: Path) -> FastTokenizer:
    return read_tokenizer(minilm / "tokenizer.json")


@given(text=TEXTS)
@settings(max_examples=150)
def test_offsets_are_ranges_within_the_text_in_order(text: str, tokenizer: FastTokenizer) -> None:
    offsets = tokenizer.offsets(text)
    assert offsets.dtype == np.int32
    assert offsets.shape == (len(offsets), 2)
    assert (offsets[:, 0] <= offsets[:, 1]).all()
    assert (offsets >= 0).all()
    assert (offsets <= len(text)).all()
    assert (np.diff(offsets[:, 0]) >= 0).all()
    assert (np.diff(offsets[:, 1]) >= 0).all()


@given(text=TEXTS, times=st.integers(1, 40))
@settings(max_examples=60)
def test_a_text_tokenised_in_pieces_has_the_tokens_of_the_whole(
    text: str, times: int, tokenizer: FastTokenizer
) -> None:
    from tokenizers import Tokenizer

    long = text * times + "end of it. " * 400
    reference = Tokenizer.from_str(tokenizer._engine.to_str())
    expected = reference.encode(long.replace("\ud800", "\ufffd"), add_special_tokens=False).offsets
    assert [tuple(pair) for pair in tokenizer.offsets(long)] == expected


@given(text=TEXTS, times=st.integers(1, 60), limit=st.integers(3, 64))
@settings(max_examples=60)
def test_the_input_of_a_long_text_is_the_beginning_of_the_input_of_the_whole(
    text: str, times: int, limit: int, tokenizer: FastTokenizer
) -> None:
    from tokenizers import Tokenizer

    long = (text + " many words. ") * times * 8
    reference = Tokenizer.from_str(tokenizer._engine.to_str())
    reference.enable_truncation(limit)
    assert tokenizer.token_ids(long, limit) == reference.encode(long.replace("\ud800", "\ufffd")).ids


def test_counts_are_those_of_transformers(tokenizer: FastTokenizer, minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(minilm)
    for text in ("Hello, wörld! " * 50, "", "  ", "naïve\nX\r\ny", "日本語のテキスト 123"):
        found = reference(text, add_special_tokens=False, return_offsets_mapping=True)
        assert tokenizer.offsets(text).tolist() == [list(pair) for pair in found["offset_mapping"]]


def test_a_lone_surrogate_keeps_every_offset_in_place(tokenizer: FastTokenizer) -> None:
    assert tokenizer.offsets("ab \ud800 cd").tolist()[-1] == [5, 7]


def test_a_text_of_megabytes_without_a_space_is_cut_like_any_other(tokenizer: FastTokenizer) -> None:
    assert len(tokenizer.token_ids("東京" * 1_000_000, 256)) == 256
    assert len(tokenizer.token_ids("a" * 3_000_000, 256)) == 3


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"]])
def test_what_is_no_string_is_an_error_that_says_so(tokenizer: FastTokenizer, value: object) -> None:
    with pytest.raises(ConfigError, match=type(value).__name__):
        tokenizer.offsets(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_broken_tokenizer_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path / "tokenizer.json")
