"""Source code by its syntax tree: the definitions, and where statements begin. Nothing else knows tree-sitter."""

from __future__ import annotations

import bisect
import functools
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragagent.errors import MissingExtra

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree, TreeCursor

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
    r"|constructor|destructor|record|object|protocol|macro|annotation_type|internal_module|abstract_class)"
    r"(?:_(?:alias|definition|declaration|item|specifier|signature|spec))?"
    r"|type_(?:alias_declaration|item|spec|alias|definition)"
    r"|decorated_definition|template_declaration|export_statement"
    r"|(?:lexical|variable)_declaration|variable_declarator|(?:public_)?field_definition"
)
_BODY = re.compile(
    r"(?:\w+_)?(?:block|body|suite|module|program|source_file|translation_unit|compilation_unit|compound_statement)"
    r"|(?:\w+_)?(?:statement|declaration)_list"
)
_WRAPPERS = frozenset(
    {"decorated_definition", "template_declaration", "export_statement", "lexical_declaration", "variable_declaration"}
)
_WITH_BODY = re.compile(r"\w+_specifier|(?:namespace|internal|mod)\w*|module")
"""These are definitions where they have a body, and mentions of one elsewhere."""

_HOLDERS = frozenset({"variable_declarator", "field_definition", "public_field_definition"})
_FUNCTIONS = re.compile(r"arrow_function|generator_function|function(?:_expression)?|class")
_NAMED = ("name", "declarator", "property", "type")
_MAX_DEPTH = 200
_NAME_CHARS = 100
_AT_ONCE = 1 << 16
_STEPS_A_BYTE = 0.1
_LEAST_STEPS = 2_000
_MAX_BYTES = 4_000_000
_MAX_NESTED = 500
_ENDS = re.compile(rb"[;{}]")
_COMMENT, _BODIES, _DEFINES = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A definition: its name, where it stands with the comment above it, and in how many others."""

    name: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a syntax tree says of a text: its definitions in order, and where statements begin, in ascending order.

    `broken` is the share of the text that follows no grammar.
    """

    symbols: tuple[Symbol, ...] = ()
    statements: tuple[int, ...] = ()
    broken: float = 0.0

    def begins(self, start: int, end: int) -> bool:
        """Whether a statement begins in that range."""
        at = bisect.bisect_left(self.statements, start)
        return at < len(self.statements) and self.statements[at] < end


def outline(text: str, media_type: str) -> Outline | None:
    """The outline of source code; None for a language without a grammar, and for a text that is too much for it.

    Of text that is not right in parts, what is. Raises MissingExtra where the grammars are not installed. Cost: about a
    second a megabyte; bounded by the steps of the parser, so that the same text always has the same outline.
    """
    if media_type not in GRAMMARS:
        return None
    parser = _parser(media_type)
    data = text.encode("utf-8", "surrogatepass")
    tree = _parsed(parser, data) if len(data) <= _MAX_BYTES and _is_flat(data) else None
    if tree is None:
        return None
    char = _char_offsets(data) if len(data) != len(text) else int
    symbols: list[Symbol] = []
    statements: set[int] = set()
    broken = 0
    for found in _walk(tree.walk(), _kinds(media_type)):
        node = found.node
        if found.is_error:
            broken += node.end_byte - node.start_byte
        if found.in_body:
            statements.add(char(node.start_byte))
        if found.name is not None:
            begin, end = char(found.start), char(node.end_byte)
            symbols.append(Symbol(name=_said(found, data), start=begin, end=end, depth=found.depth))
    return Outline(
        symbols=tuple(symbols), statements=tuple(sorted(statements)), broken=broken / len(data) if data else 0.0
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A node that matters: one that follows no grammar, begins a statement, or defines what `name` says.

    `start` is where the comments above a definition begin.
    """

    node: Node
    depth: int
    start: int
    name: Node | None
    in_body: bool
    is_error: bool


@dataclass(slots=True)
class _Level:
    """The children of one node: how deep they stand, and the comments above the next of them."""

    depth: int
    is_body: bool
    is_wrapper: bool
    comments_start: int = -1
    comments_row: int = -2


def _walk(cursor: TreeCursor, kinds: Sequence[int]) -> Iterator[_Found]:
    """What matters of a tree, in its order. A node's own way to its parent is a search, so a cursor keeps the way."""
    levels = [_Level(depth=0, is_body=False, is_wrapper=False)]
    while True:
        node, level = cursor.node, levels[-1]
        assert node is not None
        below = level.depth
        if node.is_named:
            kind = kinds[node.kind_id] if node.kind_id < len(kinds) else 0
            name = _name_node(node) if kind & _DEFINES and not level.is_wrapper and len(levels) > 1 else None
            start, row = node.start_byte, node.start_point[0]
            has_comment = level.comments_start >= 0 and row - level.comments_row <= 1
            if kind & _COMMENT:
                level.comments_start = level.comments_start if has_comment else start
                level.comments_row = node.end_point[0]
            else:
                start = level.comments_start if has_comment else start
                level.comments_start = -1
            if level.is_body or name is not None or node.is_error:
                yield _Found(node, level.depth, start, name, level.is_body, node.is_error)
            below += name is not None
        if len(levels) < _MAX_DEPTH and not node.is_error and cursor.goto_first_child():
            is_body = node.is_named and bool(kind & _BODIES)
            wraps = node.is_named and (node.type in _WRAPPERS or node.type == "type_definition")
            levels.append(
                _Level(depth=below, is_body=is_body, is_wrapper=wraps and (level.is_wrapper or below > level.depth))
            )
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
            levels.pop()


def _name_node(node: Node) -> Node | None:
    """The node that names a definition, through what wraps it; None for what defines nothing."""
    for _ in range(8):
        if node.type in _WRAPPERS:
            inner = [child for child in node.named_children if _DEFINITION.fullmatch(child.type)]
            if not inner:
                return None
            node = inner[-1]
            continue
        if not _is_whole(node):
            return None
        named = next((found for field in _NAMED if (found := node.child_by_field_name(field)) is not None), None)
        return _innermost(named) if named is not None else None
    return None


def _is_whole(node: Node) -> bool:
    """Whether a node defines what it names, and does not only mention it, or hold a value that is no code."""
    if node.type in _HOLDERS:
        value = node.child_by_field_name("value")
        return value is not None and _FUNCTIONS.fullmatch(value.type) is not None
    if node.type == "type_definition":
        kind = node.child_by_field_name("type")
        return kind is not None and kind.child_by_field_name("body") is not None
    return _WITH_BODY.fullmatch(node.type) is None or node.child_by_field_name("body") is not None


def _innermost(named: Node) -> Node:
    """Through the declarators of C: a pointer to a function of a name has that name."""
    for _ in range(8):
        inner = named.child_by_field_name("declarator")
        if inner is None:
            break
        named = inner
    return named


def _said(found: _Found, data: bytes) -> str:
    """The name of a definition, a method of Go behind its receiver's type as it is in other languages."""
    assert found.name is not None
    text = " ".join(data[found.name.start_byte : found.name.end_byte].decode("utf-8", "replace").split())
    receiver = found.node.child_by_field_name("receiver") if found.node.type == "method_declaration" else None
    if receiver is not None:
        of = _RECEIVER.search(data[receiver.start_byte : receiver.end_byte].decode("utf-8", "replace"))
        text = f"{of[1]}.{text}" if of else text
    return text[:_NAME_CHARS]


_RECEIVER = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?\s*\)$")


def _parsed(parser: Parser, data: bytes) -> Tree | None:
    """The tree of a text; None where the parser needs far more steps than any program in use.

    Real files took 0.004 to 0.05 of these steps (hundreds of operations each) a byte, rows of `a<` in C++ 0.1.
    """
    most = max(_LEAST_STEPS, int(_STEPS_A_BYTE * len(data)))
    steps = 0

    def too_many(_offset: int, _has_error: bool) -> bool:
        nonlocal steps
        steps += 1
        return steps > most

    try:
        return parser.parse(lambda at, _point: data[at : at + _AT_ONCE], progress_callback=too_many)
    except ValueError:
        parser.reset()
        return None


def _is_flat(data: bytes) -> bool:
    """Whether no more is open at any place, nor begun in one statement, than programs have.

    Some grammars take memory or time by the square of that: 40,000 `a<` in a row took 19 GB in C#, 50,000 `%w(` two
    minutes in Ruby.
    """
    codes = np.frombuffer(data, np.uint8)
    opened, closed = (np.isin(codes, np.frombuffer(signs, np.uint8)) for signs in (b"([{", b")]}"))
    depth = np.cumsum(opened.astype(np.int32) - closed)
    if len(depth) and depth.max() > _MAX_NESTED:
        return False
    return data.count(b"<") <= _MAX_NESTED or all(part.count(b"<") <= _MAX_NESTED for part in _ENDS.split(data))


def _char_offsets(data: bytes) -> Callable[[int], int]:
    """Takes byte offsets of a text in UTF-8 to character offsets."""
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    before = np.concatenate([np.zeros(1, np.int32), np.cumsum(begins, dtype=np.int32)])
    return lambda byte: int(before[byte])


@functools.cache
def _kinds(media_type: str) -> tuple[int, ...]:
    """What a node of each kind of a grammar is here, by the number of its kind."""
    language = _parser(media_type).language
    assert language is not None
    found = []
    for number in range(language.node_kind_count):
        kind = language.node_kind_for_id(number) or ""
        found.append(
            _COMMENT * ("comment" in kind)
            | _BODIES * bool(_BODY.fullmatch(kind))
            | _DEFINES * bool(_DEFINITION.fullmatch(kind))
        )
    return tuple(found)


@functools.cache
def _parser(media_type: str) -> Parser:
    module, function = GRAMMARS[media_type]
    try:
        import tree_sitter

        grammar = importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"cutting {media_type} by its syntax tree", "code") from error
    return tree_sitter.Parser(tree_sitter.Language(getattr(grammar, function)()))
