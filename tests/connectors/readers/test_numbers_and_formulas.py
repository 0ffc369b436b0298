"""What office files show and hold as no text: numbers of items, boxes to tick, formulas, descriptions of pictures."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest
from docx.oxml import parse_xml
from pptx import Presentation
from pptx.util import Inches

from ragagent.connectors.readers import read_document
from ragagent.testing.samples import odf, zipped

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
W14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def text_of(data: bytes, name: str) -> str:
    return read_document(data, uri="test:1", name=name).text


def word(*paragraphs: str) -> str:
    """The text of a Word document whose paragraphs hold this XML."""
    document, target = docx.Document(), io.BytesIO()
    for content in paragraphs:
        document.element.body.insert(-1, parse_xml(f"<w:p {W} {W14} {M}>{content}</w:p>"))
    document.save(target)
    return text_of(target.getvalue(), "a.docx")


def run(text: str) -> str:
    return f"<w:r><w:t xml:space='preserve'>{text}</w:t></w:r>"


@pytest.mark.parametrize(("state", "shown"), [("1", "[x] Tea"), ("0", "[ ] Tea")])
def test_a_box_says_whether_it_is_ticked(state: str, shown: str) -> None:
    box = f"<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val='{state}'/></w14:checkbox></w:sdtPr>"
    box += f"<w:sdtContent>{run('☒')}</w:sdtContent></w:sdt>"
    assert word(box + run(" Tea")) == shown
    old = f"<w:r><w:fldChar w:fldCharType='begin'><w:ffData><w:checkBox><w:default w:val='{state}'/>"
    assert word(f"{old}</w:checkBox></w:ffData></w:fldChar></w:r>{run(' Tea')}") == shown


def m(tag: str, *content: str) -> str:
    return f"<m:{tag}>{''.join(content)}</m:{tag}>"


def sign(text: str) -> str:
    return m("r", m("t", text))


FRACTION = m("f", m("num", sign("a")), m("den", sign("b")))


@pytest.mark.parametrize(
    ("formula", "tex"),
    [
        (FRACTION, r"\frac{a}{b}"),
        (m("sSup", m("e", sign("r")), m("sup", sign("2"))), "r^{2}"),
        (m("sSup", m("e", FRACTION), m("sup", sign("2"))), r"{\frac{a}{b}}^{2}"),
        (m("rad", m("deg", sign("3")), m("e", sign("x"))), r"\sqrt[3]{x}"),
        (m("d", m("dPr", "<m:begChr m:val='['/><m:endChr m:val=''/>"), m("e", sign("x"))), "[x"),
        (m("nary", m("naryPr", "<m:chr m:val='∑'/>"), m("sub", sign("i")), m("sup"), m("e", sign("x"))), "∑_{i} x"),
        (m("acc", m("e", sign("x"))), r"\hat{x}"),
        (m("m", m("mr", m("e", sign("a")), m("e", sign("b"))), m("mr", m("e", sign("c")))), None),
        (m("func", m("fName", sign("sin")), m("e", sign("x"))), "sin x"),
        ("".join("<m:rad><m:e>" for _ in range(90)) + sign("deep") + "</m:e></m:rad>" * 90, None),
    ],
)
def test_formulas_are_tex(formula: str, tex: str | None) -> None:
    found = word(run("So ") + m("oMath", formula))
    assert found == f"So {tex}" if tex else "deep" in found or r"\begin{matrix} a & b \\ c \end{matrix}" in found


def test_a_picture_is_said_by_its_description() -> None:
    space = "xmlns:wp='http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing'"
    picture = f"<w:r><w:drawing><wp:inline {space}><wp:docPr id='1' name='P' descr='A red kite'/></wp:inline>"
    assert word(run("See") + picture + "</w:drawing></w:r>") == "See A red kite"


def test_items_in_cells_of_word_have_their_numbers() -> None:
    document, target = docx.Document(), io.BytesIO()
    cell = document.add_table(1, 2).rows[0].cells
    cell[0].paragraphs[0].style = document.styles["List Number"]
    cell[0].paragraphs[0].add_run("one")
    cell[0].add_paragraph("two", style="List Number")
    cell[1].paragraphs[0].style = document.styles["List Bullet"]
    cell[1].paragraphs[0].add_run("alone")
    document.save(target)
    assert text_of(target.getvalue(), "a.docx") == "1. one 2. two | alone"


def test_numbered_paragraphs_of_slides_have_their_numbers() -> None:
    deck, target = Presentation(), io.BytesIO()
    frame = deck.slides.add_slide(deck.slide_layouts[6]).shapes.add_textbox(*map(Inches, (1, 1, 4, 4))).text_frame
    said = [("one", "arabicPeriod", 0), ("inner", "alphaUcParenR", 1), ("two", "arabicPeriod", 0), ("plain", "", 0)]
    said += [("again", "romanLcParenBoth", 0)]
    for number, (text, kind, level) in enumerate(said):
        paragraph = frame.paragraphs[0] if not number else frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
        if kind:
            space = "http://schemas.openxmlformats.org/drawingml/2006/main"
            paragraph._p.get_or_add_pPr().append(parse_xml(f"<a:buAutoNum xmlns:a='{space}' type='{kind}'/>"))
    deck.save(target)
    assert text_of(target.getvalue(), "a.pptx") == "1. one\n  A) inner\n2. two\n\nplain\n\n(i) again"


def test_items_of_opendocument_have_the_numbers_of_their_style() -> None:
    name = "urn:oasis:names:tc:opendocument:xmlns:"
    level = '<text:list-level-style-number text:level="{}" style:num-format="{}" style:num-suffix="."/>'
    styles = (
        f'<office:styles xmlns:office="{name}office:1.0" xmlns:text="{name}text:1.0" xmlns:style="{name}style:1.0">'
    )
    styles += f'<text:list-style style:name="L">{level.format(1, "1")}{level.format(2, "a")}</text:list-style>'

    def items(*texts: str) -> str:
        return "".join(f"<text:list-item><text:p>{text}</text:p></text:list-item>" for text in texts)

    inner = f"<text:list>{items('in', 'side')}</text:list>"
    body = f'<text:list text:style-name="L">{items("one")}<text:list-item><text:p>two</text:p>{inner}</text:list-item>'
    body += (
        f'</text:list><text:p>So</text:p><text:list text:style-name="L" text:continue-numbering="true">{items("on")}'
    )
    body += (
        f'</text:list><text:list text:style-name="L">{items("anew")}</text:list><text:list>{items("dot")}</text:list>'
    )
    data = odf("text", body)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    data = zipped({**parts, "styles.xml": f"{styles}</office:styles>".encode()})
    assert text_of(data, "a.odt") == "1. one\n2. two\n  a. in\n  b. side\n\nSo\n\n3. on\n\n1. anew\n\n- dot"


def test_a_picture_of_asciidoc_without_a_description_has_its_files_name() -> None:
    assert text_of(b"See image:img/red_kite.png[] and image:b.png[A bee].", "a.adoc") == "See red kite and A bee."
