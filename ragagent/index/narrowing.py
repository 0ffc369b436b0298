"""Views that hold some documents alone: every number in a ranking is counted among these, as if there were no others.

A ranking is a function of the live chunks, so it is enough to call the chunks of all other documents dead. The views
that were asked for last are kept, and with them what was counted for their terms.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import numpy as np

from ragagent.index import filters
from ragagent.index.view import View
from ragagent.where import Expression, Where, expression

MOST_KEPT = 16
"""Of a million chunks each takes 1 MB, and up to 8 MB for what is counted as terms are asked for."""


class Narrowings:
    """The narrowed views of one index. Safe to use from several threads."""

    def __init__(self, columns: filters.Columns) -> None:
        self._columns = columns
        self._kept: dict[Expression, View] = {}
        self._lock = threading.Lock()

    def of(self, connection: sqlite3.Connection, view: View, within: Where | None) -> View:
        """`view`, of the commit that the connection sees, without what `within` does not let through."""
        if within is None:
            return view
        wanted = expression(within)
        with self._lock:
            known = self._kept.pop(wanted, None)
            if known is not None:
                self._kept[wanted] = known
        if known is not None and (known.generation, known.edition) == (view.generation, view.edition):
            return known
        narrowed = self._narrowed(connection, view, wanted)
        with self._lock:
            # An older one would keep the files of its segments.
            self._kept = {key: one for key, one in self._kept.items() if one.generation >= view.generation}
            self._kept[wanted] = narrowed
            while len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return narrowed

    def count(self, connection: sqlite3.Connection, view: View, within: Where) -> tuple[int, int]:
        """How many documents, and how many chunks of the view, `within` lets through."""
        accepted = filters.accepted(connection, within, self._columns, view.generation)
        rows = filters.whole_numbers(connection, "SELECT row AS document FROM documents", ())
        documents = len(rows) if accepted is None else int(np.count_nonzero(accepted.documents[rows]))
        return documents, self.of(connection, view, within).chunks

    def forget(self) -> None:
        """Lets go of what is kept."""
        with self._lock:
            self._kept.clear()

    def _narrowed(self, connection: sqlite3.Connection, view: View, within: Expression) -> View:
        accepted = filters.accepted(connection, within, self._columns, view.generation)
        if accepted is None:
            return view
        parts = [part.within(accepted.documents[part.block.documents]) for part in view.parts]
        return replace(view, parts=tuple(part for part in parts if part.count), totals=())
