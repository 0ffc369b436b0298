"""What a search did, step by step: for whoever asks why a passage was found."""

from __future__ import annotations

from dataclasses import dataclass

from ragagent.types import Hit


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
        """The steps in order, one line each, then each hit with its stages."""
        lines = [f"question: {self.query}"]
        if self.searched != self.query:
            lines.append(f"searched: {self.searched}")
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {step.name} ({1000 * step.seconds:.0f} ms): {step.detail}")
        return "\n".join([*lines, *(hit.explain() for hit in self.hits)])
