"""An item of a source becomes its documents: fetched by its connector, read by the reader of its format."""

from __future__ import annotations

from ragagent.connectors import readers
from ragagent.connectors.readers import Reading
from ragagent.protocols import Connector, SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Document


def load(connector: Connector, item: SourceItem, settings: IngestSettings) -> Reading:
    """The document of `item` and what is inside it. Raises ReadError or a kind of it."""
    fetched = connector.fetch(item)
    if isinstance(fetched, Document):
        return Reading(document=fetched)
    return readers.read(fetched, settings=settings)
