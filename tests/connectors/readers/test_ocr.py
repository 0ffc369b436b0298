"""Scans and photographs are read by OCR, and OCR is spent on the pages that need it and on no others."""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageFilter

from ragagent.connectors import readers
from ragagent.connectors.readers import Reading, ocr, pdf_quality
from ragagent.connectors.readers.pdf_ladder import ranges
from ragagent.connectors.readers.pdf_line import Word
from ragagent.errors import OcrNeeded
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings

HANDBOOK = Path(__file__).parents[3] / "examples" / "documents" / "house-handbook-2025.pdf"

tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


def read(data: bytes, name: str, folder: Path, **settings: Any) -> Reading:
    limits = IngestSettings(ocr_cache=str(folder), **settings)
    return readers.read(Fetched(uri="test:1", name=name, content=data), settings=limits)


def page_image(number: int = 0, *, tilt: float = 0.0, dpi: int = 200) -> Image.Image:
    """A page of the example as a scanner sees it: grey, a little blurred, noisy, and tilted."""
    with pypdfium2.PdfDocument(HANDBOOK) as document:
        image = document[number].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")
    image = image.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=255).filter(ImageFilter.GaussianBlur(0.6))
    noise = np.random.default_rng(number).normal(0, 12, (image.height, image.width))
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8))


def photograph() -> bytes:
    """The page lying on a dark table, lit from one side."""
    page = page_image(tilt=2.5)
    light = np.linspace(0.45, 1.0, page.width)[None, :] * np.linspace(1.0, 0.75, page.height)[:, None]
    page = Image.fromarray((np.asarray(page, np.float32) * light).astype(np.uint8))
    table = Image.new("L", (page.width + 200, page.height + 200), 60)
    table.paste(page, (100, 100))
    target = io.BytesIO()
    table.convert("RGB").save(target, "JPEG", quality=80)
    return target.getvalue()


def scanned(*images: Image.Image) -> bytes:
    target = io.BytesIO()
    images[0].save(target, "PDF", save_all=True, append_images=images[1:], resolution=200)
    return target.getvalue()


def recall(found: str, number: int = 0) -> float:
    """The share of the words of the page's own text that are in `found`."""
    with pypdfium2.PdfDocument(HANDBOOK) as document:
        expected = Counter(re.findall(r"\w+", document[number].get_textpage().get_text_range().lower()))
    return (expected & Counter(re.findall(r"\w+", found.lower()))).total() / expected.total()


@tesseract
def test_a_scanned_pdf_is_read(tmp_path: Path) -> None:
    found = read(scanned(page_image(0, tilt=1.0), page_image(1)), "scan.pdf", tmp_path)
    pages = [block.span.of(found.document.text) for block in found.document.blocks if block.kind == "page"]
    assert [recall(text, number) > 0.95 for number, text in enumerate(pages)] == [True, True]
    assert found.document.metadata["ocr_pages"] == "1-2"
    assert re.search(r"pages 1-2 read by OCR \(almost no text; .* s \(", found.notes[0])


@tesseract
def test_a_photograph_of_a_page_is_read(tmp_path: Path) -> None:
    found = read(photograph(), "IMG_0001.jpg", tmp_path)
    assert recall(found.document.text) > 0.95
    assert found.document.media_type == "image/jpeg"


@tesseract
def test_a_page_that_lies_on_its_side_is_read(tmp_path: Path) -> None:
    target = io.BytesIO()
    page_image().rotate(90, expand=True).save(target, "PNG")
    engine = ocr.engine()
    if engine is None or "osd" not in engine.languages:
        pytest.skip("tesseract has no data for orientation")
    assert recall(read(target.getvalue(), "a.png", tmp_path).document.text) > 0.95


@tesseract
def test_every_page_of_a_tiff_is_read(tmp_path: Path) -> None:
    target = io.BytesIO()
    page_image(0).save(target, "TIFF", save_all=True, append_images=[page_image(1)])
    document = read(target.getvalue(), "fax.tif", tmp_path).document
    assert [block.number for block in document.blocks if block.kind == "page"] == [1, 2]
    assert recall(document.text, 1) > 0.95


def mixed(pages: int, bad: list[int]) -> bytes:
    """A PDF of text pages with scans in between; `bad` counts from 1."""
    with pypdfium2.PdfDocument(HANDBOOK) as text, pypdfium2.PdfDocument.new() as made:
        for number in range(1, pages + 1):
            if number in bad:
                with pypdfium2.PdfDocument(scanned(page_image(bad.index(number), dpi=150))) as scan:
                    made.import_pages(scan, [0])
            else:
                made.import_pages(text, [number % 3])
        target = io.BytesIO()
        made.save(target)
    return target.getvalue()


@tesseract
def test_of_300_pages_the_3_bad_ones_alone_cost_ocr(tmp_path: Path) -> None:
    found = read(mixed(300, [7, 150, 299]), "a.pdf", tmp_path)
    assert found.document.metadata["ocr_pages"] == "7, 150, 299"
    assert found.document.metadata["pages"] == 300
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".json"]) == 3
    assert len(found.notes) == 1


@tesseract
def test_what_is_beyond_the_budget_is_left_out_and_reported(tmp_path: Path) -> None:
    data = mixed(6, [2, 4, 6])
    found = read(data, "a.pdf", tmp_path, ocr_pages=1)
    assert found.document.metadata["ocr_pages"] == "2"
    assert found.document.metadata["left_out_pages"] == "4, 6"
    assert any("pages 4, 6 were left out of OCR" in note and "ingest.ocr_pages" in note for note in found.notes)
    # Nothing is recognised twice: with the same budget the next two pages come in.
    assert read(data, "a.pdf", tmp_path, ocr_pages=2).document.metadata["ocr_pages"] == "2, 4, 6"


@tesseract
def test_a_page_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(OcrNeeded, match="ocr_page_seconds"):
        read(scanned(page_image()), "a.pdf", tmp_path, ocr_page_seconds=0.1)


@tesseract
def test_the_kept_pages_stay_within_their_bound(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.json").write_text("x" * 1_000)
    ocr._trim(tmp_path, 20_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000


def test_without_tesseract_a_scan_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ocr.engine.cache_clear()
    try:
        with pytest.raises(OcrNeeded, match="apt-get install tesseract-ocr"):
            read(scanned(page_image()), "a.pdf", tmp_path)
        found = read(mixed(3, [2]), "a.pdf", tmp_path)
        assert found.document.metadata["left_out_pages"] == "2"
        assert "tesseract-ocr" in found.notes[0]
    finally:
        ocr.engine.cache_clear()


def test_ocr_can_be_turned_off(tmp_path: Path) -> None:
    with pytest.raises(OcrNeeded, match=r"ingest\.ocr"):
        read(scanned(page_image()), "a.pdf", tmp_path, ocr="never")


def test_a_language_that_is_not_installed_is_named() -> None:
    assert ocr.languages((), ["deu", "eng", "osd"]) == ("eng", "deu")
    assert ocr.languages(("deu", "xxx"), ["deu", "eng"]) == ("deu",)
    with pytest.raises(OcrNeeded, match="xxx"):
        ocr.languages(("xxx",), ["eng"])


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    target = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(target, "PNG")
    with pytest.raises(readers.ReadError, match="pixels"):
        read(target.getvalue(), "a.png", tmp_path)


def words(text: str) -> list[Word]:
    return [Word(one, 0, 1, 0, 1, False, 0, 0) for one in text.split()]


PROSE = "The garden opens in May and closes when the first frost is announced by the weather office. " * 3
QUALITIES = {
    "": PROSE,
    pdf_quality.ALMOST_NO_TEXT: "Page 3",
    pdf_quality.UNMAPPED: PROSE.replace("e", "\ufffd"),
    pdf_quality.MOJIBAKE: PROSE.replace("e", "é").encode().decode("cp1252"),
    pdf_quality.MISSING_SPACES: PROSE.replace(" ", ""),
    pdf_quality.BROKEN_WORDS: " ".join(PROSE),
    pdf_quality.NO_WORDS: PROSE.translate({ord(a): b for a, b in zip("aeiouy", "bdghjk", strict=True)}),
}


@pytest.mark.parametrize("problem", QUALITIES)
def test_each_way_to_be_unfit_is_told_by_its_rule(problem: str) -> None:
    assert pdf_quality.problem(words(QUALITIES[problem])) == problem


def test_pages_are_told_as_ranges() -> None:
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert ranges([]) == ""
