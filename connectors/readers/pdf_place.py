"""Words of a PDF and their places, as PDFium has them: no lines, no order, no columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ragagent.connectors.readers import pdf, pdf_text


class Placed(NamedTuple):
    """A word and its box on the page, in points, y upwards."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


def pages(path: Path) -> Iterator[list[Placed]]:
    """The words of each page. Raises ReadError."""
    data = path.read_bytes()
    for number in range(1, pdf.page_count(data) + 1):
        with pdf.loaded_page(data, number) as page:
            text_page = page.get_textpage()
            words = list(pdf_text.words(text_page, page.get_rotation()))
            text_page.close()
        yield [Placed(one.text, one.left, one.bottom, one.right, one.bottom + one.size) for one in words]
