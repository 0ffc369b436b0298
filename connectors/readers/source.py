"""Source code: the text as it stands, with the name of each definition as a heading before it.

Definitions are told by the syntax tree where there is a grammar for the language and the text follows it. Elsewhere,
and where it is in large parts no code, by patterns for single lines: these read what a compiler would refuse, need
nothing to be installed, and nest definitions by their indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import NamedTuple

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean
from ragagent.errors import MissingExtra
from ragagent.settings import IngestSettings
from ragagent.text import syntax
from ragagent.text.decode import decode

MEDIA_TYPES = {
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".jsx": "text/javascript",
    ".ts": "text/typescript",
    ".tsx": "text/typescript",
    ".go": "text/x-go",
    ".rs": "text/x-rust",
    ".java": "text/x-java",
    ".cs": "text/x-csharp",
    ".kt": "text/x-kotlin",
    ".scala": "text/x-scala",
    ".swift": "text/x-swift",
    ".c": "text/x-c",
    ".h": "text/x-c",
    ".cc": "text/x-c++",
    ".cpp": "text/x-c++",
    ".cxx": "text/x-c++",
    ".hpp": "text/x-c++",
    ".rb": "text/x-ruby",
    ".php": "text/x-php",
    ".lua": "text/x-lua",
    ".r": "text/x-r",
    ".sh": "text/x-shellscript",
    ".bash": "text/x-shellscript",
    ".sql": "text/x-sql",
}
_MAX_LINE_CHARS = 300
_MAX_DEPTH = 6
_MOST_BROKEN = 0.2
_CLOSING = re.compile(r"(?:\W|\b(?:end|fi|done|endif|esac)\b)*")

_WORDS = r"(?:(?:public|private|protected|internal|static|final|abstract|override|virtual|async|sealed|partial|open"
_WORDS += r"|suspend|inline|default|synchronized|readonly|unsafe|extern|export|declare|data|case|lazy|implicit)\s+)*"
_TYPES = rf"{_WORDS}(?:class|interface|enum|struct|record|object|trait|protocol|extension|namespace)\s+(\w+)"
_C_LIKE = r"(?:(?:static|inline|extern|const|unsigned|virtual|constexpr)\s+)*(?:struct|union|enum(?:\s+class)?|class"
_C_LIKE += r"|namespace)\s+(\w+)[^;]*$|(?!(?:return|else|if|while|for|switch|case|typedef|using|goto|new|delete)\b)"
_C_LIKE += r"[A-Za-z_][\w:<>,&*\s]{0,120}?[\s*&]([A-Za-z_~][\w:~]*)\s*\([^;]*$"
_METHOD = r"(?:(?:public|private|protected|internal|static|final|abstract|override|virtual|async|synchronized)\s+)+"
_METHOD += r"[\w<>\[\],.?\s]{1,100}?(\w+)\s*\([^;]*$"
_SCRIPT = rf"(?:export\s+)?(?:default\s+)?(?:async\s+)?function\s*\*?\s*(\w+)|(?:export\s+default\s+)?{_TYPES}"
_SCRIPT += r"|(?:export\s+)?(?:const|let|var)\s+(\w+)\s*(?::[^=]{1,100})?=\s*(?:async\s*)?"
_SCRIPT += r"(?:\([^)]*\)|\w+)\s*(?::[^=]{1,60})?=>"
_PATTERNS = {
    "text/x-python": r"(?:async\s+)?def\s+(\w+)|class\s+(\w+)",
    "text/javascript": _SCRIPT,
    "text/typescript": _SCRIPT + r"|(?:export\s+)?type\s+(\w+)\s*[=<]",
    "text/x-go": r"func\s+(?:\([^)]*\)\s*)?(\w+)|type\s+(\w+)",
    "text/x-rust": r"(?:pub(?:\([^)]*\))?\s+)?(?:async\s+|unsafe\s+|const\s+)*(?:fn|struct|enum|trait|mod)\s+(\w+)"
    r"|impl(?:<[^>]*>)?\s+(?:[\w:<>,&' ]+\s+for\s+)?(\w+)|macro_rules!\s+(\w+)",
    "text/x-java": f"{_TYPES}|{_METHOD}",
    "text/x-csharp": f"{_TYPES}|{_METHOD}",
    "text/x-kotlin": rf"{_TYPES}|{_WORDS}fun\s+(?:<[^>]*>\s*)?(?:\w+\.)?(\w+)",
    "text/x-scala": rf"{_TYPES}|{_WORDS}def\s+(\w+)",
    "text/x-swift": rf"{_TYPES}|{_WORDS}func\s+(\w+)",
    "text/x-c": _C_LIKE,
    "text/x-c++": _C_LIKE,
    "text/x-ruby": r"def\s+((?:self\.)?\w+[?!=]?)|(?:class|module)\s+(\w+)",
    "text/x-php": rf"{_WORDS}function\s+&?(\w+)|{_TYPES}",
    "text/x-lua": r"(?:local\s+)?function\s+([\w.:]+)",
    "text/x-r": r"([\w.]+)\s*(?:<-|=)\s*function\b",
    "text/x-shellscript": r"(?:function\s+)?([\w-]+)\s*\(\)\s*\{?|function\s+([\w-]+)",
    "text/x-sql": r"(?i:create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+|unique\s+|materialized\s+)?"
    r"(?:table|view|function|procedure|trigger|index|type)\s+(?:if\s+not\s+exists\s+)?([\w.\"`\[\]]+))",
}
_DEFINITIONS = {kind: re.compile(rf"(\s*)(?:{pattern})") for kind, pattern in _PATTERNS.items()}
_INTRODUCTION = re.compile(r"\s*(?:@|#|//|/\*|\*|--|\[)")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Code blocks, and before each definition a heading: its name behind those it stands in, as in `Shelf.add`.

    What stands outside of all definitions and behind one of them has the file's name for a heading.
    """
    kind = MEDIA_TYPES.get(PurePath(name).suffix.lower(), "text/x-python")
    decoded = decode(data)
    text = clean(decoded.text)
    outline, notes = _outline(text, kind)
    parts = _parts(text.split("\n"), _DEFINITIONS[kind]) if outline is None else _by_tree(text, outline)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for names, code in parts:
        if names or builder.chars:
            builder.add("heading", ".".join(names) or PurePath(name).name, level=max(1, len(names)))
        builder.add("code", code)
    encoding = decoded.encoding if decoded.encoding != "utf-8" else None
    return builder.parsed(media_type=kind, title=PurePath(name).name, metadata={"encoding": encoding}, notes=notes)


def _outline(text: str, kind: str) -> tuple[syntax.Outline | None, tuple[str, ...]]:
    """The outline by which the text is taken apart, if there is one, and what there is to say of that."""
    try:
        outline = syntax.outline(text, kind)
    except MissingExtra as error:
        return None, (f"its definitions are told line by line; {error}",)
    return (outline if outline is not None and outline.broken <= _MOST_BROKEN else None), ()


def _by_tree(text: str, outline: syntax.Outline) -> Iterator[tuple[list[str], str]]:
    """(names, code) of whole lines: those of each definition, and those between and behind the ones in it.

    What only closes the definitions around one that has ended (brackets, `end`) stays with it.
    """
    cuts = _cuts(text, outline.symbols)
    names, begin = cuts[0].names, 0
    for cut, following in pairwise([*cuts, _Cut(len(text), [], True)]):
        goes_on = not cut.defines and (cut.names == names or _CLOSING.fullmatch(text, cut.at, following.at))
        if not goes_on:
            if text[begin : cut.at].strip():
                yield names, text[begin : cut.at]
            names, begin = cut.names, cut.at
    yield names, text[begin:]


class _Cut(NamedTuple):
    """A line that begins a definition, or follows one that has ended, and the names of those it stands in."""

    at: int
    names: list[str]
    defines: bool


def _cuts(text: str, symbols: Sequence[syntax.Symbol]) -> list[_Cut]:
    """Where code goes over from one definition to another, in order; of two on one line the first one has it."""
    cuts = [_Cut(0, [], False)]
    around: list[syntax.Symbol] = []

    def cut(at: int, defines: bool) -> None:
        if at == cuts[-1].at and not cuts[-1].defines:
            cuts.pop()
        if not cuts or at > cuts[-1].at:
            cuts.append(_Cut(at, [one.name for one in around], defines))

    def leave(place: int) -> None:
        while around and around[-1].end <= place:
            line_end = text.find("\n", max(0, around.pop().end - 1))
            cut(line_end + 1 if line_end >= 0 else len(text), False)

    for symbol in symbols:
        leave(symbol.start)
        if symbol.depth < _MAX_DEPTH:
            around.append(symbol)
            cut(text.rfind("\n", 0, symbol.start) + 1, True)
    leave(len(text))
    return cuts


def _parts(lines: list[str], pattern: re.Pattern[str]) -> Iterator[tuple[list[str], str]]:
    """(names, code) from one definition to the next; comments and decorators right above belong to theirs."""
    stack: list[tuple[int, str]] = []
    names: list[str] = []
    start = 0
    for place, line in enumerate(lines):
        match = pattern.match(line[:_MAX_LINE_CHARS])
        if match is None:
            continue
        above = place
        while above > start and _INTRODUCTION.match(lines[above - 1][:_MAX_LINE_CHARS]):
            above -= 1
        if above > start:
            yield names, "\n".join(lines[start:above])
        indent = len(match[1].expandtabs(4))
        stack = [one for one in stack if one[0] < indent][: _MAX_DEPTH - 1]
        stack.append((indent, next(group for group in match.groups()[1:] if group)))
        names, start = [name for _, name in stack], above
    yield names, "\n".join(lines[start:])


FORMATS = tuple(
    Format(media_type=kind, read=read, suffixes=tuple(end for end, one in MEDIA_TYPES.items() if one == kind))
    for kind in dict.fromkeys(MEDIA_TYPES.values())
)
