"""JSON that stands in a fence or between other words, as models write it that nothing constrains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def values(text: str, begins: str) -> Iterator[tuple[Any, str]]:
    """Each value that `text` has at one of the characters `begins`, such as "{" or "[{", in order, and as written."""
    decoder = json.JSONDecoder()
    for match in re.finditer(f"[{re.escape(begins)}]", text):
        try:
            found, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        yield found, text[match.start() : end]
