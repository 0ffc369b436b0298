"""Unicode in one form for searching and showing, without losing where each character came from.

What is stored and cited is the text as it was read. What is searched is its compatibility form (NFKC) without hidden
characters; what a model is shown has a visible mark in place of each hidden character, and the same length, so that
an offset in the one is an offset in the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragagent.text import hidden
from ragagent.types import Span

MARK = "\ufffd"
"""What stands in place of a hidden character."""

# ASCII, apart from a last letter that may carry a mark; and that letter with what is not ASCII.
_RUN = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+|[\x00-\x7f]+?(?=[\x00-\x7f]?[^\x00-\x7f]|\Z)")
_JOINING = re.compile("[\u1160-\u11ff\uff9e\uff9f]")  # what joins the character before it without being a mark
_MOST_MARKS = 64  # Normalising takes quadratic time where combining marks pile up.
_CHECKED_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A text as it is searched, and where each of its characters came from.

    `starts` and `ends` int32[n]: character `i` of `text` was made of `original[starts[i]:ends[i]]`; both ascend.
    """

    text: str
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]

    def original(self, start: int, end: int) -> Span:
        """The range of the original that `text[start:end]` was made of; an empty range stays empty."""
        if start >= end:
            at = int(self.starts[start]) if start < len(self.starts) else int(self.ends[-1]) if len(self.ends) else 0
            return Span(at, at)
        return Span(int(self.starts[start]), int(self.ends[end - 1]))


def searched(text: str) -> str:
    """`text` in compatibility form (NFKC), without hidden characters. Cost: next to nothing for ASCII."""
    if text.isascii():
        return text
    return "".join(made for made, _, _ in _pieces(text))


def mapped(text: str) -> Searched:
    """As `searched`, with the place of each character."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for made, start, end in _pieces(text):
        parts.append(made)
        same = len(made) == end - start
        starts.extend(range(start, end) if same else [start] * len(made))
        ends.extend(range(start + 1, end + 1) if same else [end] * len(made))
    return Searched(text="".join(parts), starts=np.array(starts, np.int32), ends=np.array(ends, np.int32))


def shown(text: str) -> str:
    """`text` as a model is shown it: of the same length, each hidden character replaced by U+FFFD.

    A text that turns its own reading direction, or carries words that nobody sees, cannot do so any more, and the mark
    says that something was there.
    """
    return hidden.replaced(text, MARK)


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """Parts of the searched text with their places: as they were, or one character and its marks each."""
    for match in _RUN.finditer(text):
        run, start = match.group(), match.start()
        if run.isascii() or _is_plain(run):
            yield run, start, match.end()
        else:
            yield from _clusters(run, start)


def _is_plain(run: str) -> bool:
    return len(run) <= _CHECKED_CHARS and unicodedata.is_normalized("NFKC", run) and not hidden.count(run)


def _clusters(run: str, at: int) -> Iterator[tuple[str, int, int]]:
    begin = 0
    for end in range(1, len(run) + 1):
        if end < len(run) and end - begin < _MOST_MARKS and _joins(run[end]):
            continue
        made = unicodedata.normalize("NFKC", hidden.without(run[begin:end]))
        if made:
            yield made, at + begin, at + end
        begin = end


def _joins(char: str) -> bool:
    return unicodedata.combining(char) != 0 or _JOINING.match(char) is not None
