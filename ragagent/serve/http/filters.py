"""Filters as clients write them."""

from __future__ import annotations

import json
from typing import Any

from ragagent.errors import ConfigError
from ragagent.serve.http.errors import Refusal
from ragagent.where import Where, from_value

_MOST = 4000


def where_of(value: str | dict[str, Any] | None) -> Where | None:
    """The filter, None for an empty one. Raises Refusal for what is none."""
    if not value:
        return None
    if len(value if isinstance(value, str) else json.dumps(value)) > _MOST:
        raise Refusal(400, "invalid_filter", f"the filter has more than {_MOST} characters: shorten it", param="where")
    try:
        return from_value(value)
    except ConfigError as error:
        raise Refusal(400, "invalid_filter", str(error), param="where") from error
