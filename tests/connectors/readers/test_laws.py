"""The laws that every format keeps, on small files of each: whole, cut and damaged."""

from __future__ import annotations

import email.message
import io
import json
import zipfile
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx import Presentation
from xlsxwriter import Workbook

from ragagent.connectors.readers import READERS, read_document
from ragagent.errors import ReadError
from ragagent.testing.samples import odf, zipped
from ragagent.types import Document


def epub(*chapters: str) -> bytes:
    items = "".join(f'<item id="c{n}" href="c%20{n}.xhtml" media-type="text/html"/>' for n in range(len(chapters)))
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    package = '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The book</dc:title>'
    package += f"<dc:creator>Ada</dc:creator></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    container = '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>'
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "in/book.opf": package}
    parts |= {f"in/c {n}.xhtml": f"<html><body>{text}</body></html>" for n, text in enumerate(chapters)}
    return zipped({name: part.encode() for name, part in parts.items()})


def _xlsx() -> bytes:
    target = io.BytesIO()
    with Workbook(target) as book:
        sheet = book.add_worksheet("Sheet")
        for row, values in enumerate([["Name", "Seats"], ["Linden", 60], [None, 1.5]]):
            sheet.write_row(row, 0, values)
    return target.getvalue()


def _pptx() -> bytes:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Title"
    slide.placeholders[1].text_frame.text = "Body"
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def _eml() -> bytes:
    message = email.message.EmailMessage()
    message["From"], message["Subject"] = "Zoë <a@example.org>", "Grüße"
    message.set_content("Hello\n\n> quoted\nanswer")
    message.add_alternative("<p>Hello</p>", subtype="html")
    message.add_attachment(b"abc", maintype="image", subtype="png", filename="a.png")
    return message.as_bytes()


_TEXTS = {
    "a.csv": 'Name;Seats\n"Linden; big";60\n\nOak;2\n',
    "a.tsv": "a\tb\n1\t2\n",
    "a.json": '{"name": "House", "rooms": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], "deep": [{"c": null}]}',
    "a.jsonl": '{"a": 1}\n{"b": [1, 2]}\n',
    "a.xml": "<article><title>T</title><sec><title>S</title><p>one <b>two</b></p><list><list-item><p>x</p></list-item>"
    "</list><table><tr><td>a</td><td>b</td></tr></table></sec></article>",
    "a.ipynb": json.dumps(
        {"cells": [{"cell_type": "markdown", "source": ["# T\n", "text"]}]}
        | {"metadata": {"kernelspec": {"language": "python"}}}
    ),
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\n\n2\n00:00:09,000 --> 00:00:10,000\nagain.\n",
    "a.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hello</v>\n",
    "a.rst": "Title\n=====\n\nText with *marks* and :ref:`role <x>`.\n\n- a\n- b\n\n::\n\n  code\n\n.. note:: x\n",
    "a.tex": "\\documentclass{article}\\begin{document}\\section{One}Text $x^2$ \\cite{k}.\n\n\\begin{itemize}\\item a"
    "\\end{itemize}\\begin{tabular}{ll}a & b \\\\ c & d\\end{tabular}\\end{document}",
    "a.adoc": "= Title\n:key: value\n\nText *strong*.\n\n. one\n.. two\n\n----\ncode\n----\n\n|===\n|a |b\n|===\n",
    "a.py": "import x\n\n\nclass A:\n    @property\n    def f(self):\n        return 1\n",
    "a.rs": "impl<T> Shelf<T> {\n    pub fn add(&self) {}\n}\n",
    "a.rtf": "{\\rtf1\\ansi{\\info{\\title Plan}}Hello \\b bold\\b0 \\u233?\\par\\trowd a\\cell b\\cell\\row}",
    "a.mbox": "From a@b Wed May  1 09:00:00 2024\nSubject: One\n\nfirst\n",
}


@cache
def samples() -> dict[str, bytes]:
    text = '<text:h text:outline-level="2">Head</text:h><text:p>one<text:s text:c="2"/>two</text:p><text:list>'
    text += "<text:list-item><text:p>item</text:p></text:list-item></text:list>"
    slide = '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Title</text:p></draw:text-box>'
    slide += "</draw:frame><draw:frame><draw:text-box><text:p>Body</text:p></draw:text-box></draw:frame></draw:page>"
    sheet = '<table:table table:name="S"><table:table-row><table:table-cell office:value-type="float"'
    sheet += ' office:value="2.0" table:number-columns-repeated="3"><text:p>2,0</text:p></table:table-cell>'
    sheet += "</table:table-row></table:table>"
    made = {name: text.encode() for name, text in _TEXTS.items()}
    made |= {"a.odt": odf("text", text), "a.odp": odf("presentation", slide), "a.ods": odf("spreadsheet", sheet)}
    return made | {"a.xlsx": _xlsx(), "a.pptx": _pptx(), "a.eml": _eml(), "a.epub": epub("<h1>One</h1><p>text</p>")}


NAMES = [*_TEXTS, "a.odt", "a.odp", "a.ods", "a.xlsx", "a.pptx", "a.eml", "a.epub"]


def check(document: Document) -> None:
    """Blocks are spans of the text that do not overlap and leave out nothing; pages come in order."""
    assert document.text.strip()
    assert document.title
    document.text.encode()
    assert not any(ord(char) < 32 and char not in "\n\t" for char in document.text)
    end = 0
    for block in sorted((one for one in document.blocks if one.kind != "page"), key=lambda one: one.span):
        assert not document.text[end : block.span.start].strip()
        assert end <= block.span.start < block.span.end
        assert block.span.of(document.text).strip()
        assert block.kind != "heading" or 1 <= block.level <= 6
        end = block.span.end
    assert end == len(document.text)
    pages = [block.number or 0 for block in document.blocks if block.kind == "page"]
    assert pages == sorted(set(pages))


def read(data: bytes, name: str) -> Document:
    return read_document(data, uri="test:1", name=name)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_read_by_its_own_reader(name: str) -> None:
    document = read(samples()[name], name)
    check(document)
    assert document.media_type in READERS
    assert document.media_type not in {"text/plain", "application/zip"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_is_read_or_refused(name: str) -> None:
    data = samples()[name]
    for share in range(1, 12):
        try:
            check(read(data[: len(data) * share // 12], name))
        except ReadError:
            continue


def _damaged(draw: st.DataObject, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(changed)))
        changed[at : at + draw.draw(st.integers(0, 30))] = draw.draw(
            st.binary(max_size=20) | st.sampled_from([b"<", b">", b"{", b"\\", b'"', b"999999999", b"\n\n", b"-", b"|"])
        )
    return bytes(changed)


@settings(max_examples=300)
@given(st.data(), st.sampled_from(NAMES))
def test_a_damaged_file_is_read_or_refused(draw: st.DataObject, name: str) -> None:
    try:
        check(read(_damaged(draw, samples()[name]), name))
    except ReadError:
        return


@settings(max_examples=150)
@given(st.data(), st.sampled_from([name for name in NAMES if samples()[name].startswith(b"PK")]))
def test_a_container_with_a_damaged_part_is_read_or_refused(draw: st.DataObject, name: str) -> None:
    """Damage to the bytes of a container seldom gets beyond its checksums; this damage does."""
    target = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(samples()[name]))
    parts = sorted(one for one in source.namelist() if one.endswith((".xml", ".opf", ".xhtml", ".rels")))
    chosen = draw.draw(st.sampled_from(parts))
    with source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.namelist():
            content = source.read(entry)
            archive.writestr(entry, _damaged(draw, content) if entry == chosen else content)
    try:
        check(read(target.getvalue(), name))
    except ReadError:
        return


SLOW_CHARS = {"a.rst": 20_000, "a.tex": 40_000}
"""Their parsers are slow, though not quadratic beyond a few thousand characters."""

TEXT_NAMES = [name for name in _TEXTS if name not in {"a.json", "a.jsonl", "a.ipynb"}]
SLOW = {
    "blanks": " " * 100_000 + "x",
    "bars": "| " * 50_000,
    "brackets": "[" * 100_000,
    "braces": "{" * 100_000,
    "commands": "\\begin{a}" * 20_000,
    "backslashes": "\\" * 100_000,
    "angles": "<" * 100_000,
    "stars": "*a " * 40_000,
    "stars without blanks": "*" * 100_000,
    "underlines": "_a" * 50_000,
    "quotes": "> " * 50_000,
    "grave accents": "`a" * 50_000,
    "dollars": "$a" * 50_000,
    "lines": "a\n" * 30_000,
    "indented ever deeper": "\n".join(" " * min(n, 300) + "a" for n in range(600)),
    "definitions": "def a\n" * 20_000,
    "public words": "public " * 20_000,
    "colons": "a:: " * 20_000,
    "equals": "=" * 100_000,
    "quotation marks": '"' * 100_001,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("name", TEXT_NAMES)
def test_text_made_to_be_slow_ends_in_time_that_grows_with_its_length(text: str, name: str) -> None:
    """Quadratic time would be minutes here, and the test would run into its limit."""
    beginning = samples()[name][:12].decode() if name in {"a.rtf", "a.vtt", "a.mbox"} else ""
    try:
        read((beginning + text[: SLOW_CHARS.get(name, 100_000)]).encode(), name)
    except ReadError:
        return
