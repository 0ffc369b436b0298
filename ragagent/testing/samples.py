"""Small files of every format, written here or by the libraries that also read them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXTS = {
    "a.txt": "First paragraph.\n\nSecond one, with äöü and 漢字.\n",
    "a.md": "---\ntitle: T\n---\n# One\n\n- a\n  - b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n"
    "> quote\n\n```py\ncode\n```\n",
    "a.html": "<!doctype html><html><head><title>T</title></head><body><main><h1>One</h1><p>text <a href='x'>link</a>"
    "<ul><li>a<ul><li>b</ul></ul><table><tr><th>x<th>y<tr><td colspan=2>1</table>"
    "<pre>code</pre></main></body></html>",
    "a.csv": 'Name;Seats\n"Linden; big";60\n\nOak;2\n',
    "a.tsv": "a\tb\n1\t2\n",
    "a.json": '{"name": "House", "rooms": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], "deep": [{"c": null}]}',
    "a.jsonl": '{"a": 1}\n{"b": [1, 2]}\n',
    "a.xml": "<article><title>T</title><sec><title>S</title><p>one <b>two</b></p><list><list-item><p>x</p></list-item>"
    "</list><table><tr><td>a</td><td>b</td></tr></table></sec></article>",
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\n\n2\n00:00:09,000 --> 00:00:10,000\nagain.\n",
    "a.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hello</v>\n",
    "a.rst": "Title\n=====\n\nText with *marks* and :ref:`role <x>`.\n\n- a\n- b\n\n::\n\n  code\n\n.. note:: x\n",
    "a.tex": "\\documentclass{article}\\begin{document}\\section{One}Text $x^2$ \\cite{k}.\n\n\\begin{itemize}\\item a"
    "\\end{itemize}\\begin{tabular}{ll}a & b \\\\ c & d\\end{tabular}\\end{document}",
    "a.adoc": "= Title\n:key: value\n\nText *strong*.\n\n. one\n.. two\n\n----\ncode\n----\n\n|===\n|a |b\n|===\n",
    "a.py": "import x\n\n\nclass A:\n    @property\n    def f(self):\n        return 1\n",
    "a.rs": "impl<T> Shelf<T> {\n    pub fn add(&self) {}\n}\n",
    "a.rtf": "{\\rtf1\\ansi{\\info{\\title Plan}}Hello \\b bold\\b0 \\u233?\\par\\trowd a\\cell b\\cell\\row}",
    "a.mbox": "From a@b Wed May  1 09:00:00 2024\nMessage-ID: <1@b>\nSubject: One\n\nfirst\n",
}


def texts() -> dict[str, bytes]:
    """Formats that are text, by a name of theirs."""
    notebook: dict[str, Any] = {"cells": [{"cell_type": "markdown", "source": ["# T\n", "text"]}], "metadata": {}}
    notebook["cells"].append({"cell_type": "code", "source": "1 + 1", "outputs": [{"text": ["2"]}]})
    return {name: text.encode() for name, text in {**_TEXTS, "a.ipynb": json.dumps(notebook)}.items()}


def containers() -> dict[str, bytes]:
    """Formats that are binary, by a name of theirs."""
    text = '<text:h text:outline-level="2">Head</text:h><text:p>one<text:s text:c="2"/>two</text:p>'
    sheet = '<table:table table:name="S"><table:table-row><table:table-cell office:value-type="float"'
    sheet += ' office:value="2.0" table:number-columns-repeated="3"/></table:table-row></table:table>'
    made = {"a.odt": odf("text", text), "a.ods": odf("spreadsheet", sheet), "a.epub": epub("<h1>One</h1><p>text</p>")}
    made |= {"a.xlsx": _xlsx(), "a.docx": _docx(), "a.pptx": _pptx(), "a.eml": _eml(), "a.png": _png("PNG")}
    made |= {"a.tif": _png("TIFF"), "a.jpg": _png("JPEG"), "a.pdf": _pdf()}
    inner = {"notes.txt": b"text", "in/table.csv": b"a,b\n1,2\n", "a.eml": _eml()}
    packed = tarred(inner)
    made |= {"a.zip": zipped(inner), "a.tar": packed, "a.tgz": gzip.compress(packed)}
    return made | {"a.txt.bz2": bz2.compress(b"text"), "a.txt.xz": lzma.compress(b"text")}


def zipped(parts: Mapping[str, bytes]) -> bytes:
    """A ZIP container of these parts."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


def odf(kind: str, body: str) -> bytes:
    """An OpenDocument file with this body."""
    spaces = "".join(f' xmlns:{one}="{_ODF}{one}:1.0"' for one in ("office", "text", "table", "presentation"))
    content = f'<office:document-content{spaces} xmlns:draw="{_ODF}drawing:1.0"><office:body><office:{kind}>{body}'
    content += f"</office:{kind}></office:body></office:document-content>"
    kinds = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": kinds.encode(), "content.xml": content.encode()})


def epub(chapter: str) -> bytes:
    """A book of one chapter."""
    package = '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The book</dc:title></metadata>'
    package += '<manifest><item id="c" href="c.xhtml" media-type="text/html"/></manifest>'
    package += '<spine><itemref idref="c"/></spine></package>'
    container = '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>'
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "in/book.opf": package}
    parts["in/c.xhtml"] = f"<html><body>{chapter}</body></html>"
    return zipped({name: part.encode() for name, part in parts.items()})


def tarred(parts: Mapping[str, bytes]) -> bytes:
    """A TAR archive of these parts."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def _xlsx() -> bytes:
    sheet = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
    sheet += '<c r="A1" t="inlineStr"><is><t>Name</t></is></c><c r="B1"><v>60</v></c></row></sheetData></worksheet>'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    book = '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="' + office + '">'
    book += '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'
    links = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    links += f'Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    parts = {"[Content_Types].xml": types, "xl/workbook.xml": book, "xl/_rels/workbook.xml.rels": links}
    return zipped({name: part.encode() for name, part in {**parts, "xl/worksheets/sheet1.xml": sheet}.items()})


def _docx() -> bytes:
    from docx import Document

    document = Document()
    document.add_heading("One", 1)
    document.add_paragraph("text")
    table = document.add_table(2, 2)
    table.cell(0, 0).text, table.cell(1, 1).text = "a", "b"
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def _pptx() -> bytes:
    from pptx import Presentation

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text_frame.text = "Title", "Body"
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def _eml() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "Zoë <a@example.org>", "Grüße"
    message.set_content("Hello\n\n> quoted\nanswer")
    message.add_alternative("<p>Hello</p>", subtype="html")
    message.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="a.csv")
    return message.as_bytes()


def _png(kind: str) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("L", (120, 40), 255)
    ImageDraw.Draw(image).text((5, 10), "Hello there")
    target = io.BytesIO()
    image.save(target, kind)
    return target.getvalue()


def _pdf() -> bytes:
    stream = b"BT /F1 12 Tf 72 700 Td (The garden opens in May.) Tj 0 -14 Td (It closes in October.) Tj ET"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    objects.append(
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
    )
    objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, one) for n, one in enumerate(objects, start=1))
    return body + b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF\n"
