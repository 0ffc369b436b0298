"""What has to be read, and which logits are wanted, to say how likely texts are after prompts.

What all prompts begin with is read once. What follows in each is a sequence of its own, and several of them are read
side by side, in the same batches. Texts after one prompt that are a single token each, as Yes and No, share a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ragagent.models.kv_snapshots import common_prefix

MOST_LOGITS = 64
"""So many rows of logits are had from one batch: of a vocabulary of 150,000 tokens each takes 0.6 MB."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The tokens of a text, at least one, and those of the prompt that it follows, at least one."""

    prompt: Sequence[int]
    text: Sequence[int]


@dataclass(frozen=True, slots=True)
class Row:
    """A token to be read at a position of a sequence. `wanted` has (pair, token) for what may come after it."""

    sequence: int
    position: int
    token: int
    wanted: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _Reading:
    """One sequence after what is shared, and by the place in it the (pair, token) that may come next."""

    tokens: tuple[int, ...]
    wanted: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def shared(pairs: Sequence[Pair]) -> int:
    """How many tokens all prompts begin with; the last token of each is left out, for its logits are needed."""
    first, *rest = (list(pair.prompt[:-1]) for pair in pairs)
    for prompt in rest:
        first = first[: common_prefix(first, prompt)]
    return len(first)


def batches(
    pairs: Sequence[Pair], begin: int, *, sequences: int, batch_tokens: int, room: int
) -> Iterator[tuple[int, list[list[Row]]]]:
    """(number of sequences, the batches to be read), one group of sequences after another.

    Sequences are numbered from 0 in each group, of at most `sequences` with at most `room` tokens together; no one
    alone is longer than that. What is shared, the first `begin` tokens, is in no row.
    """
    group: list[_Reading] = []
    for reading in _readings(pairs, begin):
        length = sum(len(one.tokens) for one in group) + len(reading.tokens)
        if group and (len(group) == sequences or length > room):
            yield len(group), _cut(group, begin, batch_tokens)
            group = []
        group.append(reading)
    yield len(group), _cut(group, begin, batch_tokens)


def _readings(pairs: Sequence[Pair], begin: int) -> list[_Reading]:
    found: dict[tuple[int, ...], _Reading] = {}
    for number, pair in enumerate(pairs):
        tokens = (*pair.prompt[begin:], *pair.text[:-1])
        reading = found.setdefault(tokens, _Reading(tokens))
        for place, token in enumerate(pair.text, len(pair.prompt) - 1 - begin):
            reading.wanted.setdefault(place, []).append((number, token))
    return list(found.values())


def _cut(group: Sequence[_Reading], begin: int, batch_tokens: int) -> list[list[Row]]:
    """The rows of a group, sequence by sequence, cut into batches."""
    batches: list[list[Row]] = [[]]
    logits = 0
    for sequence, reading in enumerate(group):
        for place, token in enumerate(reading.tokens):
            wanted = tuple(reading.wanted.get(place, ()))
            if len(batches[-1]) == batch_tokens or (wanted and logits == MOST_LOGITS):
                batches.append([])
                logits = 0
            batches[-1].append(Row(sequence, begin + place, token, wanted))
            logits += bool(wanted)
    return batches
