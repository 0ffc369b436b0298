"""What schemathesis loads beside the OpenAPI document: of the ids and names made up, about half become ones that exist.

They stand in the variable RAGAGENT_TEST_IDS, as a JSON object of lists by the names of parameters and fields. Of those
that can be removed only the first few ever are, so that there are some left to be read.
"""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis

THERE: dict[str, list[str]] = json.loads(os.environ["RAGAGENT_TEST_IDS"])
_REMOVED = 5


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The parameters with real ids in some of their places, chosen by what was made up."""
    most = _REMOVED if context.operation.method.lower() == "delete" else None
    return {name: _real(name, value, most) for name, value in (path_parameters or {}).items()}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """The body with real names in some of its fields."""
    return {name: _real(name, value) for name, value in body.items()} if isinstance(body, dict) else body


def _real(name: str, value: Any, most: int | None = None) -> Any:
    there = THERE.get(name, [])[:most]
    chosen = there and isinstance(value, str) and len(value) % 2
    return there[sum(map(ord, value)) % len(there)] if chosen else value
