"""AsciiDoc: headings, paragraphs, lists, tables and delimited blocks, line by line; nothing is included."""

from __future__ import annotations

import re

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line, readable
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import Scalar

MEDIA_TYPE = "text/asciidoc"
_MAX_LINE_CHARS = 10_000
"""The marks inside a longer line are left as they stand."""

_HEADING = re.compile(r"(={1,6}|#{1,6})\s+(\S.*)")
_ATTRIBUTE = re.compile(r":(!?[\w-]{1,80}!?):\s*(.*)")
_BLOCK_LINE = re.compile(r"\[[^\]]*\]\s*")
_BLOCK_TITLE = re.compile(r"\.([^\s.].*)")
_ITEM = re.compile(r"\s*(\*{1,6}|-|\.{1,6}|\d{1,4}\.|<\d{1,3}>)\s+(\S.*)")
_TERM = re.compile(r"(\S.{0,300}?)(:{2,4}|;;)(?:\s+(.*))?")
_FENCE = re.compile(r"(-{4,}|\.{4,}|`{3,}|={4,}|\*{4,}|_{4,}|\+{4,}|--)\s*|(```)\w*\s*")
_TABLE = re.compile(r"[|,:!]={3,}\s*")
_CELL = re.compile(r"(?:(?:^|(?<=\s))(?:\d+(?:\.\d+)?[+*])?(?:[<^>](?:\.[<^>])?|\.[<^>])?[adehlmsv]?)?(?<!\\)\|")
_MACRO = re.compile(
    r"\b(?:image|video|audio|link|mailto|btn|kbd|menu|xref|footnote|icon|pass):{1,2}[^\s\[]{0,300}\[([^\]]{0,500})\]"
)
_PICTURE = re.compile(r"\bimage:{1,2}([^\s\[]{1,300})\[\s*(?=[\],])")
_LINK = re.compile(r"\b(?:https?|ftp)://[^\s\[\]<>]{1,500}\[([^\]]{1,300})\]")
_XREF = re.compile(r"<<([^<>,]{1,200})(?:,([^<>]{1,300}))?>>")
_STRONG = re.compile(r"(?<![\w*])\*{1,2}(\S(?:[^*\n]{0,300}?\S)?)\*{1,2}(?![\w*])")
_EMPHASIS = re.compile(r"(?<![\w_])_{1,2}(\S(?:[^_\n]{0,300}?\S)?)_{1,2}(?![\w_])")
_MONO = re.compile(r"`{1,2}\+?([^`\n]{1,300}?)\+?`{1,2}")
_MARKED = re.compile(r"(?<![\w#])(?:\[[^\]\n]{1,50}\])?#([^#\n]{1,300})#(?![\w#])")
_CODE_SIGNS = "-.`+"


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The blocks in order; attributes of the header go to the metadata; marks within a line give way to their text."""
    walk = _Walk(TextBuilder(max_chars=limits.max_text_chars))
    walk.run(clean(decode(data).text).split("\n"))
    return walk.builder.parsed(media_type=MEDIA_TYPE, metadata=walk.attributes)


class _Walk:
    """One pass over the lines; a paragraph or list gathers until an empty line or another block ends it."""

    def __init__(self, builder: TextBuilder) -> None:
        self.builder = builder
        self.attributes: dict[str, Scalar] = {}
        self._paragraph: list[str] = []
        self._list: list[str] = []
        self._counters: dict[str, int] = {}
        self._quoted = False
        self._goes_on = False
        self._in_header = False

    def run(self, lines: list[str]) -> None:
        place = 0
        while place < len(lines):
            line = lines[place]
            fence = _FENCE.fullmatch(line)
            if line.startswith("////"):
                place = _end(lines, place, line.rstrip()) + 1
            elif _TABLE.fullmatch(line):
                self._flush()
                end = _end(lines, place, line.rstrip())
                self.builder.rows(_rows(lines[place + 1 : end]))
                place = end + 1
            elif fence and (fence[2] or line[0] in _CODE_SIGNS) and line.rstrip() != "--":
                self._flush()
                end = _end(lines, place, fence[2] or line.rstrip())
                self.builder.add("code", "\n".join(lines[place + 1 : end]))
                place = end + 1
            elif fence:
                # An example, sidebar or quote: its lines are read as any others.
                self._flush()
                self._quoted = line.startswith("____") and not self._quoted
                place += 1
            else:
                self._line(line)
                place += 1
        self._flush()

    def _line(self, line: str) -> None:
        heading, attribute = _HEADING.fullmatch(line), _ATTRIBUTE.fullmatch(line)
        item, title = _ITEM.fullmatch(line), _BLOCK_TITLE.fullmatch(line)
        if not line.strip():
            self._end_paragraph()
            self._goes_on = self._in_header = False
        elif line.strip() == "+":
            self._end_paragraph()
            self._goes_on = bool(self._list)
        elif line.startswith("//") or (_BLOCK_LINE.fullmatch(line) and not self._paragraph):
            return
        elif heading:
            self._flush()
            self.builder.add("heading", one_line(_plain(heading[2])), level=len(heading[1]))
            self._in_header = len(heading[1]) == 1
        elif attribute and (self._in_header or not self._paragraph):
            if len(self.attributes) < 100 and attribute[2]:
                self.attributes[attribute[1].strip("!_").lower()] = one_line(attribute[2])[:500]
        elif item and not self._paragraph:
            self._item(item[1], item[2])
        elif title and not self._paragraph:
            self._flush()
            self.builder.add("paragraph", one_line(_plain(title[1])))
        elif (term := _TERM.fullmatch(line)) and not self._paragraph:
            self._item("-", f"{term[1]}: {term[3] or ''}".rstrip())
        else:
            self._paragraph.append(line.strip())

    def _item(self, mark: str, text: str) -> None:
        self._end_paragraph()
        depth = len(mark) - 1 if mark[0] in "*." else 0
        if mark[0] == ".":
            deeper = [one for one in self._counters if len(one) > len(mark)]
            for one in deeper:
                del self._counters[one]
            self._counters[mark] = self._counters.get(mark, 0) + 1
            label = f"{self._counters[mark]}."
        else:
            label = "-" if mark[0] in "*-" else mark.strip("<>.") + "."
        self._list.append(f"{'  ' * depth}{label} {_plain(text)}")
        self._goes_on = True

    def _end_paragraph(self) -> None:
        """A paragraph right below an item, or joined to it by a plus sign, belongs to the item."""
        text = _plain(" ".join(self._paragraph))
        self._paragraph = []
        if not text:
            return
        if self._list and self._goes_on:
            self._list.append(f"  {text}")
        else:
            self._flush_list()
            self.builder.add("quote" if self._quoted else "paragraph", text)

    def _flush_list(self) -> None:
        self.builder.add("list", "\n".join(self._list), level=1)
        self._list, self._counters = [], {}

    def _flush(self) -> None:
        self._end_paragraph()
        self._flush_list()
        self._goes_on = False


def _end(lines: list[str], start: int, sign: str) -> int:
    """The line that closes a block, or the end of the file."""
    place = start + 1
    while place < len(lines) and lines[place].rstrip() != sign:
        place += 1
    return place


def _rows(lines: list[str]) -> list[list[str]]:
    """The rows of a table: the first line with cells says how many a row has, when later ones hold one each."""
    rows: list[list[str]] = []
    more: list[str] = []
    for line in lines:
        start = _CELL.match(line.lstrip()[:_MAX_LINE_CHARS])
        if start:
            cells = _CELL.split(line.strip()[:_MAX_LINE_CHARS])[1:]
            _close(rows, more)
            rows.append([one_line(_plain(cell)) for cell in cells])
        elif line.strip() and rows:
            more.append(_plain(line))
    _close(rows, more)
    width = len(rows[0]) if rows else 0
    if width > 1 and rows[1:] and all(len(cells) == 1 for cells in rows[1:]):
        rest = [cells[0] for cells in rows[1:]]
        rows[1:] = [rest[at : at + width] for at in range(0, len(rest), width)]
    return rows


def _close(rows: list[list[str]], more: list[str]) -> None:
    """Adds the lines that go on from the last cell to it."""
    if more:
        rows[-1][-1] = one_line(" ".join((rows[-1][-1], *more)))
        more.clear()


def _plain(text: str) -> str:
    if len(text) > _MAX_LINE_CHARS:
        return text
    # A picture without a description is called by its file, as AsciiDoc has it.
    text = _PICTURE.sub(lambda match: f"image:x[{readable(match[1])}", text)
    text = _LINK.sub(r"\1", _MACRO.sub(lambda match: match[1].split(",")[0].strip('"'), text))
    text = _XREF.sub(lambda match: match[2] or match[1], text)
    for pattern in (_MONO, _STRONG, _EMPHASIS, _MARKED):
        text = pattern.sub(r"\1", text)
    return text.removesuffix(" +").strip()


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".adoc", ".asciidoc", ".asc")),)
