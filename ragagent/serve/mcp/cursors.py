"""Cursors: where a bounded result goes on, as one opaque word that only fits the call that it came from."""

from __future__ import annotations

import base64
import binascii
import json

from ragagent.errors import ToolError

_MOST_CHARS = 8192


def cursor(of: str, place: str | int) -> str:
    """A cursor for the call `of`, which stands at `place`."""
    return base64.urlsafe_b64encode(json.dumps([of, place], ensure_ascii=False).encode()).decode()


def place(of: str, given: str | None) -> str | int | None:
    """Where a cursor of the call `of` stands; None for none. Raises ToolError for any other cursor."""
    if not given:
        return None
    try:
        owner, found = json.loads(base64.b64decode(given[:_MOST_CHARS].encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, TypeError, RecursionError):
        owner, found = None, None
    if owner != of or isinstance(found, bool) or not isinstance(found, str | int):
        raise ToolError(
            f"cursor {given[:40]!r} is not one that this call gave; leave it out to begin, and change nothing else "
            "to go on"
        )
    return found


def text_place(of: str, given: str | None) -> str | None:
    """As `place`, for a call whose cursors are texts."""
    found = place(of, given)
    return found if isinstance(found, str) else None


def number_place(of: str, given: str | None) -> int:
    """As `place`, for a call whose cursors are numbers; 0 for none."""
    found = place(of, given)
    return max(0, found) if isinstance(found, int) else 0
