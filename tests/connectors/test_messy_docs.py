"""Real files of every quality: each is ingested or refused with a true reason, and little of the text is lost."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from ragagent.connectors.readers import read_document
from ragagent.errors import EmptyDocument, EncryptedDocument, ReadError, UnsupportedFormat

READ = {
    "pdf",
    "docx",
    "html",
    "md",
    "txt",
    "csv",
    "asciidoc",
    "latex",
    "webvtt",
    "py",
    "ndjson",
    "ipynb",
    "json",
    "xml",
}
READ |= {"xlsx", "xls", "pptx", "eml", "email", "msg", "jats", "uspto", "odf", "odt", "epub", "rst", "rtf", "tsv", "go"}
READ |= {"doc", "ppt", "pages", "zip"}
LEAST_RECALL = {"pdf": 0.9, "docx": 0.9, "html": 0.95, "md": 0.94, "csv": 0.98, "jats": 0.95, "uspto": 0.95}
LEAST_RECALL |= {"latex": 0.95, "webvtt": 0.98, "odf": 0.9, "pptx": 0.9, "asciidoc": 0.8, "xlsx": 0.95}
"""Of asciidoc the attributes go to the metadata; of docx the expected text says `image` for a picture."""
STATEMENTS = (
    "Total net sales",
    "Gross margin",
    "Total operating expenses",
    "Operating income",
    "Net income",
    "Diluted",
)


@pytest.fixture(scope="module")
def messy(shared_data: Path) -> list[dict[str, Any]]:
    """Each line of the manifest with what became of its file: `text` or `error`."""
    root = shared_data / "messy_docs"
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        try:
            row["text"], row["error"] = read_document(root / row["path"]).text, None
        except ReadError as error:
            row["text"], row["error"] = None, error
        expected = row.get("expected_text")
        row["expected"] = (root / expected).read_text() if expected else None
    return rows


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def test_encrypted_files_are_called_encrypted(messy: list[dict[str, Any]]) -> None:
    encrypted = [row for row in messy if row["expect"] == "encrypted"]
    assert encrypted
    assert all(isinstance(row["error"], EncryptedDocument) for row in encrypted)


def test_empty_files_are_called_empty(messy: list[dict[str, Any]]) -> None:
    empty = [row for row in messy if row["expect"] == "empty"]
    assert empty
    assert all(isinstance(row["error"], EmptyDocument) for row in empty)


def test_files_in_good_order_are_read(messy: list[dict[str, Any]]) -> None:
    refused = [row for row in messy if row["expect"] == "ok" and row["kind"] in READ and row["error"]]
    # Pictures without a word are what remains, and a file that its name calls protected by a password.
    reasons = {Path(row["path"]).name: row["error"] for row in refused}
    assert isinstance(reasons.pop("pages_password_protected.pages", EncryptedDocument()), EncryptedDocument)
    assert all(isinstance(error, EmptyDocument) and name.endswith(".pdf") for name, error in reasons.items())
    assert len(reasons) <= 4


def test_formats_without_a_reader_are_named(messy: list[dict[str, Any]]) -> None:
    for row in messy:
        if row["kind"] in {"bin"} and row["error"]:
            assert isinstance(row["error"], UnsupportedFormat | EncryptedDocument)


def test_no_reader_fails_in_an_unforeseen_way(messy: list[dict[str, Any]]) -> None:
    assert [row["path"] for row in messy if row["error"] and "beyond the" in str(row["error"])] == []


def test_few_words_are_lost(messy: list[dict[str, Any]]) -> None:
    recalls: dict[str, list[float]] = defaultdict(list)
    for row in messy:
        if row["text"] and row["expected"] and row["kind"] in LEAST_RECALL:
            expected = _words(row["expected"])
            recalls[row["kind"]].append((expected & _words(row["text"])).total() / max(1, expected.total()))
    means = {kind: sum(values) / len(values) for kind, values in recalls.items()}
    print({kind: f"{mean:.3f} of {len(recalls[kind])}" for kind, mean in means.items()})
    every = [value for values in recalls.values() for value in values]
    assert sum(every) / len(every) >= 0.95
    assert set(means) == set(LEAST_RECALL)
    assert {kind: mean for kind, mean in means.items() if mean < LEAST_RECALL[kind]} == {}


def test_figures_of_filings_stand_on_the_line_of_their_label(shared_data: Path) -> None:
    text = read_document(shared_data / "sec_10q_pdf" / "docs" / "2022_Q3_AAPL.pdf").text
    assert "Total net sales | 82,959 | 81,434 | 304,182 | 282,457" in text
    assert "Net income | $19,442 | $21,744 | $79,082 | $74,129" in text
    for label in STATEMENTS:
        assert re.search(rf"^{label} \| \$?[\d(][\d,.)]+ \|", text, re.MULTILINE), label
