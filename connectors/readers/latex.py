"""LaTeX: sections as headings, lists, tables, code and formulas; commands give way to what they print."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean, one_line
from ragagent.errors import ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode

MEDIA_TYPE = "text/x-tex"
MAX_CHARS = 2_000_000
MAX_DEPTH = 100
_TOKENS_A_CHAR = 4

_SECTIONS = {"part": 1, "chapter": 1, "section": 1, "subsection": 2, "subsubsection": 3, "paragraph": 4}
_SECTIONS |= {"subparagraph": 5, "frametitle": 2}
_LISTS = frozenset({"itemize", "enumerate", "description", "compactitem", "compactenum"})
_TABLES = frozenset({"tabular", "tabular*", "tabularx", "longtable", "tabulary"})
_CODE = frozenset({"verbatim", "verbatim*", "lstlisting", "minted", "Verbatim", "alltt"})
_QUOTES = frozenset({"quote", "quotation", "verse", "displayquote"})
_MATHS = frozenset({"equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "flalign", "alignat"})
_SKIPPED = frozenset({"comment", "tikzpicture", "filecontents"})
_SILENT = frozenset(
    """
    documentclass usepackage maketitle tableofcontents label bibliographystyle newcommand renewcommand setlength date
    pagestyle thispagestyle includegraphics centering hline toprule midrule bottomrule cline vspace hspace def input
    include bibliography newpage clearpage noindent small footnotesize large Large
    """.split()  # noqa: SIM905
)
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_NESTING = re.compile(r"\\[\\{}]|\\(?:begin|end)\b|[{}]|\$\$?|\\[(\[]|\\[)\]]")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """What stands in the document's body, or all of a file that has none; formulas stay in LaTeX."""
    text = clean(decode(data).text)
    if len(text) > MAX_CHARS:
        raise TooLarge(f"{len(text)} characters of LaTeX; at most {MAX_CHARS} are read")
    _check_depth(text)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    try:
        nodes = _nodes(text)
    except _TooMuchWork:
        return _as_it_stands(text, builder)
    title = next((one_line(_argument(node)) for node in nodes if _is(node, "macro", "title")), "")
    builder.add("heading", title, level=1)
    body = next((node.nodelist for node in nodes if _is(node, "environment", "document")), nodes)
    walk = _Walk(builder)
    walk.run(body, 0)
    walk.flush()
    return builder.parsed(media_type=MEDIA_TYPE, title=title)


class _TooMuchWork(Exception):
    """The parser goes over the same text again and again."""


def _nodes(text: str) -> Sequence[Any]:
    """The parsed text. Raises _TooMuchWork: the parser reads a group again for each way in which it might be meant."""
    from pylatexenc.latexwalker import LatexWalker

    class Bounded(LatexWalker):  # type: ignore[misc]
        tokens_left = _TOKENS_A_CHAR * len(text) + 10_000

        def get_token(self, *arguments: Any, **options: Any) -> Any:
            self.tokens_left -= 1
            if self.tokens_left < 0:
                raise _TooMuchWork
            return super().get_token(*arguments, **options)

    nodes, _, _ = Bounded(text, tolerant_parsing=True).get_latex_nodes()
    return nodes  # type: ignore[no-any-return]


def _as_it_stands(text: str, builder: TextBuilder) -> Parsed:
    for part in _EMPTY_LINE.split(text):
        builder.add("paragraph", part)
    note = "read as plain text: its groups are nested so that parsing them would take too long"
    return builder.parsed(media_type=MEDIA_TYPE, notes=[note])


def _check_depth(text: str) -> None:
    """The parser calls itself for every group and environment."""
    depth = 0
    for match in _NESTING.finditer(text):
        if match[0] in {"{", "\\begin"}:
            depth += 1
        elif match[0] in {"}", "\\end"}:
            depth = max(0, depth - 1)
        if depth > MAX_DEPTH:
            raise ReadError(f"groups are nested deeper than {MAX_DEPTH}")


class _Walk:
    """One pass over the nodes; running text gathers until a block begins."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._inline: list[Any] = []

    def run(self, nodes: Sequence[Any], depth: int) -> None:
        for node in nodes:
            if node is None:
                continue
            name = getattr(node, "macroname", "")
            if name in _SECTIONS:
                self.flush()
                self._builder.add("heading", one_line(_argument(node)), level=_SECTIONS[name])
            elif name == "caption":
                self.flush()
                self._builder.add("paragraph", one_line(_argument(node)))
            elif hasattr(node, "environmentname"):
                self._environment(node, depth)
            elif name not in _SILENT and name not in {"title", "author"}:
                self._inline.append(node)

    def flush(self) -> None:
        text, self._inline = _plain(self._inline), []
        for part in _EMPTY_LINE.split(text):
            self._builder.add("paragraph", one_line(part))

    def _environment(self, node: Any, depth: int) -> None:
        name = node.environmentname
        if name.rstrip("*") in _MATHS:
            self._inline.append(node)
            return
        self.flush()
        if name in _SKIPPED:
            return
        if name in _CODE:
            self._builder.add("code", _raw_body(node))
        elif name in _LISTS:
            self._builder.add("list", "\n".join(_items(node, 0)), level=1)
        elif name in _TABLES:
            self._builder.rows(_rows(node))
        elif name in _QUOTES:
            self._builder.add("quote", _plain(node.nodelist))
        else:
            self.run(node.nodelist or (), depth + 1)
            self.flush()


def _is(node: Any, kind: str, name: str) -> bool:
    return getattr(node, f"{kind}name", None) == name


def _argument(node: Any) -> str:
    """The last argument of a command as text: what it prints, after its star and its options."""
    arguments = node.nodeargd.argnlist if node.nodeargd is not None else None
    return _plain([arguments[-1]]) if arguments and arguments[-1] is not None else ""


def _raw_body(node: Any) -> str:
    source = node.latex_verbatim()
    start, end = source.find("\n"), source.rfind("\\end{")
    return str(source[start + 1 : end])


def _items(node: Any, depth: int) -> list[str]:
    """One line for each item, inner lists below theirs."""
    lines: list[str] = []
    parts: list[Any] = []
    mark, number = "", 0

    def close() -> None:
        nonlocal mark
        if text := one_line(_plain(parts)):
            lines.append("  " * depth + mark + text)
            mark = "  "
        parts.clear()

    for child in node.nodelist or ():
        if _is(child, "macro", "item"):
            close()
            number += 1
            own = _argument(child)
            mark = f"{number}. " if node.environmentname.endswith(("enumerate", "enum")) else "- "
            mark += f"{own}: " if own else ""
        elif getattr(child, "environmentname", "") in _LISTS:
            close()
            lines.extend(_items(child, depth + 1))
        else:
            parts.append(child)
    close()
    return lines


def _rows(node: Any) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    cell: list[Any] = []
    for child in node.nodelist or ():
        if getattr(child, "specials_chars", "") == "&" or _is(child, "macro", "\\"):
            rows[-1].append(one_line(_plain(cell)))
            cell = []
            if _is(child, "macro", "\\"):
                rows.append([])
        elif getattr(child, "macroname", "") not in _SILENT:
            cell.append(child)
    rows[-1].append(one_line(_plain(cell)))
    return rows


def _plain(nodes: Sequence[Any] | None) -> str:
    return str(_converter().nodelist_to_text([node for node in nodes or () if node is not None]))


@cache
def _converter() -> Any:
    """pylatexenc's conversion, but for references and citations, whose keys are kept in brackets."""
    from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    # What pylatexenc complains about goes to whoever listens to its logger, and not to the terminal.
    logging.getLogger("pylatexenc").addHandler(logging.NullHandler())
    commands = get_default_latex_context_db()
    keyed = ("cite", "citep", "citet", "ref", "eqref", "autoref", "cref", "Cref", "pageref")
    own = [MacroTextSpec(name, simplify_repl=lambda node: f"[{_argument(node)}]") for name in keyed]
    own += [MacroTextSpec(name, discard=True) for name in _SILENT]
    own += [MacroTextSpec("footnote", simplify_repl=lambda node: f" ({_argument(node)})")]
    own += [MacroTextSpec("href", simplify_repl=lambda node: _argument(node))]
    commands.add_context_category("readable", prepend=True, macros=own)
    return LatexNodes2Text(latex_context=commands, math_mode="verbatim", keep_comments=False)


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".tex", ".latex")),)
