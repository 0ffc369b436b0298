"""Bytes to text: byte order marks, declared and guessed encodings, and the refusal of what is not text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from ragagent.errors import UnsupportedFormat

# UTF-32 before UTF-16: the mark of UTF-32-LE begins with that of UTF-16-LE.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 65_536
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b\b")) + b"\x7f"
_MAX_CONTROL_SHARE = 0.02
_MAX_BROKEN_SHARE = 0.02
_WHITE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Text with the encoding it was read by; `replaced` counts the U+FFFD that stand for undecodable bytes."""

    text: str
    encoding: str
    replaced: int = 0


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """The text of `data`, without its byte order mark; newlines and control characters stay as they are.

    In this order: a byte order mark, UTF-8, UTF-16 without a mark, the `declared` encoding, UTF-8 with a few broken
    bytes, the best guess. A known `declared` encoding goes before UTF-8 only where it says something else can be
    meant by the same bytes. Raises UnsupportedFormat for what is not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(data[len(mark) :].decode(encoding, "replace"), encoding)
    sample = data[:_SAMPLE]
    wide = _wide(sample)
    if wide:
        return _checked(data.decode(wide, "replace"), wide)
    if _is_binary(sample):
        raise UnsupportedFormat("binary data, not text")
    stateful = _known(declared)
    if stateful in {"iso2022_jp", "iso2022_kr", "hz"}:
        return _checked(data.decode(stateful, "replace"), stateful)
    try:
        return Decoded(text=data.decode("utf-8"), encoding="utf-8")
    except UnicodeDecodeError:
        return _legacy(data, stateful)


def _legacy(data: bytes, declared: str | None) -> Decoded:
    """Text of bytes that are not valid UTF-8."""
    if declared and declared != "utf-8":
        text = data.decode(declared, "replace")
        if text.count("\ufffd") <= len(text) * _MAX_BROKEN_SHARE:
            return _checked(text, declared)
    if b"\0" in data[:_SAMPLE]:
        raise UnsupportedFormat("binary data, not text")
    text = data.decode("utf-8", "replace")
    if _mostly_utf8(text, data):
        return _checked(text, "utf-8")
    guessed = _guess(data)
    if guessed is None:
        raise UnsupportedFormat("no known text encoding fits the bytes")
    return _checked(data.decode(guessed, "replace"), guessed)


def _checked(text: str, encoding: str) -> Decoded:
    broken = text.count("\ufffd")
    if broken > max(3, len(text) * 0.1):
        raise UnsupportedFormat(f"not text: {broken} of {len(text)} characters cannot be decoded as {encoding}")
    return Decoded(text=text, encoding=encoding, replaced=broken)


def _mostly_utf8(text: str, data: bytes) -> bool:
    """Whether UTF-8 with a few broken bytes is likelier than another encoding: multi-byte characters prove it."""
    broken = text.count("\ufffd")
    multibyte = len(data) - len(text)
    return broken <= max(1, len(text) * _MAX_BROKEN_SHARE) and multibyte >= broken


def _known(encoding: str | None) -> str | None:
    """The codec name of `encoding` when Python has a text codec for it."""
    if not encoding:
        return None
    try:
        info = codecs.lookup(encoding.strip().strip("\"'"))
    except (LookupError, ValueError):
        return None
    if not getattr(info, "_is_text_encoding", True) or info.name in {"undefined", "idna", "punycode", "mbcs", "oem"}:
        return None
    # Browsers read these labels as the Windows superset, and files mean it.
    return {"iso8859-1": "cp1252", "ascii": "cp1252"}.get(info.name, info.name)


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Western text is zero."""
    if len(sample) < 4 or (len(sample) % 2 and len(sample) < _SAMPLE):
        return None
    pairs = len(sample) // 2
    even, odd = sample[0 : 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.02 * pairs:
        encoding = "utf-16-le"
    elif even > 0.4 * pairs and odd < 0.02 * pairs:
        encoding = "utf-16-be"
    else:
        return None
    text = sample.decode(encoding, "replace")
    seen = sum(character.isprintable() or character.isspace() for character in text)
    return encoding if seen > 0.95 * len(text) else None


def _is_binary(sample: bytes) -> bool:
    return len(sample) - len(sample.translate(None, _CONTROLS)) > len(sample) * _MAX_CONTROL_SHARE


def _guess(data: bytes) -> str | None:
    """The encoding that charset-normalizer finds likeliest; only a sample is looked at, so the time is bounded."""
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE]
    best = from_bytes(sample, steps=8, chunk_size=512).best()
    if best is not None:
        return str(best.encoding)
    # A short note in Windows-1252 is too little for statistics; it is still text when it has words.
    text = sample.decode("cp1252", "replace")
    words = sum(character.isalnum() or _WHITE.match(character) is not None for character in text)
    return "cp1252" if text and words >= 0.7 * len(text) else None
