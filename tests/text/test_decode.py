from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import UnsupportedFormat
from ragagent.text.decode import decode

TEXT = "Zürich, 3 € für Öl – naïve café. Привет, мир! 日本語の文章です。\n"


@given(st.binary(max_size=400))
def test_any_bytes_give_text_or_the_declared_error(data: bytes) -> None:
    try:
        decoded = decode(data)
    except UnsupportedFormat:
        return
    assert decoded.replaced == decoded.text.count("\ufffd")


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "latin-1", "no-such", "utf-16", "base64", "", "cp932"]))
def test_a_declared_encoding_never_breaks_decoding(data: bytes, declared: str) -> None:
    try:
        assert isinstance(decode(data, declared=declared).text, str)
    except UnsupportedFormat:
        return


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
def test_valid_utf8_comes_back_as_it_was(text: str) -> None:
    assert decode(text.encode()).text == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_goes(mark: bytes, encoding: str) -> None:
    decoded = decode(mark + TEXT.encode(encoding))
    assert (decoded.text, decoded.encoding) == (TEXT, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_recognised(encoding: str) -> None:
    text = "Plain western text, wide characters.\r\n" * 3
    assert decode(text.encode(encoding)).text == text


def test_a_few_broken_bytes_do_not_cost_the_rest_of_a_utf8_text() -> None:
    data = ("Größe und Höhe für Übung. " * 20).encode() + b"\xff\xfe ende"
    decoded = decode(data)
    assert decoded.encoding == "utf-8"
    assert decoded.text.startswith("Größe und Höhe")
    assert decoded.replaced == 2


def test_western_text_without_utf8_is_read() -> None:
    assert "café crème à la carte" in decode("Un café crème à la carte, s'il vous plaît. Voilà.".encode("cp1252")).text


def test_the_declared_encoding_is_believed_for_bytes_that_are_not_utf8() -> None:
    assert decode("日本語の文章".encode("cp932"), declared="shift_jis").text == "日本語の文章"


@pytest.mark.parametrize("data", [bytes(range(256)) * 8, b"\x00\x01\x02\x03" * 50, b"MZ\x90\x00\x03" + b"\x00" * 200])
def test_binary_data_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="not text"):
        decode(data)
