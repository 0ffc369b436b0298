"""How each source was opened, so that a migration can read it again: kept beside the index, without secrets."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragagent.connectors import open_connector, scheme_of
from ragagent.connectors.addresses import names_secret, public
from ragagent.protocols import Connector
from ragagent.settings import IngestSettings

FILE = "sources.json"
CACHE_FOLDER = "cache"
"""Below the knowledge base: what connectors keep between two ingests. It may be deleted at any time."""


class Origins:
    """The addresses and options by the name of the source. Lost, sources are opened by their names alone."""

    def __init__(self, folder: Path, settings: IngestSettings) -> None:
        self._folder = folder
        self._settings = settings

    def open(self, address: str | Path, options: Mapping[str, Any] | None = None) -> Connector:
        """The connector of an address. Raises what `open_connector` raises."""
        return open_connector(address, self._settings, options=options, cache=self._folder / CACHE_FOLDER)

    def remember(self, connector: Connector, address: str | Path, options: Mapping[str, Any] | None) -> None:
        """Keeps how the source was opened; a file or folder needs nothing but its name."""
        if isinstance(address, Path) or scheme_of(address) == "file":
            return
        entry = {"address": public(address, keep_user=True), "options": _plain(options or {})}
        known = self._read()
        if known.get(connector.source) == entry:
            return
        known[connector.source] = entry
        with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".sources-", delete=False) as file:
            json.dump(known, file, indent=1, sort_keys=True)
        os.replace(file.name, self._folder / FILE)

    def reopen(self, source: str) -> Connector:
        """The connector of a source by its name, as it was opened last. Raises what `open_connector` raises."""
        entry = self._read().get(source)
        return self.open(source) if entry is None else self.open(entry["address"], entry["options"])

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are no secrets and can be written down."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found[key] = _plain(value)
        elif not names_secret(key) and (value is None or isinstance(value, str | int | float | list | tuple)):
            found[key] = value
    return found
