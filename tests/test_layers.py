"""The import direction and the owners of the engines, read from the source; imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Low to high. A module imports from its own package or from a lower row, never from its own row or above.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "types errors",
        "where",
        "access",
        "protocols",
        "settings trace text jsonable atomic deadline",
        "models prompts connectors",
        "index",
        "ingest retrieve",
        "answer",
        "tools",
        "agent",
        "app",
        "testing",
        "serve eval adapters",
        "cli",
    )
)
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}

# Each engine is imported by its owners alone, so that replacing it touches one place.
OWNERS = {
    "faiss": {"ragagent.index.candidates", "ragagent.index.vectors", "ragagent.eval.perf"},
    "sqlite3": {"ragagent.index", "ragagent.agent.graph", "ragagent.agent.journal", "ragagent.tools.table_query"},
    "llama_cpp": {
        "ragagent.eval.answers_langchain",
        "ragagent.models.llama_worker",
        "ragagent.models.llama_engine",
        "ragagent.models.llama_load",
        "ragagent.models.llama_vocabulary",
    },
    "llguidance": {"ragagent.models"},
    "openvino": {"ragagent.models"},
    "tokenizers": {"ragagent.models"},
    "torch": {"ragagent.models.sentence_transformer", "ragagent.eval.perf"},
    "sentence_transformers": {"ragagent.models.sentence_transformer", "ragagent.eval.perf"},
    "langgraph": {"ragagent.agent.graph"},
    "fastapi": {"ragagent.serve.http"},
    "starlette": {"ragagent.serve"},
    "uvicorn": {"ragagent.serve"},
    "mcp": {
        "ragagent.serve.mcp",
        *(
            f"ragagent.tools.mcp{part}"
            for part in ("", "_contents", "_live", "_person", "_requests", "_signin", "_tasks", "_transport")
        ),
    },
    "pypdfium2": {f"ragagent.connectors.readers.pdf{part}" for part in ("", "_text", "_page")},
    "docx": {"ragagent.connectors.readers.docx", "ragagent.testing.samples"},
    "pptx": {"ragagent.connectors.readers.pptx", "ragagent.testing.samples"},
    "python_calamine": {"ragagent.connectors.readers.spreadsheet"},
    "olefile": {"ragagent.connectors.readers.ole"},
    "oxmsg": {"ragagent.connectors.readers.outlook"},
    "lxml": {"ragagent.connectors.readers.xml_tree"},
    "striprtf": {"ragagent.connectors.readers.rtf"},
    "docutils": {"ragagent.connectors.readers.rst"},
    "pylatexenc": {"ragagent.connectors.readers.latex"},
    "selectolax": {"ragagent.connectors.readers.html", "ragagent.connectors.links"},
    "rich": {"ragagent.cli"},
    "click": {"ragagent.cli"},
    "httpcore": {"ragagent.connectors.http", "ragagent.connectors.network"},
    "protego": {"ragagent.connectors.sitemap"},
    "fsspec": {"ragagent.connectors.remote"},
    "webdav4": {"ragagent.connectors.remote"},
    "sqlalchemy": {"ragagent.connectors.sql_session"},
    "watchfiles": {"ragagent.connectors.watch"},
    "httpx": {"ragagent.models", "ragagent.connectors", "ragagent.serve.mcp.issuers"},
    "jwt": {"ragagent.serve.mcp.issuers"},
    "pypdf": {"ragagent.eval.perf"},
    "rank_bm25": {"ragagent.eval.perf"},
    "bm25s": {"ragagent.eval.perf"},
    "numba": {"ragagent.index.compiling", "ragagent.index.hamming", "ragagent.index.kernels"},
    "llvmlite": {"ragagent.index.compiling"},
    "tree_sitter": {"ragagent.text.syntax"},
    "langchain_core": {"ragagent.adapters.langchain", "ragagent.eval.answers_langchain", "ragagent.eval.perf"},
    "llama_index": {"ragagent.adapters.llama_index", "ragagent.eval.perf"},
}


def source_files() -> Iterator[tuple[str, Path]]:
    """(module name, file) of every module that is shipped."""
    for folder, prefix in (
        ("ragagent", "ragagent"),
        ("connectors", "ragagent.connectors"),
        ("prompts", "ragagent.prompts"),
        ("eval", "ragagent.eval"),
    ):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            yield name, file


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, with the line. Imports for the type checker alone count as well."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            assert node.module is not None
            yield node.module, node.lineno
            if node.module == "ragagent" or node.module.startswith("ragagent."):
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node.lineno


def package_of(module: str) -> str:
    """The row name of a module of ours: its first part below ragagent."""
    return module.split(".")[1]


MODULES = dict(source_files())


@pytest.mark.parametrize("module", [name for name in MODULES if name not in {"ragagent", "ragagent.__main__"}])
def test_imports_go_downwards_only(module: str) -> None:
    mine = package_of(module)
    for target, line in imports_of(MODULES[module]):
        if not target.startswith("ragagent.") or package_of(target) not in LEVEL:
            continue
        theirs = package_of(target)
        assert theirs == mine or LEVEL[theirs] < LEVEL[mine], f"{module}:{line} imports {target}, which is not below it"


@pytest.mark.parametrize("module", list(MODULES))
def test_each_engine_is_imported_by_its_owner_alone(module: str) -> None:
    for target, line in imports_of(MODULES[module]):
        engine = target.split(".")[0]
        if engine not in OWNERS:
            continue
        owners = OWNERS[engine]
        is_owner = any(module == owner or module.startswith(owner + ".") for owner in owners)
        assert is_owner, f"{module}:{line} imports {engine}, which belongs to {sorted(owners)}"


def test_every_module_has_a_place_in_the_layers() -> None:
    packages = {package_of(name) for name in MODULES if "." in name} - {"__main__"}
    assert packages <= set(LEVEL), f"no layer for {sorted(packages - set(LEVEL))}"
