"""Files made to do harm are read in part or refused, each in bounded time and memory."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragagent.connectors.readers import read_document
from ragagent.errors import EmptyDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.testing import samples
from ragagent.testing.fuzz_readers import fuzz, seeds
from ragagent.types import Document

MORE_MEMORY_BYTES = 1024 * 1024 * 1024


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """A gigabyte beyond what the process has already: more is a MemoryError, and the test fails."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read(data: bytes, name: str) -> Document | None:
    """The document, or None where it is refused."""
    try:
        return read_document(data, uri="test:1", name=name, settings=IngestSettings(ocr="never"))
    except ReadError as error:
        if "MemoryError" in str(error):
            raise
        return None


def _pdf(objects: list[bytes]) -> bytes:
    parts = [b"%PDF-1.4\n"]
    at, places = len(parts[0]), []
    for number, content in enumerate(objects, start=1):
        places.append(at)
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
        at += len(parts[-1])
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    parts += [b"%010d 00000 n \n" % place for place in places]
    parts.append(b"trailer << /Root 1 0 R /Size %d >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, at))
    return b"".join(parts)


def test_a_pdf_of_a_hundred_thousand_pages_is_refused() -> None:
    pages = 100_000
    kids = b" ".join(b"%d 0 R" % number for number in range(3, pages + 3))
    tree = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, kids)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>"
    with pytest.raises(TooLarge, match="100000 pages"):
        read_document(_pdf([b"<< /Type /Catalog /Pages 2 0 R >>", tree, *([page] * pages)]), name="a.pdf")


def test_a_pdf_whose_pages_or_forms_hold_themselves_ends() -> None:
    catalog = b"<< /Type /Catalog /Pages 2 0 R >>"
    read(_pdf([catalog, b"<< /Type /Pages /Count 9 /Kids [2 0 R 2 0 R] /Parent 2 0 R >>"]), "a.pdf")
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R "
    page += b"/Resources << /XObject << /X 5 0 R >> >> >>"
    form = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >> /Length 5 >>"
    form += b"\nstream\n/X Do\nendstream"
    contents = b"<< /Length 5 >>\nstream\n/X Do\nendstream"
    read(_pdf([catalog, b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>", page, contents, form]), "a.pdf")


@pytest.mark.parametrize("tag", ["div", "table><tr><td", "ul><li", "blockquote", "b", "section><h1"])
def test_html_nested_a_hundred_thousand_deep_is_read_or_refused(tag: str) -> None:
    read(f"<html><body>{f'<{tag}>' * 100_000}text".encode(), "a.html")


def test_a_gigabyte_on_one_line_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"a,b,")
        file.truncate(1024 * 1024 * 1024)
    with pytest.raises(TooLarge, match="max_file_bytes"):
        read_document(path)


def test_a_long_single_line_of_csv_is_bounded() -> None:
    read(b"a,b," * 2_000_000, "a.csv")
    read(b'"' + b"a" * 8_000_000, "a.csv")


BOMB = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 100}">' for before, name in zip("abcdef", "bcdefg", strict=True)
)


def _declared(entity: str) -> str:
    return f'{BOMB}<!ENTITY secret SYSTEM "{entity}">]>'


@pytest.mark.parametrize(
    "made",
    [
        lambda head: (f"<?xml version='1.0'?>{head}<article><p>&g; &secret; text</p></article>".encode(), "a.xml"),
        lambda head: (f"{head}<html><body><p>&g; &secret; text</p></body></html>".encode(), "a.xhtml"),
        lambda head: (samples.epub(f"{head}<p>&g; &secret; text</p>"), "a.epub"),
        lambda head: (samples.odf("text", f"{head}<text:p>&g; &secret; text</text:p>"), "a.odt"),
    ],
)
def test_entities_are_neither_unfolded_nor_fetched(made: Callable[[str], tuple[bytes, str]], tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    document = read(*made(_declared(secret.as_uri())))
    assert document is None or ("TOP SECRET" not in document.text and "hahaha" not in document.text)


def test_a_file_of_nulls_is_empty_and_one_of_noise_is_no_text() -> None:
    with pytest.raises(EmptyDocument):
        read_document(bytes(1_000_000), name="a.pdf")
    assert read(bytes(range(256)) * 4_000, "a.txt") is None


def test_damaged_files_of_every_format_are_read_or_refused() -> None:
    """A short run of `python -m ragagent.testing.fuzz_readers`, with the same inputs every time."""
    report = fuzz(seeds(None), inputs=400, seed=7, limit_s=60)
    assert report.findings == []
    assert report.outcomes["read"] > 50
    assert len(report.outcomes) > 2
