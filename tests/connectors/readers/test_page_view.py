"""A citation is shown on its page: the marked words are the cited ones, whatever became of their order."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from ragagent import KnowledgeBase
from ragagent.answer.pages import PageImage, page_image
from ragagent.connectors import readers
from ragagent.connectors.readers import pdf, pdf_layout
from ragagent.errors import ReadError, UnsupportedFormat
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Citation, Document, Span

HANDBOOK = Path(__file__).parents[3] / "examples" / "documents" / "house-handbook-2025.pdf"
LIMITS = IngestSettings(ocr="never")


def citation(document: Document, quote: str) -> Citation:
    start = document.text.index(quote)
    return Citation(
        quote=quote,
        document_id=document.id,
        uri=document.uri,
        title=document.title,
        span=Span(start, start + len(quote)),
        verified=True,
        page=document.page_at(start),
    )


def shown(document: Document, quote: str, content: bytes | None = None) -> PageImage:
    return page_image(citation(document, quote), document, content=content, limits=LIMITS, dpi=100)


def words_below(view: PageImage, content: bytes) -> str:
    """What PDFium itself finds below the boxes."""
    with pypdfium2.PdfDocument(content) as loaded:
        page = loaded[view.page - 1]
        text = page.get_textpage()
        found = [text.get_text_bounded(box.left - 1, box.bottom, box.right + 1, box.top) for box in view.boxes]
    return " ".join(" ".join(found).split())


@pytest.mark.parametrize(
    "quote",
    [
        "The building has three floors and 1,840 square metres.",
        "telephone number is 555-0142.",
        "Friday | 08:00 - 23:30 | 09:00 - 13:00",
        "House Handbook 2025",
    ],
)
def test_the_boxes_lie_over_the_cited_words(quote: str) -> None:
    document = readers.read_document(HANDBOOK)
    view = shown(document, quote)
    assert words_below(view, HANDBOOK.read_bytes()).replace(" ", "") == quote.replace(" | ", "").replace(" ", "")
    picture = np.asarray(Image.open(io.BytesIO(view.png)).convert("RGB"))
    marked = (picture[:, :, 2] < 40) & (picture[:, :, 0] > 200)
    assert 0.0005 < marked.mean() < 0.2


def test_the_letters_of_a_page_are_those_of_its_words_in_order(shared_data: Path) -> None:
    """What the boxes rest on: over every page of real files, columns, tables and hyphens included."""
    root = shared_data / "messy_docs"
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    checked = 0
    for row in (row for row in rows if row["kind"] == "pdf" and row["expect"] == "ok"):
        try:
            document = readers.read_document(root / row["path"], settings=LIMITS)
        except ReadError:
            continue
        for block in [block for block in document.blocks if block.kind == "page"][:3]:
            lines, body, _ = pdf.page_lines((root / row["path"]).read_bytes(), block.number or 0, LIMITS)
            cells = [cell for part in pdf_layout.parts(lines, body) for cell in part.cells]
            letters = "".join(word.text for cell in cells for word in cell.words)
            assert _letters(letters) == _letters(block.span.of(document.text)), row["path"]
            checked += 1
    assert checked > 50


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_page_is_marked_where_it_is_shown(rotation: int) -> None:
    with pypdfium2.PdfDocument(HANDBOOK) as loaded:
        loaded[0].set_rotation(rotation)
        target = io.BytesIO()
        loaded.save(target)
    document = readers.read_document(target.getvalue(), uri="test:1", name="a.pdf")
    view = shown(document, "Handbook", target.getvalue())
    with pypdfium2.PdfDocument(target.getvalue()) as loaded:
        width, height = loaded[0].get_size()
    (box,) = view.boxes
    # The heading stands near the upper left corner of the page before it is turned.
    at = {0: (0, 1), 90: (1, 1), 180: (1, 0), 270: (0, 0)}[rotation]
    assert (box.left > width / 2, box.bottom > height / 2) == (bool(at[0]), bool(at[1]))
    dark = np.asarray(Image.open(io.BytesIO(view.png)).convert("L")) < 90
    scale = 100 / 72
    top = round((height - box.top) * scale)
    inside = dark[top : round((height - box.bottom) * scale), round(box.left * scale) : round(box.right * scale)]
    assert inside.mean() > 0.05


def test_a_file_that_changed_or_is_gone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(HANDBOOK.read_bytes())
    document = readers.read_document(file)
    file.write_bytes(HANDBOOK.read_bytes() + b"\n%")
    with pytest.raises(ReadError, match="changed since it was ingested"):
        shown(document, "555-0142")
    file.unlink()
    with pytest.raises(ReadError, match="cannot be read any more"):
        shown(document, "555-0142")


def test_documents_without_pages_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The garden opens in May.")
    document = readers.read_document(tmp_path / "a.txt")
    with pytest.raises(UnsupportedFormat, match="no pages"):
        shown(document, "garden")
    with pytest.raises(ReadError, match="no place"):
        page_image(replace(citation(document, "garden"), span=None), document, content=None, limits=LIMITS, dpi=100)


def test_a_page_inside_an_archive_is_found_again(tmp_path: Path) -> None:
    import zipfile

    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(HANDBOOK, "in/handbook.pdf")
    fetched = Fetched(uri=file.as_uri(), name="a.zip", content=file)
    (child,) = readers.read(fetched, settings=LIMITS).children
    view = shown(child, "telephone number is 555-0142.")
    assert re.sub(r"\s", "", words_below(view, HANDBOOK.read_bytes())) == "telephonenumberis555-0142."


def test_a_knowledge_base_shows_the_page_of_a_citation(tmp_path: Path) -> None:
    file = tmp_path / "in" / "handbook.pdf"
    file.parent.mkdir()
    file.write_bytes(HANDBOOK.read_bytes())
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(file.parent)
        (known,) = kb.known().values()
        document = kb.document(known.id)
        assert document is not None
        cited = citation(document, "telephone number is 555-0142")
        assert Image.open(io.BytesIO(kb.page_image(cited))).format == "PNG"
        assert {box.page for box in kb.page_view(cited).boxes} == {1}
        kb.remove(known.id)
        with pytest.raises(ReadError, match="not in the knowledge base"):
            kb.page_image(cited)
