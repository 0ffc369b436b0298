"""Books, office texts, notebooks, subtitles and mark-up languages, by example."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from ragagent.connectors.readers import read_document
from ragagent.errors import EncryptedDocument, ReadError, TooLarge
from ragagent.types import Document

_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_SPACES = " ".join(
    f'xmlns:{prefix}="{_ODF}{name}:1.0"'
    for prefix, name in [("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing")]
)
_SPACES += f' xmlns:presentation="{_ODF}presentation:1.0"'


def _read(data: bytes | str, name: str) -> Document:
    return read_document(data.encode() if isinstance(data, str) else data, uri="test:1", name=name)


def _blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.span.of(document.text)) for block in document.blocks if block.kind != "page"]


def _zip(parts: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


def _odf(kind: str, body: str, *, manifest: str = "<manifest/>") -> bytes:
    content = f"<office:document-content {_SPACES}><office:body><office:{kind}>{body}"
    content += f"</office:{kind}></office:body></office:document-content>"
    parts = {"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": content}
    return _zip(parts | {"META-INF/manifest.xml": manifest})


def test_an_office_text_keeps_headings_lists_tables_and_notes() -> None:
    body = (
        '<text:h text:outline-level="2">Rooms</text:h><text:p>Two<text:s text:c="2"/>rooms<text:note><text:note-body>'
    )
    body += "<text:p>and a hall</text:p></text:note-body></text:note> are free.</text:p>"
    body += "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    body += "<text:list><text:list-item><text:p>Linden</text:p><text:list><text:list-item><text:p>left</text:p>"
    body += "</text:list-item></text:list></text:list-item></text:list>"
    body += "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell>"
    body += "<text:p>b</text:p><text:p>c</text:p></table:table-cell></table:table-row></table:table>"
    assert _blocks(_read(_odf("text", body), "a.odt")) == [
        ("heading", "Rooms"),
        ("paragraph", "Two  rooms are free."),
        ("paragraph", "and a hall"),
        ("list", "- Linden\n  - left"),
        ("table", "a | b c"),
    ]


def test_slides_of_open_documents_are_pages() -> None:
    page = '<draw:page><draw:frame><text:p>Body</text:p></draw:frame><draw:frame presentation:class="title"><text:p>'
    page += 'Title {0}</text:p></draw:frame><presentation:notes><draw:frame presentation:class="notes"><text:p>Say'
    page += "</text:p></draw:frame></presentation:notes></draw:page>"
    document = _read(_odf("presentation", page.format(1) + page.format(2)), "a.odp")
    assert [text for _, text in _blocks(document)] == ["Title 1", "Body", "Notes: Say", "Title 2", "Body", "Notes: Say"]
    assert document.page_at(document.text.index("Title 2")) == 2


def _cell(value: str, **attributes: str) -> str:
    said = "".join(f' {key.replace("__", ":").replace("_", "-")}="{text}"' for key, text in attributes.items())
    return f"<table:table-cell{said}><text:p>{value}</text:p></table:table-cell>"


def test_sheets_of_open_documents_say_values_rather_than_formats() -> None:
    row = _cell("1.200,00 €", office__value_type="float", office__value="1200.0")
    row += _cell("1. Mai", office__value_type="date", office__date_value="2024-05-01")
    sheet = f'<table:table table:name="Costs"><table:table-row>{row}</table:table-row></table:table>'
    assert _read(_odf("spreadsheet", sheet), "a.ods").text == "Costs\n\n1200 | 2024-05-01"


def test_cells_and_rows_that_repeat_without_end_are_bounded() -> None:
    cell = _cell("x", table__number_columns_repeated="999999999")
    row = f'<table:table-row table:number-rows-repeated="999999999">{cell}</table:table-row>'
    document = _read(_odf("spreadsheet", f"<table:table>{row}</table:table>"), "a.ods")
    assert document.text.count("x") == 1_000_000
    with pytest.raises(TooLarge, match="cells"):
        _read(_odf("spreadsheet", f"<table:table>{row * 30}</table:table>"), "a.ods")
    empty = '<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated='
    empty += f'"16384"/></table:table-row><table:table-row>{_cell("end")}</table:table-row>'
    assert _read(_odf("spreadsheet", f'<table:table table:name="S">{empty}</table:table>'), "a.ods").text == "S\n\nend"


def test_an_encrypted_open_document_says_so() -> None:
    with pytest.raises(EncryptedDocument, match="password"):
        _read(_odf("text", "<text:p>x</text:p>", manifest="<m><encryption-data/></m>"), "a.odt")


def _book(spine: list[str], pages: dict[str, str], *, extra: dict[str, str] | None = None) -> bytes:
    items = "".join(
        f'<item id="{n}" href="{href}" media-type="application/xhtml+xml"/>' for n, href in enumerate(spine)
    )
    order = "".join(f'<itemref idref="{n}"/>' for n in range(len(spine)))
    package = '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The book</dc:title><dc:creator>'
    package += f"Ada</dc:creator></metadata><manifest>{items}</manifest><spine>{order}</spine></package>"
    container = '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>'
    parts = {"META-INF/container.xml": container, "in/book.opf": package}
    return _zip(parts | {name: f"<html><body>{text}</body></html>" for name, text in pages.items()} | (extra or {}))


def test_chapters_come_in_the_order_of_the_spine() -> None:
    pages = {"in/a b.xhtml": "<h1>Last</h1><p>end</p>", "in/b.xhtml": "<h1>First</h1><p>begin</p>"}
    document = _read(_book(["b.xhtml", "a%20b.xhtml", "../../etc/passwd", "b.xhtml"], pages), "a.epub")
    assert [text for _, text in _blocks(document)] == ["First", "begin", "Last", "end"]
    assert (document.title, document.metadata["author"]) == ("The book", "Ada")


def test_a_locked_book_says_so_and_locked_fonts_do_not_matter() -> None:
    note = '<e><EncryptionMethod Algorithm="{}"/></e>'
    pages = {"in/b.xhtml": "<p>text</p>"}
    locked = {"META-INF/encryption.xml": note.format("http://www.w3.org/2001/04/xmlenc#aes256-cbc")}
    with pytest.raises(EncryptedDocument):
        _read(_book(["b.xhtml"], pages, extra=locked), "a.epub")
    fonts = {"META-INF/encryption.xml": note.format("http://www.idpf.org/2008/embedding")}
    assert _read(_book(["b.xhtml"], pages, extra=fonts), "a.epub").text == "text"


def test_a_notebook_keeps_text_code_and_what_was_printed() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Sales\n", "\n", "by *year*"]},
        {
            "cell_type": "code",
            "source": "sum(sales)",
            "outputs": [
                {"output_type": "stream", "text": ["\x1b[31mloading\x1b[0m\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "42", "image/png": "iVBOR"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "'2025'", "traceback": ["..."]},
            ],
        },
    ]
    assert _blocks(_read(json.dumps({"cells": cells, "nbformat": 4}), "a.ipynb")) == [
        ("heading", "Sales"),
        ("paragraph", "by year"),
        ("code", "sum(sales)"),
        ("code", "loading"),
        ("code", "42"),
        ("code", "KeyError: '2025'"),
    ]
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1"}]}]}
    assert _read(json.dumps(old), "a.ipynb").text == "x = 1"
    with pytest.raises(ReadError, match="no cells"):
        _read("{}", "a.ipynb")


def test_subtitles_are_running_text_by_speaker_and_pause() -> None:
    text = "WEBVTT\n\nNOTE not said\n\n00:01.000 --> 00:02.000 align:start\n<v Ann>Good <i>morning,</i>\n\nid-2\n"
    text += "00:02.000 --> 00:03.000\n<v Ann>all.\n\n00:03.000 --> 00:04.000\n<v Bob>Hi &amp; hello.\n"
    assert _read(text, "a.vtt").text == "Ann: Good morning, all.\n\nBob: Hi & hello."
    text = "1\r\n00:00:01,000 --> 00:00:02,000\r\n{\\an8}One\r\ntwo\r\n\r\n2\r\n"
    text += "00:00:02,000 --> 00:00:03,000\r\nthree.\r\n\r\n3\r\n00:01:00,000 --> 00:01:01,500\r\nLater.\r\n"
    document = _read(text, "a.srt")
    assert (document.text, document.metadata["duration_s"]) == ("One two three.\n\nLater.", 61.5)


def test_rich_text_loses_its_commands_and_keeps_its_tables() -> None:
    text = r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\info{\title The plan}}\b Gr\'fc\'dfe\b0  \u8364?5\par "
    text += r"\trowd\cellx1\cellx2 Room\cell Seats\cell\row\trowd Linden\cell 60\cell\row\pard End\par}"
    document = _read(text, "a.rtf")
    assert document.title == "The plan"
    assert _blocks(document) == [
        ("paragraph", "Grüße €5"),
        ("table", "Room | Seats\nLinden | 60"),
        ("paragraph", "End"),
    ]


def test_restructured_text_includes_nothing_and_keeps_unknown_directives() -> None:
    text = "Guide\n=====\n\nSee :ref:`the rooms <rooms>` and *this*.\n\nRooms\n-----\n\n1. Linden\n2. Oak\n\n"
    text += ".. include:: /etc/passwd\n\n.. raw:: html\n\n   <b>raw</b>\n\n.. versionadded:: 2.0\n   The hall.\n\n"
    text += ".. code-block:: python\n\n   x = 1\n\n====  =====\nRoom  Seats\n====  =====\nOak   20\n====  =====\n"
    document = _read(text, "a.rst")
    assert [(kind, text) for kind, text in _blocks(document) if "passwd" not in text] == [
        ("heading", "Guide"),
        ("paragraph", "See the rooms and this."),
        ("heading", "Rooms"),
        ("list", "1. Linden\n2. Oak"),
        ("paragraph", "2.0\nThe hall."),
        ("code", "x = 1"),
        ("table", "Room | Seats\nOak | 20"),
    ]
    assert "root:" not in document.text
    assert "raw" not in document.text


def test_latex_keeps_sections_lists_tables_and_formulas() -> None:
    text = "\\documentclass{article}\\title{On roses}\\begin{document}\\maketitle % unseen\n\\section{Soil \\& sun}\n"
    text += "It is \\textbf{dry}, $x^2$; see \\cite{key} and \\ref{fig:a}.\\label{s}\n\nNext.\\footnote{Small.}\n"
    text += "\\begin{enumerate}\\item dig\\begin{itemize}\\item deep\\end{itemize}\\item water\\end{enumerate}"
    text += "\\begin{table}\\caption{Beds}\\begin{tabular}{l|r}\\hline Bed & Count \\\\ A & 3 \\\\"
    text += "\\end{tabular}\\end{table}\\begin{verbatim}\nx = {1}\n\\end{verbatim}\\input{/etc/passwd}\\end{document}"
    document = _read(text, "a.tex")
    assert document.title == "On roses"
    assert _blocks(document) == [
        ("heading", "On roses"),
        ("heading", "Soil & sun"),
        ("paragraph", "It is dry, $x^2$; see [key] and [fig:a]."),
        ("paragraph", "Next. (Small.)"),
        ("list", "1. dig\n  - deep\n2. water"),
        ("paragraph", "Beds"),
        ("table", "Bed | Count\nA | 3"),
        ("code", "x = {1}"),
    ]


def test_asciidoc_keeps_its_structure_and_loses_its_marks() -> None:
    text = "= Guide\nAda Lovelace\n:version: 2\n\n== Rooms\n\nSee https://example.org[the *list*] and `code`.\n\n"
    text += "* a\n** b\n+\nmore\n\n[source,py]\n----\nx = 1\n\ny = 2\n----\n\n.Seats\n|===\n|Room |Seats\n\n|Oak\n"
    text += "|20\n|===\n\n____\nsaid\n____\n\ninclude::/etc/passwd[]\n\nTerm:: what it means\n// a comment\n"
    document = _read(text, "a.adoc")
    assert document.metadata["version"] == "2"
    assert [block for block in _blocks(document) if "passwd" not in block[1]] == [
        ("heading", "Guide"),
        ("paragraph", "Ada Lovelace"),
        ("heading", "Rooms"),
        ("paragraph", "See the list and code."),
        ("list", "- a\n  - b\n  more"),
        ("code", "x = 1\n\ny = 2"),
        ("paragraph", "Seats"),
        ("table", "Room | Seats\nOak | 20"),
        ("quote", "said"),
        ("list", "- Term: what it means"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "headings"),
    [
        (
            "a.py",
            "class A:\n    def f(self):\n        pass\n\n    async def g(self):\n        pass\n\n\ndef h():\n    x\n",
            "A A.f A.g h",
        ),
        ("a.js", "export class A {\n  x = 1\n}\nexport const f = async (a) => {\n};\nfunction g() {}\n", "A f g"),
        ("a.ts", "interface A {\n}\ntype B = string;\nexport function c<T>(x: T) {\n}\n", "A B c"),
        ("a.go", "package a\n\ntype S struct {\n}\n\nfunc (s *S) Get() int {\n}\n\nfunc main() {\n}\n", "S S.Get main"),
        ("a.rs", "pub struct S;\n\nimpl<T> Add for S {\n    pub fn add(&self) {}\n}\n", "S S S.add"),
        ("a.java", "public class A {\n    private static int f(int x) {\n        return g(x);\n    }\n}\n", "A A.f"),
        ("a.c", "struct s {\n};\n\nstatic int *f(void)\n{\n    return g(1);\n}\nint h(int);\n", "s f a.c"),
        ("a.rb", "module M\n  class C\n    def f?\n    end\n  end\nend\n", "M M.C M.C.f?"),
        ("a.sh", "go() {\n  echo\n}\nfunction stop {\n  x\n}\n", "go stop"),
        (
            "a.sql",
            "CREATE TABLE IF NOT EXISTS rooms (\n  id INT\n);\ncreate or replace view v as select 1;\n",
            "rooms v",
        ),
    ],
)
def test_definitions_become_headings_and_the_code_stays(name: str, text: str, headings: str) -> None:
    document = _read(text, name)
    blocks = _blocks(document)
    assert [one for kind, one in blocks if kind == "heading"] == headings.split()
    code = "\n".join(one for kind, one in blocks if kind == "code")
    assert [line for line in code.split("\n") if line.strip()] == [line for line in text.split("\n") if line.strip()]
    assert document.title == name


def test_decorators_and_comments_stay_with_their_definition() -> None:
    text = "import x\n\n# What f does.\n@cached\ndef f():\n    pass\n"
    assert _blocks(_read(text, "a.py")) == [
        ("code", "import x"),
        ("heading", "f"),
        ("code", "# What f does.\n@cached\ndef f():\n    pass"),
    ]
