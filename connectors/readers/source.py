"""Source code: the text as it stands, with the name of each definition as a heading before it.

By patterns for single lines rather than by grammars: a pattern reads what a compiler would refuse, and needs nothing
to be installed. Definitions are nested by their indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean
from ragagent.settings import IngestSettings
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
    """Code blocks, and before each definition a heading: its name behind those it stands in, as in `Shelf.add`."""
    kind = MEDIA_TYPES.get(PurePath(name).suffix.lower(), "text/x-python")
    decoded = decode(data)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for names, code in _parts(clean(decoded.text).split("\n"), _DEFINITIONS[kind]):
        if names:
            builder.add("heading", ".".join(names), level=len(names))
        builder.add("code", code)
    encoding = decoded.encoding if decoded.encoding != "utf-8" else None
    return builder.parsed(media_type=kind, title=PurePath(name).name, metadata={"encoding": encoding})


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
