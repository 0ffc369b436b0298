"""Can a figure of a table be understood from its chunk alone? Over the figures that questions on filings ask for.

Each answer of `qa.jsonl` names figures. Where one stands on a page of its filing, its labels are read off the page by
their places: the words to the left of it on its line, and the words above it in its column. A figure is understood
when one chunk holds it and every word of both labels. The chunks are those of ragagent's reader and chunker, with what
the chunker repeats for them (headings, header rows), beside the plain text of pypdf, cut by the same chunker.

    python -m ragagent.eval.perf.tables --filings sets/sec_10q_pdf
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ragagent.connectors.readers import pdf_place, read_document
from ragagent.ingest import chunking
from ragagent.settings import ChunkingSettings, IngestSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

QUESTION = "Can a figure of a table be understood from its chunk alone?"
_FIGURE = re.compile(r"\d{1,3}(?:,\d{3})+|\d+\.\d+")
_WORD = re.compile(r"\w+")
_LOOK_UP = 12


class Found(NamedTuple):
    """A figure in a filing with the words of its row label and of its column label."""

    filing: str
    figure: str
    row: frozenset[str]
    column: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Of the figures, the share that a chunk holds with its row label, its column label, and both."""

    row: float
    column: float
    both: float
    chunk_tokens: float


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--filings", type=Path, required=True, help="folder with qa.jsonl and docs/")
    folder: Path = parser.parse_args().filings
    figures = sorted(set(_figures(folder)))
    filings = sorted({one.filing for one in figures})
    ours = {name: read_document(folder / "docs" / name, settings=IngestSettings(ocr="never")) for name in filings}
    plain = {name: _plain(folder / "docs" / name) for name in filings}
    result = {
        "question": QUESTION,
        "filings": len(filings),
        "figures": len({(one.filing, one.figure) for one in figures}),
        "ragagent": _shares(figures, ours),
        "pypdf": _shares(figures, plain),
    }
    print(json.dumps(result, default=lambda one: {key: getattr(one, key) for key in one.__slots__}))


def _figures(folder: Path) -> Iterator[Found]:
    """Every place of every figure that an answer names, in the filings of its question."""
    wanted: dict[str, set[str]] = {}
    for line in (folder / "qa.jsonl").read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        named = {figure for answer in question["answers"] for figure in _FIGURE.findall(answer)}
        for name in question["doc_ids"]:
            wanted.setdefault(name, set()).update(named)
    for name, numbers in wanted.items():
        for words in pdf_place.pages(folder / "docs" / name):
            for word in words:
                figure = word.text.strip("$()%€£")
                if figure in numbers and (found := _labelled(name, figure, word, words)):
                    yield found


def _labelled(name: str, figure: str, word: pdf_place.Placed, words: Sequence[pdf_place.Placed]) -> Found | None:
    """The figure with its labels; None where it does not stand in a table: no label, or running text beside it."""
    height = max(word.top - word.bottom, 1.0)
    line = sorted((one for one in words if abs(one.bottom - word.bottom) < 0.4 * height), key=lambda one: one.left)
    left = [one for one in line if one.right <= word.left]
    if left and word.left - left[-1].right < 0.8 * height and left[-1].text not in "$€£(" and not _is_figure(left[-1]):
        return None
    row = _words(one.text for one in left if not _is_figure(one))
    first = next((one.left for one in line if _is_figure(one)), word.left)
    column = _words(_above(word, words, height, first))
    return Found(name, figure, row, column) if row and column else None


def _above(word: pdf_place.Placed, words: Sequence[pdf_place.Placed], height: float, left: float) -> list[str]:
    """The words of the headings above a figure: in its column, and those that span it, not left of all figures."""
    lines = _lines_above(word, words, height)
    names: list[str] = []
    last: float | None = None
    for bottom, cells in lines:
        mine = [cell for cell in cells if any(_meets(one, word) for one in cell)]
        if last is None and (not mine or all(map(_is_figure, mine[0]))):
            continue
        if last is not None and (bottom - last > 2.2 * height or len(names) >= _LOOK_UP):
            break
        middle = (word.left + word.right) / 2
        near = [cell for cell in cells if cell[0].left - 40 < middle < cell[-1].right + 40 and cell[0].left > left - 15]
        chosen = mine or sorted(near, key=lambda cell: abs(cell[0].left + cell[-1].right - 2 * middle))
        if not chosen or any(map(_is_figure, chosen[0])) or len(chosen[0]) > _LOOK_UP:
            break
        names += [one.text for one in chosen[0]]
        last = bottom
    return names


def _lines_above(
    word: pdf_place.Placed, words: Sequence[pdf_place.Placed], height: float
) -> list[tuple[float, list[list[pdf_place.Placed]]]]:
    """The lines over a word from the nearest upwards: their height, and their words in cells that gaps part."""
    over = sorted((one for one in words if one.bottom > word.bottom + 0.4 * height), key=lambda one: one.bottom)
    lines: list[tuple[float, list[pdf_place.Placed]]] = []
    for one in over:
        if lines and one.bottom - lines[-1][0] < 0.4 * height:
            lines[-1][1].append(one)
        else:
            lines.append((one.bottom, [one]))
    return [(bottom, _cells(sorted(line, key=lambda one: one.left), height)) for bottom, line in lines]


def _cells(line: Sequence[pdf_place.Placed], height: float) -> list[list[pdf_place.Placed]]:
    cells: list[list[pdf_place.Placed]] = []
    for one in line:
        if cells and one.left - cells[-1][-1].right < 1.25 * height:
            cells[-1].append(one)
        else:
            cells.append([one])
    return cells


def _meets(one: pdf_place.Placed, word: pdf_place.Placed) -> bool:
    return one.left < word.right and one.right > word.left


def _is_figure(word: pdf_place.Placed) -> bool:
    text = word.text.strip("$()%€£,")
    year = re.fullmatch(r"(?:19|20)\d\d", text) is not None
    day = re.fullmatch(r"[1-3]?\d,", word.text) is not None
    return not year and not day and not any(map(str.isalpha, text))


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


def _plain(path: Path) -> Document:
    from pypdf import PdfReader

    pages = [page.extract_text() for page in PdfReader(path).pages]
    return Document(text="\n\n".join(pages), uri=path.absolute().as_uri(), title=path.stem)


def _shares(figures: Sequence[Found], documents: dict[str, Document]) -> Shares:
    embedder = HashEmbedder()
    lengths: list[int] = []
    best: dict[tuple[str, str], tuple[bool, bool, bool]] = {}
    for name, document in documents.items():
        chunks = chunking.chunk(document, embedder.tokenizer, ChunkingSettings())
        texts = ["\n".join((*chunk.headings, chunk.text)) for chunk in chunks]
        lengths += [len(embedder.tokenizer.offsets(chunk.text)) for chunk in chunks]
        bags = [(frozenset(_FIGURE.findall(text)), frozenset(_WORD.findall(text.lower()))) for text in texts]
        for one in (one for one in figures if one.filing == name):
            holding = [words for numbers, words in bags if one.figure in numbers]
            found = (
                any(one.row <= words for words in holding),
                any(one.column <= words for words in holding),
                any(one.row | one.column <= words for words in holding),
            )
            before = best.get((name, one.figure), (False, False, False))
            best[name, one.figure] = max(before, found, key=lambda each: (each[2], sum(each)))
    row, column, both = (round(statistics.mean(one[place] for one in best.values()), 3) for place in range(3))
    return Shares(row=row, column=column, both=both, chunk_tokens=round(statistics.mean(lengths), 1))


if __name__ == "__main__":
    main()
