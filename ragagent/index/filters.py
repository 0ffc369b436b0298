"""Filters over the database: an expression of `ragagent.where`, as a mask over chunks.

The values of a document are stored as text whose order is that of the values (`encoded`), so that every condition on
one key is a few intervals of that text, and an interval is a stretch of a sorted table. Up to `FEW` documents are read
from SQLite there and then. A condition that more fulfil is answered from a column: all that a key has, in the same
order, read into memory once, with the documents that were written since looked up in SQLite. Keys and values are bound,
never part of a statement.
"""

from __future__ import annotations

import bisect
import json
import math
import sqlite3
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.index import tallies
from ragagent.index.block import Part
from ragagent.types import Document
from ragagent.where import And, Eq, Exists, Expression, In, Not, Or, Prefix, Range, Where, expression, fields, written

Mask = npt.NDArray[np.bool_]
Interval = tuple[str, str]

FEW = 1024
MOST_COLUMNS = 16
_MOST_CHANGED = 2000
_NULL, _NOT_A_NUMBER, _NUMBER, _TEXT = "null", "nan", "number:", "text:"
_HIGHEST_FLOAT = math.nextafter(math.inf, 0)


# --- values as text in their order


def attributes(document: Document, source: str) -> Iterator[tuple[str, str]]:
    """The (key, value) pairs that a filter can match a document by."""
    for key, value in fields(document, source).items():
        listed = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        yield from {(_unicode(str(key)), encoded(one)) for one in listed}


def encoded(value: Any) -> str:
    """A scalar as text: equal where the values are, and in their order among numbers and among texts.

    Raises ConfigError for what is no scalar.
    """
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return f"bool:{value}"
    if isinstance(value, int | float):
        # Alone unequal to itself; asking math.isnan fails for large whole numbers.
        return _NOT_A_NUMBER if value != value else _NUMBER + _ordered(value)
    if isinstance(value, str):
        return _TEXT + _unicode(value)
    raise ConfigError(f"{value!r} cannot be filtered by: use text, numbers, true, false or null, or a list of them")


def _ordered(value: int | float) -> str:
    """A number as text that sorts as numbers do: the largest float that is not above it, then what is missing."""
    floor = _floor(value)
    (bits,) = struct.unpack(">Q", struct.pack(">d", floor + 0.0))
    # Negative numbers have the sign bit, and their order is the reverse of that of their bits.
    code = f"{bits ^ ((1 << 64) - 1 if bits >> 63 else 1 << 63):016x}"
    if isinstance(value, float):
        return code
    if floor == -math.inf:
        # Below all floats: the more digits the lower, and among as many by how far it is above the lowest.
        digits = len(str(-value))
        return f"{code}:{9999 - digits:04}{10**digits + value:0{digits}}"
    rest = value - int(floor)
    return f"{code}:{len(str(rest)):04}{rest}" if rest else code


def _floor(value: int | float) -> float:
    try:
        nearest = float(value)
    except OverflowError:
        return _HIGHEST_FLOAT if value > 0 else -math.inf
    # A float and a whole number compare exactly.
    return math.nextafter(nearest, -math.inf) if nearest > value else nearest


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{text!r} holds a lone surrogate ({error.reason}) and cannot be filtered by") from None
    return text


def _alone(code: str) -> Interval:
    # No text lies between one and the same with a zero character after it.
    return code, code + "\0"


def _intervals(condition: Eq | In | Range | Prefix | Exists) -> list[Interval]:
    """Where the values lie that fulfil a condition on one key; the second end does not belong to it."""
    if isinstance(condition, Eq):
        return [_alone(encoded(condition.value))]
    if isinstance(condition, In):
        return [_alone(code) for code in sorted({encoded(value) for value in condition.values})]
    if isinstance(condition, Prefix):
        low = _TEXT + _unicode(condition.prefix)
        return [(low, _after(low))]
    if isinstance(condition, Exists):
        return [("", _NULL), (_alone(_NULL)[1], _after(""))]
    bounds = {name: encoded(bound) for name, bound in condition.bounds().items()}
    kind = _TEXT if isinstance(next(iter(condition.bounds().values())), str) else _NUMBER
    low = bounds.get("ge") or (bounds["gt"] + "\0" if "gt" in bounds else kind)
    high = bounds.get("lt") or (bounds["le"] + "\0" if "le" in bounds else _after(kind))
    return [(low, high)]


def _after(prefix: str) -> str:
    """The least text that is above all that begin with `prefix`, in the order of code points."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return "\U0010ffff"
    last = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if last == 0xD800 else last)


# --- documents


@dataclass(frozen=True, slots=True)
class _Column:
    """All values of one key as of a commit: the texts in order, and the documents of the i-th from `starts[i]` on."""

    generation: int
    texts: _Texts
    starts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]

    def within(self, low: str, high: str) -> npt.NDArray[np.int64]:
        first, last = (bisect.bisect_left(self.texts, end.encode()) for end in (low, high))
        return self.documents[self.starts[first] : self.starts[max(first, last)]]


class _Texts(Sequence[bytes]):
    """Many texts in one piece of memory."""

    def __init__(self, texts: Sequence[str]) -> None:
        pieces = [text.encode() for text in texts]
        self._blob = b"".join(pieces)
        self._ends = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: Any) -> Any:
        return self._blob[self._ends[at] : self._ends[at + 1]]


class Columns:
    """The columns of the keys that were asked for last. Safe to use from several threads."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._sound: set[str] = set()
        self._lock = threading.Lock()

    def require_sound(self, connection: sqlite3.Connection, key: str) -> None:
        """Raises sqlite3.DatabaseError, which is `translated`, when attributes of `key` are missing or damaged.

        Looks at all of them when the key is first asked for.
        """
        if key not in self._sound:
            if not tallies.sound(connection, key):
                raise sqlite3.DatabaseError(f"what filters by {key!r} look at is damaged")
            self._sound.add(key)

    def held(self, key: str) -> bool:
        """Whether the column of `key` is in memory."""
        return key in self._columns

    def of(self, connection: sqlite3.Connection, key: str, generation: int) -> _Column | None:
        """The column of `key`, which may be some commits behind; None where only a newer one is at hand."""
        with self._lock:
            column = self._columns.pop(key, None)
            if column is None or (column.generation < generation and _changed(connection, column) > _MOST_CHANGED):
                column = _loaded(connection, key, generation)
            self._columns[key] = column
            while len(self._columns) > MOST_COLUMNS:
                del self._columns[next(iter(self._columns))]
        return column if column.generation <= generation else None


def _changed(connection: sqlite3.Connection, column: _Column) -> int:
    query = "SELECT count(*) FROM (SELECT 1 FROM documents WHERE born > ? LIMIT ?)"
    return int(connection.execute(query, (column.generation, _MOST_CHANGED + 1)).fetchone()[0])


def _loaded(connection: sqlite3.Connection, key: str, generation: int) -> _Column:
    """Reads a column: some 0.2 s for a million documents of few values, 1 s where each has its own."""
    counted = "SELECT value, count(*) FROM attributes WHERE key = ? GROUP BY value ORDER BY value"
    values = connection.execute(counted, (key,)).fetchall()
    listed = "SELECT document FROM attributes WHERE key = ? ORDER BY value, document"
    return _Column(
        generation=generation,
        texts=_Texts([text for text, _ in values]),
        starts=np.cumsum([0, *(count for _, count in values)], dtype=np.int64),
        documents=whole_numbers(connection, listed, (key,)),
    )


def whole_numbers(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """What a query gives in its one column `document`, int64[n]. As JSON it comes three times as fast as row by row."""
    (text,) = connection.execute(f"SELECT json_group_array(document) FROM ({query})", values).fetchone()
    return np.array(json.loads(text), np.int64)


class _Search:
    """One evaluation of a filter at one commit; documents are places of a mask over their rows."""

    def __init__(self, connection: sqlite3.Connection, columns: Columns, generation: int) -> None:
        self._connection = connection
        self._columns = columns
        self._generation = generation
        # Rows are never used twice, so a chunk of the newest document that is gone may still lie in a segment.
        sequence = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
        self._size = int(sequence[0]) + 1 if sequence else 1
        self.steps: list[str] = []

    def mask(self, part: Expression) -> Mask:
        if isinstance(part, Not):
            return ~self.mask(part.part)
        if isinstance(part, And):
            return self._joined(part.parts, np.logical_and, np.ones(self._size, np.bool_))
        if isinstance(part, Or):
            return self._joined(part.parts, np.logical_or, np.zeros(self._size, np.bool_))
        return self._fulfilled(part)

    def _joined(self, parts: Sequence[Expression], operator: np.ufunc, mask: Mask) -> Mask:
        for part in parts:
            operator(mask, self.mask(part), out=mask)
        return mask

    def _fulfilled(self, condition: Eq | In | Range | Prefix | Exists) -> Mask:
        mask = np.zeros(self._size, np.bool_)
        intervals, few = _intervals(condition), FEW
        self._columns.require_sound(self._connection, _unicode(condition.key))
        if self._columns.held(condition.key):
            return self._many(condition, intervals)
        for low, high in intervals:
            rows = self._few(condition.key, low, high, few)
            if rows is None:
                return self._many(condition, intervals)
            mask[rows] = True
            few -= len(rows)
        self.steps.append(f"{_said(condition)}: read {FEW - few} documents from the database")
        return mask

    def _few(self, key: str, low: str, high: str, most: int) -> list[int] | None:
        """The documents with a value in the interval; None where there are more than `most`."""
        query = "SELECT document FROM attributes WHERE key = ? AND value >= ? AND value < ? LIMIT ?"
        rows = self._connection.execute(query, (_unicode(key), low, high, max(most, 0) + 1)).fetchall()
        return None if len(rows) > most else [row for (row,) in rows]

    def _many(self, condition: Eq | In | Range | Prefix | Exists, intervals: Sequence[Interval]) -> Mask:
        key, mask = condition.key, np.zeros(self._size, np.bool_)
        column = self._columns.of(self._connection, key, self._generation)
        query = "SELECT document FROM attributes WHERE key = ? AND value >= ? AND value < ?"
        if column is None:
            for low, high in intervals:
                mask[whole_numbers(self._connection, query, (key, low, high))] = True
            self.steps.append(f"{_said(condition)}: read all from the database")
            return mask
        for low, high in intervals:
            mask[column.within(low, high)] = True
        if column.generation < self._generation:
            self._renew(mask, key, intervals, column.generation)
        self.steps.append(f"{_said(condition)}: read from the column of {key!r} in memory")
        return mask

    def _renew(self, mask: Mask, key: str, intervals: Sequence[Interval], generation: int) -> None:
        """Puts the documents that were written after `generation` right."""
        since = "SELECT row AS document FROM documents WHERE born > ?"
        changed = whole_numbers(self._connection, since, (generation,))
        mask[changed] = False
        query = "SELECT value, document FROM attributes WHERE key = ? AND document IN (SELECT row FROM documents"
        rows = self._connection.execute(f"{query} WHERE born > ?)", (key, generation)).fetchall()
        ends = [low for low, _ in intervals]
        for value, document in rows:
            at = bisect.bisect_right(ends, value) - 1
            if at >= 0 and value < intervals[at][1]:
                mask[document] = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """The documents that a filter lets through, as a mask over their rows, and how they were found, step by step."""

    documents: Mask
    steps: tuple[str, ...]


def accepted(connection: sqlite3.Connection, where: Where, columns: Columns, generation: int) -> Accepted | None:
    """What `where` lets through at the commit `generation`, which the connection sees; None where that is anything."""
    wanted = expression(where)
    if wanted == And(()):
        return None
    search = _Search(connection, columns, generation)
    return Accepted(search.mask(wanted), tuple(search.steps))


def masks(parts: Sequence[Part], accepted: Accepted | None) -> list[Mask | None]:
    """For each part the chunks that are live and of those documents (None: any); None where that is all of them."""
    if accepted is None:
        return [None if part.count == len(part.block) else part.live for part in parts]
    return [accepted.documents[part.block.documents] & part.live for part in parts]


def explained(accepted: Accepted, parts: Sequence[Part], masks: Sequence[Mask | None]) -> str:
    """How many chunks pass, and how that was found."""
    passed = sum(
        part.count if mask is None else int(np.count_nonzero(mask)) for part, mask in zip(parts, masks, strict=True)
    )
    live = sum(part.count for part in parts)
    return "; ".join([f"{passed:,} of {live:,} chunks pass", *accepted.steps])


def _said(condition: Expression) -> str:
    text = written(condition)
    return text if len(text) <= 80 else f"{text[:79]}…"
