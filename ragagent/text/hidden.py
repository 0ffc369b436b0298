"""Characters that are not seen but change what is read: bidirectional controls, tags, and blanks without width.

With them a text can be made to say one thing to people and another to a model. The joiners U+200C and U+200D and the
marks U+200E and U+200F are left alone: Persian, Indic scripts, emoji, and lines that mix directions need them.
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\u00ad\u115f\u1160\u180e\u200b\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\U000e0000-\U000e007f]"
)


def count(text: str) -> int:
    """How many hidden characters are in `text`."""
    return sum(1 for _ in _HIDDEN.finditer(text)) if not text.isascii() else 0


def without(text: str) -> str:
    """`text` as a model should see it; offsets in it are not those of `text`."""
    return text if text.isascii() else _HIDDEN.sub("", text)


def replaced(text: str, mark: str) -> str:
    """`text` with `mark` for each hidden character; offsets stay where `mark` is one character."""
    return text if text.isascii() else _HIDDEN.sub(mark, text)
