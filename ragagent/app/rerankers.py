"""The rerankers of a knowledge base: the one that was passed in, and those that the settings name, opened when used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ragagent.app import parts
from ragagent.protocols import LLM, Embedder, Reranker
from ragagent.retrieve.pace import Pace
from ragagent.settings import Rerank, Settings

GIVEN = "given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A reranker, ready, and what is known of its pace."""

    reranker: Reranker
    pace: Pace = field(default_factory=Pace)


class Rerankers:
    """Opens each kind once and closes what it opened. Safe to use from several threads."""

    def __init__(self, *, given: Reranker | None, embedder: Callable[[], Embedder], llm: Callable[[], LLM]) -> None:
        """What was passed in stays the caller's; `embedder` and `llm` give those in force."""
        self._given = given
        self._embedder = embedder
        self._llm = llm
        self._judges: dict[str, Judge] = {}
        self._lock = threading.RLock()

    def judge(self, kind: Rerank | None, settings: Settings) -> Judge | None:
        """The one of that kind; for None the one that was passed in, else what the settings name. None for "none".

        Loads what it needs at the first use. Raises what opening it raises.
        """
        chosen = kind or (GIVEN if self._given is not None else settings.retrieval.rerank)
        if chosen == "none":
            return None
        with self._lock:
            if chosen not in self._judges:
                opened = self._given if chosen == GIVEN else None
                self._judges[chosen] = Judge(
                    reranker=opened or parts.open_reranker(settings, chosen, self._embedder, self._llm)
                )
            judge = self._judges[chosen]
        judge.reranker.prepare()
        return judge

    def close(self) -> None:
        """Closes what was opened here."""
        with self._lock:
            for kind, judge in self._judges.items():
                if kind != GIVEN:
                    judge.reranker.close()
            self._judges.clear()
