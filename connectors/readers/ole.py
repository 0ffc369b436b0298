"""OLE containers, in which the formats of Office before 2007 keep their streams."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ragagent.connectors.readers.parsed import one_line
from ragagent.errors import ReadError


class Container:
    """An opened container."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def has(self, name: str) -> bool:
        """Whether there is a stream of this name."""
        return bool(self._opened.exists(name))

    def stream(self, *names: str) -> bytes:
        """The first of these streams that is there. Raises ReadError when none is."""
        for name in names:
            if self.has(name):
                return bytes(self._opened.openstream(name).read())
        raise ReadError(f"the container holds no stream {' or '.join(names)}")

    def said(self, key: str) -> str:
        """What its summary says under `key`, such as title and author, or ""."""
        value = getattr(self._opened.get_metadata(), key)
        return one_line(value.decode("cp1252", "replace")) if isinstance(value, bytes) else ""


@contextmanager
def container(data: bytes) -> Iterator[Container]:
    """The container in `data`. Raises ReadError for a damaged one, also from within the block."""
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as opened:
            yield Container(opened)
    except ReadError:
        raise
    except (OSError, ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
        raise ReadError(f"the container is damaged: {error}") from error
