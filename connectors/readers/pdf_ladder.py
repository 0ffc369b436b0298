"""The rungs a page of a PDF climbs until its text is fit to be read, and no further.

1. text: the text layer in the order of its content stream. Almost every page ends here.
2. layout: words made anew from the places of their characters, columns put in reading order.
3. ocr: the page as a picture, through Tesseract.

`pdf_quality.problem` sends a page up; a rung is kept only where it is better than the one below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ragagent.connectors.readers import ocr, pdf_columns, pdf_line, pdf_page, pdf_quality, pdf_text, picture
from ragagent.connectors.readers.pdf_line import Line, Word
from ragagent.errors import OcrNeeded
from ragagent.types import Scalar

Rung = Literal["text", "layout", "ocr"]

_BY_LAYOUT = frozenset({pdf_quality.MISSING_SPACES, pdf_quality.BROKEN_WORDS, pdf_quality.GLUED_COLUMNS})
_MAX_COSTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """The lines of a page, the rung they come from, why not from a lower one, and what OCR cost.

    `left_out` says why a rung that the page needed was not taken.
    """

    number: int
    lines: Sequence[Line]
    rung: Rung = "text"
    reason: str = ""
    seconds: float = 0.0
    left_out: str = ""


def read_page(page: Any, number: int, *, budget: ocr.Budget, dpi: int) -> PageText:
    """Takes a loaded page as far up the ladder as it needs. Raises PdfiumError for one without a text layer object."""
    text_page = page.get_textpage()
    try:
        rotation = page.get_rotation()
        words = list(pdf_text.words(text_page, rotation))
        lines = pdf_line.lines(words)
        problem = _problem(page, words, lines)
        if not problem:
            pdf_text.mark_bold(text_page, lines)
            return PageText(number=number, lines=lines)
        if problem in _BY_LAYOUT:
            words = words if problem == pdf_quality.GLUED_COLUMNS else pdf_text.respaced(text_page, rotation)
            lines = [line for region in pdf_columns.reordered(words) for line in pdf_line.lines(region)]
            if not pdf_quality.problem(words):
                return PageText(number=number, lines=lines, rung="layout", reason=problem)
    finally:
        text_page.close()
    return _by_ocr(page, number, words, lines, problem, budget, dpi)


def _by_ocr(
    page: Any, number: int, words: Sequence[Word], lines: list[Line], problem: str, budget: ocr.Budget, dpi: int
) -> PageText:
    if problem == pdf_quality.ALMOST_NO_TEXT and not pdf_page.shows_more(page):
        return PageText(number=number, lines=lines)
    if picture.is_blank(pdf_page.thumbnail(page)):
        return PageText(number=number, lines=lines)
    scale, image = pdf_page.picture(page, dpi)
    try:
        found, seconds = budget.recognise(image, dpi=round(72 * scale))
    except OcrNeeded as error:
        return PageText(number=number, lines=lines, reason=problem, left_out=str(error))
    seen = list(picture.ocr_words(found, dpi=72 * scale, height=image.height))
    if _letters(seen) <= _letters(words) and (problem == pdf_quality.ALMOST_NO_TEXT or pdf_quality.problem(seen)):
        return PageText(number=number, lines=lines, reason=problem, seconds=seconds)
    return PageText(number=number, lines=pdf_line.lines(seen), rung="ocr", reason=problem, seconds=seconds)


def _problem(page: Any, words: Sequence[Word], lines: Sequence[Line]) -> str:
    pictures = pdf_page.picture_share(page) if len(words) < 100 else 0.0
    problem = pdf_quality.problem(words, picture_share=pictures)
    if not problem and pdf_columns.glued(lines, words):
        return pdf_quality.GLUED_COLUMNS
    return problem


def _letters(words: Iterable[Word]) -> int:
    return sum(sum(map(str.isalnum, word.text)) for word in words)


@dataclass(slots=True)
class Record:
    """Which pages of a document took which rung, and what it cost."""

    taken: dict[Rung, list[int]] = field(default_factory=lambda: {"layout": [], "ocr": []})
    costs: dict[tuple[Rung, str], list[tuple[int, float]]] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=dict)

    def add(self, page: PageText) -> None:
        """Takes note of a page."""
        if page.left_out:
            self.left_out.setdefault(f"{page.reason}; {page.left_out}", []).append(page.number)
        elif page.rung != "text":
            self.taken[page.rung].append(page.number)
        if page.reason and not page.left_out:
            self.costs.setdefault((page.rung, page.reason), []).append((page.number, page.seconds))

    def metadata(self) -> dict[str, Scalar]:
        """The pages of each rung beside the first, as ranges; nothing that differs from one run to the next."""
        names = {"layout_pages": self.taken["layout"], "ocr_pages": self.taken["ocr"]}
        left = sorted(number for numbers in self.left_out.values() for number in numbers)
        return {key: ranges(numbers) for key, numbers in {**names, "left_out_pages": left}.items()}

    def notes(self) -> Iterator[str]:
        """In words: what was done for which pages and why, its cost a page, and what was left out."""
        said = {"layout": "put in order by layout", "ocr": "read by OCR", "text": "left as they are, OCR was no better"}
        for (rung, reason), pages in self.costs.items():
            costs = ", ".join(f"{seconds:.1f} s" for _, seconds in pages[:_MAX_COSTS] if seconds)
            total = sum(seconds for _, seconds in pages)
            cost = f"; {total:.1f} s ({costs})" if costs else ""
            yield f"pages {ranges([number for number, _ in pages])} {said[rung]} ({reason}{cost})"
        for reason, numbers in self.left_out.items():
            yield f"pages {ranges(numbers)} were left out of OCR: {reason}"


def ranges(numbers: Sequence[int]) -> str:
    """Page numbers in order as `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
