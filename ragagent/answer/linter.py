"""Where two prompts part: what stands before that place is read once, what stands after it is read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragagent.protocols import ShowsPrompt
from ragagent.types import Message

_SHOWN_TOKENS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The first token at which two prompts differ: its place (`shared`), and the texts around it.

    `first` and `second` are the tokens of the prompts, `before` is the end of what they share, and `then` are the
    beginnings of what follows in the one and in the other.
    """

    shared: int
    first: int
    second: int
    before: str
    then: tuple[str, str]
    message: int | None
    """Which message of both is the first that is not the same, from 0; None where one ends before they differ."""

    @property
    def stable(self) -> bool:
        """Whether the second prompt continues the first, up to where the assistant is to write."""
        return self.message is None

    def __str__(self) -> str:
        place = "where the first one ends" if self.stable else f"in message {self.message}"
        return (
            f"{self.shared} tokens alike, of {self.first} and {self.second}; they part {place}, after {self.before!r}: "
            f"{self.then[0]!r} there, {self.then[1]!r} here"
        )


def parting(first: Sequence[Message], second: Sequence[Message], llm: ShowsPrompt) -> Parting:
    """Where the prompts of two requests to `llm` part. Cost: tokenising both, no decoding."""
    one, two = llm.prompt_tokens(first), llm.prompt_tokens(second)
    shared = next(
        (at for at, (here, there) in enumerate(zip(one, two, strict=False)) if here[0] != there[0]),
        min(len(one), len(two)),
    )
    differs = next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    return Parting(
        shared=shared,
        first=len(one),
        second=len(two),
        before=_text(one[max(0, shared - _SHOWN_TOKENS) : shared]),
        then=(_text(one[shared : shared + _SHOWN_TOKENS]), _text(two[shared : shared + _SHOWN_TOKENS])),
        message=differs,
    )


def _text(tokens: Sequence[tuple[int, str]]) -> str:
    return "".join(spelled for _, spelled in tokens)
