"""Where sentences begin and end: fast, by rules, in every script that marks its full stops."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragagent.types import Span

MAX_CHARS = 1_000
"""A longer sentence is cut at white space, so that no caller has to bound it again."""

_ABBREVIATIONS = frozenset(
    """
    adm al approx apr art aufl aug av ave bd bldg blvd bsp bzw ca capt cf ch chap cmdr co col corp cpl dec
    dept dgl dipl dir dr ed eds eg eq eqs esp est etc ex exc feb fig figs fl fr ft gen gov hon hr hrs ie inc
    inkl jan jr jul jun lt ltd maj mar max med mfg mgr min misc mr mrs ms msgr mt mtl no nos nov nr oct op p
    pp para pl pres prof ref refs rep rev sec sen sep sept sgt sr st str tab tel usw vgl viz vol vols vs z
    zzgl
    """.split()  # noqa: SIM905 - a list of forty quoted words is harder to read
)
_CLOSERS = "\"'”’»›)\\]}」』”）】》"
_END = re.compile(
    rf"(?P<stop>(?<![.!?…])[.!?…]++)[{_CLOSERS}]*(?:\[\d+\])*(?=\s)"
    rf"|[。！？｡．؟۔।]+[{_CLOSERS}]*"
    r"|\n[^\S\n]*(?=\n)"
    r"|\n(?=[^\S\n]*(?:[-*•▪◦‣–—+][^\S\n]|\(?(?:\d{1,3}|[a-zA-Z])[.)][^\S\n]|\#{1,6}[^\S\n]|>))"
    r"|(?P<line>\n)"
)
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$|\d+$")
_INDENT = 60
_WRAPPED_AT = 50
"""A line at least this long that goes on in the next one is taken for wrapped prose."""


def sentences(text: str, span: Span | None = None) -> list[Span]:
    """The sentences of `text`, or of its part `span`, in order: disjoint, without outer white space, none empty.

    Together they cover every character that is not white space. A blank line, a list bullet, a table row and a short
    line end a sentence; an abbreviation, an initial and a decimal point do not. None is longer than MAX_CHARS.
    """
    begin, end = span if span is not None else (0, len(text))
    found: list[Span] = []
    start = begin
    for stop in _ends(text, begin, end):
        found.extend(_trimmed(text, start, stop))
        start = stop
    found.extend(_trimmed(text, start, end))
    return found


def _ends(text: str, begin: int, end: int) -> Iterator[int]:
    for match in _END.finditer(text, begin, end):
        if match["stop"] is not None:
            if _ends_sentence(text, match, begin, end):
                yield match.end()
        elif match["line"] is None or _line_ends(text, match.start(), begin, end):
            yield match.end()


def _ends_sentence(text: str, match: re.Match[str], begin: int, end: int) -> bool:
    """Whether a full stop, with white space after it, ends a sentence."""
    if match["stop"] != ".":
        return match["stop"] != "..." or not _next_is_lower(text, match.end(), end)
    if _next_is_lower(text, match.end(), end):
        return False
    word = _LAST_WORD.search(text, max(begin, match.start() - 24), match.start())
    if word is None:
        return True
    last = word.group()
    if last.isdigit():
        # "1. Scope" at the start of a line is a number, not a sentence.
        return (
            len(last) > 3
            or text[max(begin, word.start() - 1) : word.start()].strip(" \t") not in {"", "\n"}
            or (not _starts_line(text, word.start(), begin))
        )
    if len(last) == 1:
        return not last.isupper() or last == "I"
    return last.lower() not in _ABBREVIATIONS and not _dotted(last)


def _dotted(word: str) -> bool:
    """Whether a word is like "e.g" or "U.S": single letters between stops."""
    return "." in word and all(len(part) == 1 for part in word.split("."))


def _starts_line(text: str, position: int, begin: int) -> bool:
    line = text.rfind("\n", max(begin, position - _INDENT), position) + 1
    return (line > 0 or position - begin <= _INDENT) and not text[max(line, begin) : position].strip()


def _next_is_lower(text: str, position: int, end: int) -> bool:
    for index in range(position, min(end, position + 8)):
        if not text[index].isspace():
            return text[index].islower()
    return False


def _line_ends(text: str, newline: int, begin: int, end: int) -> bool:
    """Whether a single newline ends a sentence: it does not inside wrapped prose."""
    line = text[max(begin, text.rfind("\n", begin, newline) + 1) : newline]
    if len(line) < _WRAPPED_AT or " | " in line or "\t" in line:
        return True
    after = text[newline + 1 : min(end, newline + 1 + 400)].partition("\n")[0]
    return " | " in after or "\t" in after


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    """The range without outer white space, cut where it is too long."""
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return
    start += len(piece) - len(piece.lstrip())
    end = start + len(stripped)
    while end - start > MAX_CHARS:
        cut = _cut(text, start)
        last = start + len(text[start:cut].rstrip())
        yield Span(start, last)
        start = cut
        while text[start].isspace():
            start += 1
    yield Span(start, end)


def _cut(text: str, start: int) -> int:
    """Where to cut a sentence that is too long: after the last white space in the second half of its room."""
    for index in range(start + MAX_CHARS, start + MAX_CHARS // 2, -1):
        if text[index].isspace():
            return index
    return start + MAX_CHARS
