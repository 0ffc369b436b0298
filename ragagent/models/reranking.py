"""What every reranker reads of a hit."""

from __future__ import annotations

from ragagent.types import Hit

_TITLE_CHARS = 150


def passage(hit: Hit) -> str:
    """The title and the last heading on one line, as far as the text does not begin with them, then the text."""
    begins = " ".join(hit.text[: 2 * _TITLE_CHARS].split()).casefold()
    headings = [one for one in hit.chunk.headings if "\n" not in one]
    names = dict.fromkeys(" ".join(name.split()) for name in (hit.title, *headings[-1:]))
    told = [name for name in names if name and not begins.startswith(name.casefold())]
    line = " > ".join(told)[:_TITLE_CHARS]
    return f"{line}\n{hit.text}" if line else hit.text
