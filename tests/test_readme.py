"""What the README and the pages under docs/ tell a reader to type is right."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ragagent import KnowledgeBase
from ragagent.cli.root import root
from ragagent.models.store import ModelStore
from tests.commands import leaves

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page and line, text) of every fenced block of a language."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                yield f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}", match[2]


def commands() -> Iterator[tuple[str, str]]:
    """Every line that starts with `ragagent` in a shell block or after a prompt in a transcript."""
    for language, mark in (("sh", ""), ("console", "$ ")):
        for place, text in blocks(language):
            for line in text.replace("\\\n", " ").splitlines():
                command = line.removeprefix(mark)
                if line.startswith(mark) and command.startswith("ragagent "):
                    yield place, command


def _examples(name: str, command: click.Command) -> list[tuple[str, str]]:
    lines = [line.strip() for line in (command.help or "").splitlines()]
    return [(f"{name} --help", line) for line in lines if line.startswith("ragagent ") and name.split()[-1] in line]


EXAMPLES = {name: _examples(name, command) for name, command in leaves(root, "ragagent")}


def test_the_help_of_every_command_has_an_example() -> None:
    assert not [name for name, found in EXAMPLES.items() if not found]


@pytest.mark.parametrize(("place", "command"), [*commands(), *(one for found in EXAMPLES.values() for one in found)])
def test_every_command_shown_is_one_that_exists(place: str, command: str) -> None:
    arguments = shlex.split(command.split(" | ")[0].split(" > ")[0], comments=True)[1:]
    context = click.Context(root, info_name="ragagent", resilient_parsing=False)
    group: click.Command = root
    while isinstance(group, click.Group):
        parser = group.make_parser(context)
        parser.allow_interspersed_args = False
        _, rest, _ = parser.parse_args(list(arguments))
        if not rest:
            return
        found = group.get_command(context, rest[0])
        assert found is not None, f"{place}: {command}"
        group, arguments = found, rest[1:]
        context = click.Context(group, info_name=rest[0], parent=context)
    group.make_parser(context).parse_args(list(arguments))


def test_every_make_target_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {target for page in PAGES for target in re.findall(r"`?make ([a-z-]+)`?", page.read_text())}
    assert {"demo", "test"} <= shown & targets
    for place, text in [*blocks("sh"), *blocks("console")]:
        for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets, f"{place}: make {target}"


_PROGRAM = re.compile(r"^python -m (ragagent\.\S+)(.*)$|`python -m (ragagent\.[^\s`]+)([^`]*)`", re.MULTILINE)


def test_every_program_that_measures_is_there_and_takes_what_it_is_shown_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helps: dict[str, str] = {}
    for page in PAGES:
        for match in _PROGRAM.finditer(page.read_text(encoding="utf-8").replace("\\\n", " ")):
            module, rest = match[1] or match[3], match[2] or match[4] or ""
            if module not in helps:
                monkeypatch.setattr(sys, "argv", [module, "--help"])
                with pytest.raises(SystemExit):
                    importlib.import_module(module).main()
                helps[module] = capsys.readouterr().out
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0]):
                assert re.search(rf"{option}(?![\w-])", helps[module]), f"{page.name}: {module} has no {option}"
    assert len(helps) > 20


@pytest.mark.parametrize(("place", "code"), list(blocks("python")))
def test_every_python_example_parses(place: str, code: str) -> None:
    ast.parse(code, filename=place)


FOUNDED = (
    "from ragagent import Document, KnowledgeBase\n"
    "text = 'The company was founded by Ida Marsh in 1921. Ida Marsh, the founder, was born in the town of Leeds.'\n"
    "with KnowledgeBase.open('.ragagent') as kb: kb.ingest([Document(uri='n:1', title='The company', text=text)])"
)
RUN_HERE = {
    # The pages whose blocks are run here, one after another, and what they take for granted.
    "README.md": "",
    "access.md": "import pathlib; pathlib.Path('contracts').mkdir()",
    "answers.md": "",
    "confidence.md": "",
    "conversations.md": FOUNDED,
    "index.md": "",
    "migration.md": "from ragagent import KnowledgeBase, Settings\n"
    "from dataclasses import replace\n"
    "kb, wanted, bar = KnowledgeBase.open('.ragagent'), Settings(), None\n"
    "kb.ingest('documents/')\n"
    "wanted = replace(wanted, chunking=replace(wanted.chunking, overlap_tokens=8))",
}
RUN_ELSEWHERE = {
    "agent.md": "tests/agent/test_howto.py",
    "connector-plugin.md": "tests/connectors/test_plugin.py",
    "http.md": "tests/serve/http/test_openai.py runs these calls",
    "plug-ins.md": "tests/test_plug_ins.py",
}
NOT_RUN = {"connectors.md": "it reads from another host; tests/connectors/test_git.py does so on loopback"}


@pytest.mark.parametrize("page", list(RUN_HERE))
def test_the_python_examples_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm: Path, chat_gguf: Path
) -> None:
    """As a reader would run them: one after another, in a folder that holds the example documents."""
    assert ModelStore().resolve("all-MiniLM-L6-v2") == minilm
    (tmp_path / "documents").symlink_to(ROOT / "examples" / "documents")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(RUN_HERE[page], names)
    for place, code in blocks("python"):
        if place.partition(":")[0].rpartition("/")[2] == page:
            exec(compile(code, place, "exec"), names)
    assert os.getcwd() == str(tmp_path)
    if page == "README.md":
        assert (tmp_path / ".ragagent").is_dir()
        with KnowledgeBase.open(".ragagent", create=False) as made:
            assert len(list(made.documents())) >= 4
    if isinstance(kb := names.get("kb"), KnowledgeBase):
        kb.close()


def test_it_is_known_of_every_page_with_code_where_that_runs() -> None:
    pages = {place.partition(":")[0].rpartition("/")[2] for place, _ in blocks("python")}
    assert pages == RUN_HERE.keys() | RUN_ELSEWHERE.keys() | NOT_RUN.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
