"""Source code by its syntax tree: definitions are headings, and every line of the code stays where it stood."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.connectors.readers import Parsed, parse
from ragagent.settings import IngestSettings
from ragagent.text import syntax

pytest.importorskip("tree_sitter_python")

SOURCES = {
    "a.py": (
        "import x\n\nclass A(B):\n    x = 1\n\n    # About f.\n    @cached\n    def f(self):\n        return 1\n\n"
        "    y = 2\n\nasync def g():\n    pass\n\nTAIL = 3\n",
        "A A.f A g a.py",
    ),
    "a.js": (
        "export class A {\n  f() { return 1 }\n  g = () => {\n    1\n  }\n}\nexport const f = async (a) => {\n};\n"
        "const z = 3;\nexport default function h() {\n}\n",
        "A A.f A.g f a.js h",
    ),
    "a.ts": (
        "interface A {\n}\ntype B = string;\nexport abstract class D<T> {\n  private f(): void {\n  }\n}\n"
        "namespace N {\n  export enum E { a, b }\n}\n",
        "A B D D.f N N.E",
    ),
    "a.java": (
        "package a;\n\n/** Doc. */\n@Ann\npublic class A extends B {\n    public A() {\n    }\n"
        "    private static int f(int x) {\n        return g(x);\n    }\n    interface I { void m(); }\n"
        "    enum E { X, Y; }\n    record R(int x) {}\n}\n",
        "A A.A A.f A.I A.E A.R",
    ),
    "a.c": (
        "#include <x.h>\nstruct s {\n int x;\n};\ntypedef struct { int y; } t;\nstatic int *f(struct s *p)\n{\n"
        "    return g(1);\n}\nint h(int);\nenum e { A, B };\n",
        "s t f a.c e",
    ),
    "a.cpp": (
        "namespace n {\ntemplate <class T>\nclass Q : public R {\npublic:\n  void go() { x(); }\n};\n"
        "void Q::stop(int a) const {\n}\n}\nint main() { }\n",
        "n n.Q n.Q.go n.Q::stop main",
    ),
    "a.go": (
        "package a\n\ntype S struct {\n}\n\n// Get gets.\nfunc (s *S) Get() int {\n}\n\nfunc (m Map[K, V]) Put() {}\n\n"
        "func main() {\n}\n",
        "S S.Get Map.Put main",
    ),
    "a.rs": (
        "pub struct S;\n\nimpl<T> Add for S {\n    pub fn add(&self) {}\n}\nmod m {\n  trait T { }\n}\nmod other;\n"
        "macro_rules! mm { () => {} }\n",
        "S S S.add m m.T a.rs mm",
    ),
    "a.cs": (
        "namespace N\n{\n    public class A\n    {\n        public A() { }\n        void F<T>(int x)\n        {\n"
        "        }\n    }\n    interface I { }\n    record R(int x);\n}\n",
        "N N.A N.A.A N.A.F N.I N.R",
    ),
    "a.rb": (
        "module M\n  class C\n    attr_reader :x\n    def f?\n    end\n    def self.g\n    end\n  end\nend\n",
        "M M.C M.C.f? M.C.g",
    ),
    "a.php": (
        "<?php\nclass A {\n  public function f() {\n  }\n}\nfunction g() {}\ninterface I {}\n"
        "trait T { function h() {} }\n",
        "A A.f g I T",
    ),
    "a.sh": ("go() {\n  echo\n}\nfunction stop {\n  x\n}\ngo\n", "go stop a.sh"),
}


def read(text: str, name: str) -> Parsed:
    return parse(text.encode(), name=name, limits=IngestSettings())


def headings(parsed: Parsed) -> list[str]:
    return [block.span.of(parsed.text) for block in parsed.blocks if block.kind == "heading"]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def code(parsed: Parsed) -> list[str]:
    return lines("\n".join(block.span.of(parsed.text) for block in parsed.blocks if block.kind == "code"))


@pytest.mark.parametrize("name", SOURCES)
def test_symbols_are_headings_with_the_way_to_them_and_every_line_stays(name: str) -> None:
    text, expected = SOURCES[name]
    parsed = read(text, name)
    assert headings(parsed) == expected.split()
    assert code(parsed) == lines(text)
    assert parsed.notes == ()


def test_the_code_of_a_symbol_stands_under_its_heading() -> None:
    parsed = read(SOURCES["a.py"][0], "a.py")
    under: dict[str, str] = {}
    for block, following in zip(parsed.blocks, parsed.blocks[1:], strict=False):
        if block.kind == "heading":
            under[block.span.of(parsed.text)] = following.span.of(parsed.text)
    assert under["A.f"] == "    # About f.\n    @cached\n    def f(self):\n        return 1"
    assert under["A"] == "    y = 2"
    assert under["a.py"] == "TAIL = 3"


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(SOURCES)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(["", "{", "}", "é", "\n", "'", "<"]))),
)
def test_no_line_is_lost_or_moved_whatever_was_done_to_the_code(name: str, changes: list[tuple[int, int, str]]) -> None:
    text = "# é\n" + SOURCES[name][0]
    for at, cut, put in changes:
        text = text[:at] + put + text[at + cut :]
    parsed = read(text + "\nx", name)
    assert code(parsed) == lines(text + "\nx")


def test_a_name_that_is_only_mentioned_is_no_heading() -> None:
    parsed = read("struct s;\nint f(struct s *p, enum e x);\ntypedef int z;\nclass Q;\n", "a.cpp")
    assert headings(parsed) == []


def test_text_that_is_no_code_is_read_line_by_line() -> None:
    text = "def first():\n    return {[(\n" + "of the people by ] the ) people\n" * 20 + "def second():\n"
    assert headings(read(text, "a.py")) == ["first", "second"]


def test_a_language_without_a_grammar_is_read_line_by_line() -> None:
    assert headings(read("function go()\nend\n", "a.lua")) == ["go"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.cs", "a<" * 40_000),
        ("a.cpp", "a<" * 100_000),
        ("a.rb", "%w(" * 50_000),
        ("a.java", "class A{" * 50_000),
        ("a.py", "(" * 200_000),
        ("a.py", "x = 1\n" * 800_000),
    ],
)
def test_what_would_take_a_grammar_long_is_left_to_the_patterns(name: str, text: str) -> None:
    """Each of them took more than four gigabytes, or from many seconds to minutes."""
    kind = parse(b"x\n", name=name, limits=IngestSettings()).media_type
    assert syntax.outline(text, kind) is None


@pytest.fixture
def without_grammars(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where the extra is not installed."""
    found = importlib.import_module
    imported = builtins.__import__

    def import_module(name: str, package: str | None = None) -> Any:
        if name.startswith("tree_sitter"):
            raise ImportError(name)
        return found(name, package)

    def import_name(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("tree_sitter"):
            raise ImportError(name)
        return imported(name, *rest, **named)

    for cached in (syntax._parser, syntax._kinds):
        cached.cache_clear()
    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(builtins, "__import__", import_name)
    yield
    monkeypatch.undo()
    for cached in (syntax._parser, syntax._kinds):
        cached.cache_clear()


def test_without_the_grammars_it_says_what_to_install(without_grammars: None) -> None:
    parsed = read(SOURCES["a.py"][0], "a.py")
    assert headings(parsed) == ["A", "A.f", "g"]
    (note,) = parsed.notes
    assert "pip install 'ragagent[code]'" in note
