"""What bounds a call: the tokens of a result, the calls at work at once, the sizes of what comes in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_HITS = 50
MAX_PAGE = 100
MAX_QUESTION_CHARS = 4000
MAX_PASSAGE_CHARS = 4000
MAX_ALSO = 10
MAX_TEXT_CHARS = 1_000_000
LEAST_TOKENS = 500
MOST_TOKENS = 100_000

_BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a server. `max_tokens` is for results whose call names no budget of its own."""

    max_tokens: int = 8000
    concurrent: int = 8
    """Calls that work at once; the others wait."""
    waiting: int = 64
    """Calls that may wait; more are told to come back."""
    max_body_bytes: int = 4 * 1024 * 1024
    max_sessions: int = 1000
    session_idle_s: float = 1800.0


def tokens_of(value: Any) -> int:
    """How many tokens a text, or the JSON of a value, takes in a client's model, at most, as a rule.

    Nobody knows the client's tokenizer. A token of text has some four bytes in English and three or more in other
    languages (docs/mcp.md has the figures), so three are counted; only rare scripts and random letters take more.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def cut(text: str, tokens: int) -> str:
    """The beginning of `text` that takes at most that many tokens once it stands in JSON."""
    room = max(0, tokens) * _BYTES_PER_TOKEN
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        if len(json.dumps(text[:middle], ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2 <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]
