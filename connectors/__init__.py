"""Where documents come from: one kind of source a module, all behind `protocols.Connector`.

The scheme of an address decides the kind, and nothing else does. A module of ours has `open_source`, which keeps
`Factory`; another distribution adds a kind by an entry point in the group `ragagent.connectors` whose name is the
scheme and whose value is such a function.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ragagent.errors import ConnectorError
from ragagent.protocols import Connector
from ragagent.settings import IngestSettings

ENTRY_POINTS = "ragagent.connectors"

_MODULES: Mapping[str, str] = {
    "file": "files",
    "http": "web",
    "https": "web",
    "site+http": "site",
    "site+https": "site",
    "folder+http": "webfolder",
    "folder+https": "webfolder",
    "git+file": "git",
    "git+http": "git",
    "git+https": "git",
    "git+ssh": "git",
    "imap": "imap",
    "imaps": "imap",
    "mbox": "mailbox",
    "maildir": "mailbox",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::(?=[A-Za-z][A-Za-z0-9+.-]*://))")


class Factory(Protocol):
    """Makes the connector of an address of its scheme; nothing is asked of the source yet.

    `options` are what the user said beside the address: texts, or what a TOML table holds; one that is not known is a
    ConfigError (`ragagent.connectors.options.read_options` sees to that). `cache` is a folder that the connector may
    keep things in between two ingests, or None; it may be deleted at any time.
    """

    def __call__(
        self, address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
    ) -> Connector: ...


def open_connector(
    source: str | Path,
    settings: IngestSettings | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> Connector:
    """The connector of `source`: a path, or an address whose scheme says what kind it is.

    Raises ConnectorError for a scheme that nothing answers to, ConfigError for an option that the kind does not have,
    MissingExtra where a package is not installed. Whether the source is there shows when it is enumerated.
    """
    address = str(source)
    found = None if isinstance(source, Path) else _SCHEME.match(address)
    scheme = found[1].lower() if found else "file"
    return _factory(scheme, address)(address, options=options or {}, settings=settings or IngestSettings(), cache=cache)


def scheme_of(source: str) -> str:
    """The scheme of an address, `file` for a path."""
    found = _SCHEME.match(source)
    return found[1].lower() if found else "file"


def _factory(scheme: str, address: str) -> Factory:
    module = _MODULES.get(scheme) or ("sql" if scheme.startswith("sql+") else None)
    if module is not None:
        return _ours(module)
    if scheme in _plugged_in():
        plugged: Factory = _plugged_in()[scheme].load()
        return plugged
    remote = importlib.import_module("ragagent.connectors.remote")
    if remote.knows(scheme):
        return _ours("remote")
    raise ConnectorError(
        f"{address.partition('?')[0]}: no connector for {scheme}://; give a path, or one of "
        f"{', '.join(sorted({*_MODULES, 'sql+DIALECT', *_plugged_in(), *remote.EXTRAS}))} with ://"
    )


def _ours(module: str) -> Factory:
    factory: Factory = importlib.import_module(f"ragagent.connectors.{module}").open_source
    return factory


@cache
def _plugged_in() -> Mapping[str, importlib.metadata.EntryPoint]:
    """The kinds of other distributions by scheme; each is imported when an address first needs it."""
    return {entry.name.lower(): entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
