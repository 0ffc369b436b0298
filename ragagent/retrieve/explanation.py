"""What a search did, step by step: for whoever asks why a passage was found."""

from __future__ import annotations

from dataclasses import dataclass

from ragagent.types import Hit, Stage

_MOST_WORDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A step that a search took: its name, what came of it in words, and how long it took."""

    name: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFilter:
    """A filter that was read from the question: the words it was read from, and the filter as it can be written.

    `name` is what takes it away again (`KnowledgeBase.explain(without=...)`, `search --without`).
    """

    name: str
    words: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A search with its hits, which carry the arithmetic of their ranks in their stages.

    `searched` is the question as it was searched first, and `filters` are those that were read from it.
    """

    query: str
    searched: str
    steps: tuple[Taken, ...]
    hits: tuple[Hit, ...]
    filters: tuple[ReadFilter, ...] = ()
    seconds: float = 0.0

    def text(self) -> str:
        """The steps in order, one line each, then each hit with why it is there and its stages."""
        lines = [f"question: {self.query}"]
        if self.searched != self.query:
            lines.append(f"searched: {self.searched}")
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {step.name} ({1000 * step.seconds:.0f} ms): {step.detail}")
        for hit in self.hits:
            first, *stages = hit.explain().splitlines()
            lines += [first, f"  why: {why(hit)}", *stages]
        return "\n".join(lines)


def why(hit: Hit) -> str:
    """How a hit came to its rank, in a sentence, from its stages; the arithmetic is theirs."""
    told = [part for stage in hit.stages if (part := _told(stage))]
    return "; ".join([*told, f"rank {hit.rank}"])


def _told(stage: Stage) -> str:
    """What one stage made of the hit, in words; "" for what ranks nothing."""
    match stage.name:
        case "dense":
            return _found(stage, "by meaning", f" (cosine {stage.score:.2f})" if stage.score is not None else "")
        case "sparse":
            return _found(stage, "by words", f" ({words})" if (words := _words(stage.detail)) else "")
        case "fusion":
            return f"together {_th(stage.rank)}"
        case "variants":
            return f"with other wordings {_th(stage.rank)}"
        case "rerank" if stage.rank is None:
            return f"not judged ({stage.detail.partition('; ')[2]})"
        case "rerank":
            return f"judged {_th(stage.rank)} by {stage.detail.partition(';')[0]}"
        case "recency":
            return f"by age ({stage.detail.partition(':')[0]}) {_th(stage.rank)}"
        case "diversity":
            return f"so as to differ {_th(stage.rank)}"
    return ""


def _found(stage: Stage, how: str, what: str) -> str:
    return f"not found {how}" if stage.rank is None else f"{_th(stage.rank)} {how}{what}"


def _th(rank: int | None) -> str:
    if rank is None:
        return "nowhere"
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _words(arithmetic: str) -> str:
    """The terms that the score is the sum of, the greatest share first."""
    pieces = [piece.split() for piece in arithmetic.split(" + ")]
    shares = [(share, piece[0]) for piece in pieces if piece[1:] and (share := _number(piece[1])) is not None]
    ordered = sorted(shares, key=lambda pair: -pair[0])
    return ", ".join(word for _, word in ordered[:_MOST_WORDS])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
