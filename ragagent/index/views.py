"""The newest view of an index, shared by threads: loaded once for each commit, whoever comes first."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator

from ragagent.index import schema
from ragagent.index.database import Readers
from ragagent.index.view import Loader, View

_ATTEMPTS = 4


class Views:
    """Gives read transactions together with the views of exactly their commits."""

    def __init__(self, loader: Loader, readers: Readers) -> None:
        self.loader = loader
        self._readers = readers
        self._refreshing = threading.Lock()
        self._view: View | None = None

    @property
    def held(self) -> View | None:
        """The view that was loaded last."""
        return self._view

    def newest(self) -> View:
        """The view of the newest commit."""
        with self.snapshot() as (_, view):
            return view

    def forget(self) -> None:
        """Lets go of what is held."""
        self._view = None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[tuple[sqlite3.Connection, View]]:
        """A read transaction and the view of exactly its commit."""
        for attempt in range(_ATTEMPTS):
            with self._readers.snapshot() as connection:
                view = self._view_of(connection, last=attempt == _ATTEMPTS - 1)
                if view is not None:
                    yield connection, view
                    return

    def _view_of(self, connection: sqlite3.Connection, *, last: bool) -> View | None:
        """The view of the connection's commit; None when that has been overtaken and another try is worth it."""
        generation = schema.generation(connection)
        view = self._view
        if view is not None and view.generation == generation:
            return view
        with self._refreshing:
            view = self._view
            if view is not None and view.generation == generation:
                return view
            if view is not None and view.generation > generation:
                # Overtaken by another thread; at the last try the database must be an older copy of itself.
                return self._renewed(connection, None) if last else None
            loaded = self._renewed(connection, view)
            if loaded.damaged and not last and self._overtaken(generation):
                # A merge may have removed the files between the transaction's begin and now.
                self._view = view
                return None
            return loaded

    def _renewed(self, connection: sqlite3.Connection, before: View | None) -> View:
        self._view = self.loader.load(connection, before)
        return self._view

    def _overtaken(self, generation: int) -> bool:
        with self._readers.snapshot() as connection:
            return schema.generation(connection) != generation
