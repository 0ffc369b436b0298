"""Filters: which documents a search may find, by their metadata.

    'type = "pdf" and date >= 2024-01-01 and tag in ("a", "b")'
    And((Range("year", ge=2020, lt=2024), Or((Eq("team", "law"), Prefix("uri", "file:/contracts/")))))
    from_json('{"and": [{"key": "year", "ge": 2020}, {"not": {"key": "draft", "eq": true}}]}')

A key is one of the metadata, one that goes before metadata of that name (id, uri, title, media_type, source, acl,
date), or a short form that stands where the metadata has no such key (type, folder): `ragagent.where.fields`. A
document may have several values for a key (a list): `Eq`, `In`, `Range` and `Prefix` hold when any one of them fits,
and none holds where the key is missing; `Not` turns that round, so `Not(Eq("team", "law"))` holds where there is no
team. Values compare as JSON values do: 1 equals 1.0, true is no number. Numbers are ordered as numbers, exactly; text
by code point, so that dates and times written in one ISO form and one time zone are ordered by time. The two never
mix.

A text is a filter as it is written (`ragagent.where.written`). A mapping, `{"team": ["law", "tax"], "year": 2020}`,
means that every key has (one of) the values.
"""

from __future__ import annotations

from ragagent.where.expressions import (
    DEEPEST,
    MOST_PARTS,
    MOST_VALUES,
    And,
    Bound,
    Eq,
    Exists,
    Expression,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Where,
)
from ragagent.where.fields import fields
from ragagent.where.forms import as_value, both, expression, from_json, from_value
from ragagent.where.printed import literal, written
from ragagent.where.written import MOST_CHARACTERS, parse

__all__ = [
    "DEEPEST",
    "MOST_CHARACTERS",
    "MOST_PARTS",
    "MOST_VALUES",
    "And",
    "Bound",
    "Eq",
    "Exists",
    "Expression",
    "In",
    "Not",
    "Or",
    "Prefix",
    "Range",
    "Where",
    "as_value",
    "both",
    "expression",
    "fields",
    "from_json",
    "from_value",
    "literal",
    "parse",
    "written",
]
