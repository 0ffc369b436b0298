"""What a model wrote, read leniently: its claims with the quotes it gave, and what of it may be shown on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ragagent.answer.quote import MAX_CLAIMS, NOT_FOUND

_FENCE = re.compile(r"^\s*```\w*\s*|\s*```\s*$")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_LABEL = re.compile(r"^\s*(?:answer|quote)\s*:\s*", re.IGNORECASE)
_MARKS = " \t\r\n.*\"'`"
# What is shown only once it can no longer be the beginning of one of these.
_HELD_BACK = ("".join(NOT_FOUND.split()), "ANSWER:", "QUOTE:")
_MAX_CHARS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One claim as the model wrote it, with the quote it gave for it ("" for none)."""

    text: str
    quote: str = ""


def parse(text: str) -> list[Draft]:
    """The claims in what a model wrote, at most three; none when it wrote that it found nothing.

    Read are lines, each a claim, where lines that begin with ">" are the quote of the claim before them; and JSON: an
    object, or a list of objects, with "answer" (or "text", "claim") and "quote".
    """
    text = unfenced(text)
    drafts = _from_json(text) if text[:1] in {"{", "["} else list(_from_lines(text))
    return [draft for draft in drafts if draft.text and not is_refusal(draft.text)][:MAX_CLAIMS]


def unfenced(text: str) -> str:
    """A model's text, within bounds, without the fence of a code block that it may put around it."""
    return _FENCE.sub("", text[:_MAX_CHARS].strip())


def is_refusal(text: str) -> bool:
    """Whether a model's text says that nothing was found."""
    return _bare(text).startswith(NOT_FOUND)


def _bare(text: str) -> str:
    """The text in capitals, without a label and the marks that a model may put around it."""
    return _LABEL.sub("", text.strip(_MARKS)).strip(_MARKS).upper()


class Shown:
    """Tells, as a text comes in, what of it may be shown: the claims, not their quotes, and never a refusal."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = ""

    def add(self, piece: str) -> str:
        """What may be shown now and was not before."""
        self._text += piece
        plain = "".join(line for line in self._text.splitlines(keepends=True) if not line.lstrip().startswith(">"))
        if _undecided(plain):
            return ""
        new = plain.rstrip()[len(self._shown) :]
        self._shown += new
        return new


def _undecided(text: str) -> bool:
    """Whether a text is a refusal, may become one, or is something other than lines."""
    begun = "".join(_bare(text).split())
    may_become = any(start.startswith(begun[: len(start)]) for start in _HELD_BACK)
    return may_become or text.lstrip()[:1] in "{[`"


def _from_lines(text: str) -> Iterator[Draft]:
    said, quotes = "", []
    for line in [line.strip() for line in text.splitlines() if line.strip()]:
        if line.startswith(">"):
            quotes.append(_unquoted(line.lstrip("> ")))
            continue
        if said:
            yield Draft(text=said, quote=" ".join(quotes))
        said, quotes = _LABEL.sub("", _BULLET.sub("", line)), []
    if said:
        yield Draft(text=said, quote=" ".join(quotes))


def _from_json(text: str) -> list[Draft]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return list(_from_lines(text))
    return [draft for entry in _entries(value) if (draft := _from_entry(entry)) is not None]


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        nested = [entry for entry in value.values() if isinstance(entry, list)]
        return nested[0] if nested else [value]
    return value if isinstance(value, list) else []


def _from_entry(entry: Any) -> Draft | None:
    if not isinstance(entry, dict):
        return None
    said = next((entry[key] for key in ("answer", "text", "claim") if isinstance(entry.get(key), str)), "")
    quote = entry.get("quote")
    return Draft(text=" ".join(said.split()), quote=_unquoted(quote) if isinstance(quote, str) else "")


def _unquoted(text: str) -> str:
    """A quote without the quotation marks that a model may put around it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] in "\"“'«" and text[-1] in "\"”'»" else text
