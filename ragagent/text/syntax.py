"""Source code by its syntax tree: the definitions, and where statements begin. Nothing else knows tree-sitter."""

from __future__ import annotations

import bisect
import functools
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragagent.errors import MissingExtra

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

GRAMMARS = {
    "text/x-python": ("tree_sitter_python", "language"),
    "text/javascript": ("tree_sitter_javascript", "language"),
    "text/typescript": ("tree_sitter_typescript", "language_tsx"),
    "text/x-go": ("tree_sitter_go", "language"),
    "text/x-rust": ("tree_sitter_rust", "language"),
    "text/x-java": ("tree_sitter_java", "language"),
    "text/x-csharp": ("tree_sitter_c_sharp", "language"),
    "text/x-c": ("tree_sitter_c", "language"),
    "text/x-c++": ("tree_sitter_cpp", "language"),
    "text/x-ruby": ("tree_sitter_ruby", "language"),
    "text/x-php": ("tree_sitter_php", "language_php"),
    "text/x-shellscript": ("tree_sitter_bash", "language"),
}
"""The module and the function of the grammar of each media type."""

_DEFINITION = re.compile(
    r"(?:async_)?(?:function|method|class|singleton_method|struct|enum|union|interface|trait|impl|mod|module|namespace"
    r"|constructor|destructor|record|object|protocol|type|macro|annotation_type|internal_module|abstract_class)"
    r"(?:_(?:alias|definition|declaration|item|specifier|signature|spec))?|decorated_definition|template_declaration"
)
_BODY = re.compile(
    r"(?:\w+_)?(?:block|body|suite|module|program|source_file|translation_unit|compilation_unit|compound_statement)"
    r"|(?:\w+_)?(?:statement|declaration)_list"
)
_WRAPPERS = frozenset({"decorated_definition", "template_declaration", "export_statement"})
_NAMED = ("name", "declarator", "type")
_MAX_DEPTH = 200
_NAME_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A definition: its name, where it stands with the comment above it, and in how many others."""

    name: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a syntax tree says of a text: its definitions in order, and where statements begin, in ascending order."""

    symbols: tuple[Symbol, ...]
    statements: tuple[int, ...]

    def begins(self, start: int, end: int) -> bool:
        """Whether a statement begins in that range."""
        at = bisect.bisect_left(self.statements, start)
        return at < len(self.statements) and self.statements[at] < end


def outline(text: str, media_type: str) -> Outline | None:
    """The outline of source code; None for a language without a grammar. Text that is not right gives what is.

    Raises MissingExtra where the grammars are not installed. Cost: about 0.1 s a megabyte.
    """
    if media_type not in GRAMMARS:
        return None
    data = text.encode("utf-8", "surrogatepass")
    tree = _parser(media_type).parse(data)
    offsets = _Offsets(text, data)
    symbols: list[Symbol] = []
    statements: set[int] = set()
    for node, depth in _nodes(tree.root_node):
        if node.parent is not None and _BODY.fullmatch(node.parent.type):
            statements.add(offsets.char(node.start_byte))
        if depth >= 0:
            start = offsets.char(_with_comment(node).start_byte)
            symbols.append(Symbol(name=_name(node, data), start=start, end=offsets.char(node.end_byte), depth=depth))
    return Outline(symbols=tuple(symbols), statements=tuple(sorted(statements)))


def _nodes(root: Node) -> Iterator[tuple[Node, int]]:
    """Every named node in order, and in how many definitions a definition stands; -1 for what is none."""
    stack = [(root, 0, 0)]
    while stack:
        node, depth, level = stack.pop()
        defines = _defines(node)
        yield node, depth if defines else -1
        if level < _MAX_DEPTH:
            deeper = depth + defines
            stack.extend((child, deeper, level + 1) for child in reversed(node.named_children))


def _defines(node: Node) -> bool:
    if node.parent is None or node.parent.type in _WRAPPERS or not _DEFINITION.fullmatch(node.type):
        return False
    return _name_node(node) is not None


def _with_comment(node: Node) -> Node:
    """The first of the comments right above a definition, or the definition."""
    while (before := node.prev_named_sibling) is not None:
        if "comment" not in before.type or node.start_point[0] - before.end_point[0] > 1:
            break
        node = before
    return node


def _name_node(node: Node) -> Node | None:
    """The node that names a definition, through what wraps it."""
    for _ in range(8):
        if node.type in _WRAPPERS:
            inner = [child for child in node.named_children if _DEFINITION.fullmatch(child.type)]
            if not inner:
                return None
            node = inner[-1]
            continue
        named = next((found for field in _NAMED if (found := node.child_by_field_name(field)) is not None), None)
        if named is None or named.child_by_field_name("declarator") is None:
            return named
        node = named
    return None


def _name(node: Node, data: bytes) -> str:
    named = _name_node(node)
    text = data[named.start_byte : named.end_byte].decode("utf-8", "replace") if named is not None else node.type
    return " ".join(text.split())[:_NAME_CHARS]


class _Offsets:
    """Byte offsets of a text in UTF-8 as character offsets."""

    def __init__(self, text: str, data: bytes) -> None:
        self._same = len(text) == len(data)
        self._data = data
        self._known = (0, 0)

    def char(self, byte: int) -> int:
        if self._same:
            return byte
        at, chars = self._known if self._known[0] <= byte else (0, 0)
        chars += len(self._data[at:byte].decode("utf-8", "surrogatepass"))
        self._known = (byte, chars)
        return chars


@functools.cache
def _parser(media_type: str) -> Parser:
    module, function = GRAMMARS[media_type]
    try:
        import tree_sitter

        grammar = importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"cutting {media_type} by its syntax tree", "code") from error
    return tree_sitter.Parser(tree_sitter.Language(getattr(grammar, function)()))
