"""Where documents come from: one kind of source a module, all behind `protocols.Connector`."""

from __future__ import annotations

from pathlib import Path

from ragagent.errors import ConnectorError
from ragagent.protocols import Connector
from ragagent.settings import IngestSettings


def open_connector(source: str | Path, settings: IngestSettings | None = None) -> Connector:
    """The connector of `source`: an http(s) address is one web page, anything else a file or a folder.

    Raises ConnectorError for an address of another kind. Whether the source is there shows when it is enumerated.
    """
    from ragagent.connectors.files import FilesConnector, file_path

    address = str(source)
    scheme, mark, _ = address.partition("://")
    if isinstance(source, Path) or not mark:
        return FilesConnector(source, settings=settings)
    if scheme.lower() == "file":
        return FilesConnector(file_path(address), settings=settings)
    if scheme.lower() in {"http", "https"}:
        from ragagent.connectors.web import WebPageConnector

        return WebPageConnector(address, settings=settings)
    raise ConnectorError(f"{address}: no connector for {scheme}://; give a path, a file:// or an http(s):// address")
