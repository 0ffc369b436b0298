from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.connectors.readers import read_document, registry
from ragagent.connectors.readers.docx import MEDIA_TYPE as DOCX
from ragagent.errors import ConfigError, EmptyDocument, EncryptedDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.settings import IngestSettings
from ragagent.text.sentences import sentences
from ragagent.types import Document

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples" / "documents"
CONTENTS = {path.name: path.read_bytes() for path in sorted(EXAMPLES.iterdir())}
NAMES = ["a.txt", "a.md", "a.html", "a.pdf", "a.docx", "a.csv", "a.py", "a", "a.json"]


def _read(data: bytes | str, name: str, limits: IngestSettings | None = None) -> Document:
    return read_document(data.encode() if isinstance(data, str) else data, uri="test:1", name=name, settings=limits)


def _blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.span.of(document.text)) for block in document.blocks if block.kind != "page"]


def _check(document: Document) -> None:
    """The laws of every document that a reader makes."""
    assert document.text.strip()
    assert not any(ord(char) < 32 and char not in "\n\t" for char in document.text)
    document.text.encode()
    end = 0
    for block in sorted((one for one in document.blocks if one.kind != "page"), key=lambda one: one.span):
        assert end <= block.span.start < block.span.end <= len(document.text)
        assert block.span.of(document.text).strip()
        end = block.span.end
    pages = [block for block in document.blocks if block.kind == "page"]
    assert [page.number for page in pages] == sorted(page.number or 0 for page in pages)
    assert document.title


@pytest.mark.parametrize("name", CONTENTS)
def test_the_laws_hold_for_real_files(name: str) -> None:
    _check(_read(CONTENTS[name], name))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.sampled_from(NAMES))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    try:
        _check(_read(data, name))
    except ReadError:
        return


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(sorted(CONTENTS)))
def test_damaged_files_are_read_or_refused(data: st.DataObject, name: str) -> None:
    content = bytearray(CONTENTS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        width = data.draw(st.integers(0, 40))
        content[at : at + width] = data.draw(st.binary(max_size=40))
        if not content:
            break
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    try:
        _check(_read(bytes(content), name))
    except ReadError:
        return


TAGS = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<div>",
        "<table>",
        "<tr>",
        "<td colspan=3>",
        "<td rowspan=2>",
        "<th>",
        "</table>",
        "<ul>",
        "<li>",
        "</ul>",
        "<ol>",
        "<dl><dt>",
        "<dd>",
        "<pre>",
        "</pre>",
        "<h1>",
        "</h1>",
        "<nav>",
        "<script>",
        "</script>",
        "<!--",
        "-->",
        "<br>",
        "<main>",
        "<blockquote>",
        "text ",
        "&nbsp;",
        "&#0;",
        "<svg>",
        "<template>",
        "<img alt='x'>",
        "<![CDATA[",
        "\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TAGS, max_size=30))
def test_any_nesting_of_tags_is_read(tags: list[str]) -> None:
    _check(_read("<html>visible" + "".join(tags), "a.html"))


MARKS = st.sampled_from(
    [
        "# ",
        "## ",
        "- ",
        "  - ",
        "1. ",
        "> ",
        "```\n",
        "    ",
        "| a | b |\n",
        "|---|---|\n",
        "*",
        "**",
        "`",
        "[a](b)",
        "![c](d)",
        "<b>",
        "<!-- ",
        "---\n",
        "\n",
        "\n\n",
        "word ",
        "\\",
        "&amp;",
        "\t",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MARKS, max_size=40))
def test_any_markdown_is_read(marks: list[str]) -> None:
    _check(_read("visible\n\n" + "".join(marks), "a.md"))


def test_markdown_keeps_its_structure_and_loses_its_marks() -> None:
    text = (
        "---\ntitle: The guide\ndate: 2024-05-01\n---\n# One *two*\n\nA [link](http://x) and `code`\nover lines.\n\n"
        "- a\n  - b\n- c\n\n3. d\n4. e\n\n> said\n\n| x | y |\n|---|---|\n| 1 | **2** |\n\n```py\nif x:\n    y()\n```\n"
    )
    document = _read(text, "a.md")
    assert (document.title, document.metadata["date"]) == ("The guide", "2024-05-01")
    assert _blocks(document) == [
        ("heading", "One two"),
        ("paragraph", "A link (http://x) and code over lines."),
        ("list", "- a\n  - b\n- c"),
        ("list", "3. d\n4. e"),
        ("quote", "said"),
        ("table", "x | y\n1 | 2"),
        ("code", "if x:\n    y()"),
    ]


def test_html_keeps_its_structure_and_loses_its_decoration() -> None:
    page = (
        "<html><head><title>Page</title><style>p{}</style></head><body><nav>Home</nav><h2>Top</h2><p>One<br>two &amp;\n"
        " <b>three</b>four<script>x()</script></p><ul><li>a<ul><li>b</li></ul></li><li>c</li></ul><ol><li>d</ol>"
        "<table><tr><th rowspan=2>Q</th><td>1</td></tr><tr><td>H<sub>2</sub>O</td></tr></table>"
        "<blockquote><p>said</p></blockquote><pre>if x:\n    y()</pre><p hidden>unseen</p></body></html>"
    )
    document = _read(page, "a.html")
    assert document.title == "Page"
    assert _blocks(document) == [
        ("heading", "Top"),
        ("paragraph", "One\ntwo & threefour"),
        ("list", "- a\n  - b\n- c"),
        ("list", "1. d"),
        ("table", "Q | 1\nQ | H2O"),
        ("quote", "said"),
        ("code", "if x:\n    y()"),
    ]


def test_the_charset_of_a_page_is_believed() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body>Привет, мир</body></html>'
    assert _read(page.encode("cp1251"), "a.html").text == "Привет, мир"


def test_a_page_of_links_alone_is_not_empty() -> None:
    assert (
        "Reports of 2024" in _read("<html><body><nav><a href=x>Reports of 2024</a></nav></body></html>", "a.html").text
    )


@pytest.mark.parametrize("tag", ["<div>", "<ul><li>", "<table><tr><td>", "<b>", "<span>", "<blockquote>"])
def test_html_nested_a_hundred_thousand_deep_is_read(tag: str) -> None:
    assert "at the bottom" in _read(tag * 100_000 + "at the bottom", "a.html").text


def test_plain_text_is_cut_into_paragraphs_and_cleaned() -> None:
    document = _read(
        b"\xef\xbb\xbfOne\r\nline.  \r\n\r\n\r\n\r\nTwo\x00\x07 soft\xc2\xadhyphen\xc2\xa0nbsp.", "notes.txt"
    )
    assert _blocks(document) == [("paragraph", "One\nline."), ("paragraph", "Two softhyphen nbsp.")]


def test_code_and_tables_are_known_by_their_names() -> None:
    assert {kind for kind, _ in _blocks(_read("def f():\n    return 1\n\n\nx = 2\n", "a.py"))} == {"heading", "code"}
    assert _blocks(_read("a,b\n1,2\n", "a.csv")) == [("table", "a | b\n1 | 2")]


@pytest.mark.parametrize(
    ("data", "name", "error", "reason"),
    [
        (b"", "a.txt", EmptyDocument, "empty"),
        (b" \n\t ", "a.txt", EmptyDocument, "blanks"),
        (bytes(range(256)) * 8, "a.txt", UnsupportedFormat, "binary"),
        (b"%!PS-Adobe-3.0 hello", "a.txt", UnsupportedFormat, "postscript"),
        (b"%PDF-1.7\nnothing more", "a.pdf", ReadError, "damaged or cut off"),
        (b"PK\x03\x04 and nothing more", "a.docx", ReadError, "damaged or cut off"),
        (b"<html><body><script>x</script></body></html>", "a.html", EmptyDocument, "no text"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "a.docx",
            EncryptedDocument,
            "password",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    data: bytes, name: str, error: type[ReadError], reason: str
) -> None:
    with pytest.raises(error, match=reason) as caught:
        _read(data, name)
    assert type(caught.value) is error


@pytest.mark.parametrize("name", ["house-handbook-2025.pdf", "cleaning-contract.docx"])
def test_a_truncated_file_is_refused_or_read_in_part(name: str) -> None:
    with pytest.raises(ReadError):
        _read(CONTENTS[name][: len(CONTENTS[name]) // 4], name)


def test_an_encrypted_pdf_and_one_without_text_say_so() -> None:
    with pytest.raises(EncryptedDocument, match="password"):
        read_document(HERE / "data" / "encrypted.pdf")
    with pytest.raises(EmptyDocument, match="2 page"):
        read_document(HERE / "data" / "no-text.pdf")


def test_limits_on_pages_and_text_hold() -> None:
    with pytest.raises(TooLarge, match="max_pages"):
        _read(CONTENTS["house-handbook-2025.pdf"], "a.pdf", IngestSettings(max_pages=2))
    with pytest.raises(TooLarge, match="max_text_chars"):
        _read("word " * 100, "a.txt", IngestSettings(max_text_chars=50))


def _docx(change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """The example contract with its parts changed, and parts added."""
    target = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(CONTENTS["cleaning-contract.docx"]))
    with source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, change(entry.filename, source.read(entry)))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLarge, match="bomb"):
        _read(_docx(lambda _, part: part, {"word/media/image1.png": bytes(200 * 1024 * 1024)}), "a.docx")


def test_entities_of_a_word_file_are_harmless(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 1000 + '"><!ENTITY c "' + "&b;" * 1000 + '">'
    bomb += f'<!ENTITY d "{"&c;" * 1000}"><!ENTITY f SYSTEM "file://{secret}">]>'

    def hostile(name: str, part: bytes) -> bytes:
        if name != "word/document.xml":
            return part
        head, mark, rest = part.decode().partition("<w:document")
        return (head + bomb + mark + rest.replace("Work begins", "&d; &f; Work begins")).encode()

    try:
        text = _read(_docx(hostile), "a.docx").text
    except ReadError:
        return
    assert "TOP SECRET" not in text
    assert "haha" not in text


def test_a_word_file_nested_too_deep_is_refused_or_read() -> None:
    def deep(name: str, part: bytes) -> bytes:
        if name != "word/document.xml":
            return part
        opening, closing = "<w:sdt><w:sdtContent>" * 20_000, "</w:sdtContent></w:sdt>" * 20_000
        return part.replace(b"<w:body>", b"<w:body>" + opening.encode() + closing.encode())

    try:
        _check(_read(_docx(deep), "a.docx"))
    except ReadError:
        return


def test_content_goes_before_the_name() -> None:
    assert _read(CONTENTS["house-handbook-2025.pdf"], "report.txt").media_type == "application/pdf"
    assert _read(CONTENTS["cleaning-contract.docx"], "contract.pdf").media_type == DOCX
    assert _read("<!doctype html><p>Hello.", "page.txt").media_type == "text/html"


def test_a_paragraph_of_the_contract_is_where_its_heading_says() -> None:
    blocks = _blocks(_read(CONTENTS["cleaning-contract.docx"], "a.docx"))
    heading = blocks.index(("heading", "6. Term and notice"))
    assert blocks[heading + 1][1].startswith("The contract runs until 31 December 2027.")
    assert any(kind == "table" and "Windows | every three months | 330" in text for kind, text in blocks)


def _plugged_in(folder: Path, module: str) -> None:
    (folder / "some_ps_reader.py").write_text(module)
    (folder / "some_ps-1.0.dist-info").mkdir()
    (folder / "some_ps-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: some-ps\nVersion: 1.0\n")
    (folder / "some_ps-1.0.dist-info" / "entry_points.txt").write_text("[ragagent.readers]\nps = some_ps_reader\n")


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which distributions are found."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_ps_reader", raising=False)
    registry.plugged_in.cache_clear()
    yield tmp_path
    registry.plugged_in.cache_clear()


def test_another_distribution_can_add_a_reader(plugged: Path) -> None:
    module = "from ragagent.connectors.readers.format import Format\n"
    module += "from ragagent.connectors.readers.parsed import TextBuilder\n\n"
    module += "def read(data, *, name, limits):\n    builder = TextBuilder(max_chars=limits.max_text_chars)\n"
    module += "    builder.add('paragraph', 'read by a plug-in')\n"
    module += "    return builder.parsed(media_type='application/postscript')\n\n"
    module += "FORMATS = (Format(media_type='application/postscript', read=read),\n"
    module += "    Format(media_type='text/x-minutes', read=read, suffixes=('.minutes', '.md'), magic=(b'MINUTES',)))\n"
    _plugged_in(plugged, module)
    assert _read(b"%!PS-Adobe-3.0 hello", "a.ps").text == "read by a plug-in"
    assert _read(b"MINUTES 1 of today", "a").text == "read by a plug-in"
    assert _read(b"of today", "a.minutes").text == "read by a plug-in"
    assert _read(b"of today", "a.md").text == "of today"


def test_a_distribution_that_adds_no_format_is_named(plugged: Path) -> None:
    _plugged_in(plugged, "def read(data): ...\n")
    with pytest.raises(ConfigError, match="ps = some_ps_reader"):
        _read(b"of today", "a.minutes")


SLOW = {
    "blanks": " " * 300_000 + "x",
    "stops": "." * 300_000 + "x",
    "an open tag": "<" + "a" * 300_000,
    "comments": "<!---->" * 40_000 + "x",
    "numbers": "1. " * 100_000 + "x",
    "blank lines": "\n " * 100_000 + "x",
    "one sentence": "word " * 60_000,
    "open tags": "<a " * 50_000,
    "open brackets": "x![[" * 50_000,
    "full stops": "\u3002" * 300_000,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.md"])
def test_text_made_to_be_slow_is_read_in_time_that_grows_with_its_length(text: str, name: str) -> None:
    """Quadratic time would be minutes here, and the test would run into its limit."""
    try:
        document = _read(text, name)
    except EmptyDocument:
        return
    assert sentences(document.text)
