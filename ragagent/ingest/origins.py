"""How each source was opened, so that a migration can read it again, and who may read what comes from it.

Kept beside the index, without secrets. Where the file is lost nobody has said who may read: what is new of a source is
the owner's then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragagent import atomic
from ragagent.access import acl_of
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

    def acl_of(self, source: str) -> tuple[str, ...] | None:
        """Who may read what comes from a source, as it was said last; None where nobody has said."""
        found = self._read().get(source, {}).get("acl")
        return acl_of(found) if isinstance(found, list) else None

    def remember(
        self,
        connector: Connector,
        address: str | Path,
        options: Mapping[str, Any] | None,
        acl: tuple[str, ...] | None = None,
    ) -> None:
        """Keeps how the source was opened, and who may read it; a file or folder is opened by its name alone."""
        entry: dict[str, Any] = {} if acl is None else {"acl": list(acl)}
        if not isinstance(address, Path) and scheme_of(address) != "file":
            entry |= {"address": public(address, keep_user=True), "options": _plain(options or {})}
        known = self._read()
        if known.get(connector.source, {}) == entry:
            return
        known[connector.source] = entry
        atomic.write(self._folder / FILE, json.dumps(known, indent=1, sort_keys=True))

    def reopen(self, source: str) -> Connector:
        """The connector of a source by its name, as it was opened last. Raises what `open_connector` raises."""
        entry = self._read().get(source, {})
        return self.open(entry["address"], entry["options"]) if "address" in entry else self.open(source)

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
