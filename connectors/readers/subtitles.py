"""Subtitles (.srt, .vtt): what is said as running text, by speaker; no times and no marks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line
from ragagent.errors import ReadError
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode

MEDIA_TYPE = "text/vtt"
SRT_MEDIA_TYPE = "application/x-subrip"
_PAUSE_S = 3.0
_LONG_CHARS = 500
_TIMES = re.compile(r"^\s*((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{1,3})\s*-->\s*((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{1,3})")
_VOICE = re.compile(r"<v(?:\.[^\s>]{0,100})?\s+([^>]{1,200})>")
_MARKS = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_SENTENCE_END = re.compile(r"[.!?。！？…][\"'»”)\]]?$")


class _Cue(NamedTuple):
    start: float
    end: float
    speaker: str
    text: str


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """A paragraph for each turn of a speaker, or up to a pause; the length goes to the metadata."""
    text = clean(decode(data).text)
    cues = list(_cues(text))
    if not cues:
        raise ReadError("no line says when it is shown, so these are no subtitles")
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for speaker, words in _turns(cues):
        builder.add("paragraph", f"{speaker}: {words}" if speaker else words)
    kind = MEDIA_TYPE if text.lstrip().startswith("WEBVTT") else SRT_MEDIA_TYPE
    return builder.parsed(media_type=kind, metadata={"duration_s": round(max(cue.end for cue in cues), 1)})


def _cues(text: str) -> Iterator[_Cue]:
    """Every cue, one for each voice inside it; comments and styles have no times and fall away."""
    current: re.Match[str] | None = None
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        times = _TIMES.match(line)
        if times or not line.strip():
            if current is not None:
                yield from _voices(current, lines)
            current, lines = times, []
        elif current is not None:
            lines.append(line)


def _voices(times: re.Match[str], lines: list[str]) -> Iterator[_Cue]:
    pieces = _VOICE.split("\n".join(lines))
    speakers = ["", *pieces[1::2]]
    for speaker, piece in zip(speakers, pieces[::2], strict=True):
        words = one_line(unescape(_MARKS.sub("", piece)))
        if words:
            yield _Cue(_seconds(times[1]), _seconds(times[2]), one_line(speaker), words)


def _turns(cues: list[_Cue]) -> Iterator[tuple[str, str]]:
    words, length = [cues[0].text], len(cues[0].text)
    for before, cue in itertools.pairwise(cues):
        paused = cue.start - before.end > _PAUSE_S
        full = length > _LONG_CHARS and _SENTENCE_END.search(before.text)
        if cue.speaker != before.speaker or (not cue.speaker and (paused or full)):
            yield before.speaker, " ".join(words)
            words, length = [], 0
        # Captions that roll up say the line before again.
        if not words or cue.text != before.text:
            words.append(cue.text)
            length += len(cue.text)
    yield cues[-1].speaker, " ".join(words)


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.replace(",", ".").split(":"):
        total = total * 60 + float(part)
    return total


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read, suffixes=(".vtt",), magic=(b"WEBVTT", b"\xef\xbb\xbfWEBVTT")),
    Format(media_type=SRT_MEDIA_TYPE, read=read, suffixes=(".srt",)),
)
