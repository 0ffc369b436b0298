"""`where`: a mapping of keys to accepted values, as rows of documents and as masks over chunks.

Values compare as JSON values do: 1 equals 1.0, true is no number, null equals null; text compares exactly. A key with
a list of values (in a document or in the filter) matches when any of them does. Keys and values are bound, never part
of a statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.index.block import Part
from ragagent.types import Document

Mask = npt.NDArray[np.bool_]

MOST_VALUES = 100_000


def attributes(document: Document, source: str) -> Iterator[tuple[str, str]]:
    """The (key, value) pairs that a filter can match a document by; its own fields go before metadata of that name."""
    own = {
        "id": document.id,
        "uri": document.uri,
        "title": document.title,
        "media_type": document.media_type,
        "source": source,
    }
    for key, value in {**document.metadata, **own}.items():
        yield from {(str(key), encoded(one)) for one in _values(value)}


def encoded(value: Any) -> str:
    """A value as text that is equal exactly when the values are. Raises ConfigError for one that is no scalar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"bool:{value}"
    if isinstance(value, int | float):
        whole = isinstance(value, int) or value.is_integer()
        return f"number:{int(value) if whole else value!r}"
    if isinstance(value, str):
        return f"text:{value}"
    raise ConfigError(f"{value!r} cannot be filtered by: use text, numbers, true, false or null, or a list of them")


def matching(connection: sqlite3.Connection, where: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """int64[n], ascending: the rows of the documents that match every key of `where`."""
    found: set[int] | None = None
    for key, accepted in where.items():
        rows = _documents(connection, str(key), {encoded(value) for value in _values(accepted)})
        found = rows if found is None else found & rows
    return np.array(sorted(found or ()), np.int64)


def masks(parts: Sequence[Part], documents: npt.NDArray[np.int64] | None) -> list[Mask | None]:
    """For each part the chunks that are live and of those documents (None: any); None where that is all of them."""
    if documents is None:
        return [None if part.count == len(part.block) else part.live for part in parts]
    highest = max([0, *(int(part.block.documents.max()) for part in parts if len(part.block))])
    accepted = np.zeros(highest + 1, np.bool_)
    accepted[documents[documents <= highest]] = True
    return [accepted[part.block.documents] & part.live for part in parts]


def _documents(connection: sqlite3.Connection, key: str, values: Iterable[str]) -> set[int]:
    rows: set[int] = set()
    for value in values:
        query = connection.execute("SELECT document FROM attributes WHERE key = ? AND value = ?", (key, value))
        rows.update(row for (row,) in query)
    return rows


def _values(value: Any) -> Sequence[Any]:
    values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if len(values) > MOST_VALUES:
        raise ConfigError(f"{len(values)} values for one key; a filter takes at most {MOST_VALUES}")
    return values
