"""Which embedder a knowledge base works with: the one its live edition was built with, whoever swapped that in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ragagent.app.parts import open_embedder, open_named
from ragagent.errors import ConfigError, FingerprintMismatch, ModelError
from ragagent.protocols import Embedder, Index
from ragagent.settings import Settings

Opener = Callable[[str], Embedder]


class Embedders:
    """The embedders of one knowledge base, each opened when first needed and found again by its fingerprint.

    Safe to use from several threads. What was passed in stays the caller's; what is opened here is closed here.
    """

    def __init__(
        self, index: Index, path: Path, settings: Settings, *, given: Embedder | None, opener: Opener | None
    ) -> None:
        self.settings = settings
        self._index = index
        self._path = path
        self._current = given
        self._opener = opener
        self._known = {} if given is None else {given.fingerprint: given}
        self._owned: list[Embedder] = []
        self._lock = threading.RLock()

    def own(self, embedder: Embedder) -> None:
        """Takes over an embedder that was passed in: it is closed here from now on."""
        self._owned.append(embedder)

    def close(self) -> None:
        with self._lock:
            for embedder in self._owned:
                embedder.close()
            self._owned.clear()

    def current(self) -> Embedder:
        """The one in force, loaded at the first use. Raises FingerprintMismatch if it is not the index's own."""
        with self._lock:
            if self._current is None:
                stored = self._index.status().fingerprint
                embedder = self._opened(open_embedder(self.settings, stored.get("embedder_name")))
                self._check(embedder, stored["embedder"])
                self._current = embedder
            return self._current

    def follow(self) -> None:
        """Takes the embedder of the edition that is live now: a migration has swapped it behind our back.

        The one before stays open: another thread may be embedding with it, and a rollback asks for it again.
        """
        with self._lock:
            stored = self._index.status().fingerprint
            wanted = stored.get("embedder")
            if self._current is None or wanted is None or self._current.fingerprint == wanted:
                return
            embedder = self.of(stored)
            self._check(embedder, wanted)
            self._current = embedder

    def of(self, fingerprint: Mapping[str, str]) -> Embedder:
        """The embedder that an edition with this fingerprint was built with, whatever the settings name."""
        with self._lock:
            return self._known.get(fingerprint["embedder"]) or self._named(fingerprint.get("embedder_name"))

    def target(self, settings: Settings, given: Embedder | None) -> Embedder:
        """The embedder to migrate to: the given one, else the one that `settings` names, else the one of that name."""
        with self._lock:
            if given is not None:
                return self._known.setdefault(given.fingerprint, given)
            name = settings.embedding.model or self._index.status().fingerprint.get("embedder_name")
            for known in self._known.values():
                if known.name == name and settings.embedding == self.settings.embedding:
                    return known
            return self._opened(open_embedder(settings, name))

    def _named(self, name: str | None) -> Embedder:
        if name is None:
            raise FingerprintMismatch(f"{self._path}: migrated to an embedder without a name; open it with that one")
        try:
            return self._opened(self._opener(name) if self._opener else open_named(self.settings, name))
        except (ModelError, ConfigError) as error:
            raise FingerprintMismatch(
                f"{self._path}: migrated to the embedder {name!r}, which cannot be opened here ({error}); "
                "make that model available, or open the knowledge base with it"
            ) from error

    def _opened(self, embedder: Embedder) -> Embedder:
        """The embedder, which is closed with this object and found again by its fingerprint."""
        if all(embedder is not one for one in self._known.values()):
            self._owned.append(embedder)
        return self._known.setdefault(embedder.fingerprint, embedder)

    def _check(self, embedder: Embedder, stored: str) -> None:
        if embedder.fingerprint != stored:
            raise FingerprintMismatch(
                f"{self._path}: built with the embedder {stored}, but {embedder.fingerprint} is in force; its vectors "
                "do not compare. Name the embedder it was built with, or see what a change would take: "
                "ragagent migrate --plan"
            )
