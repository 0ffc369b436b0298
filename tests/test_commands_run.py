"""Every command that the README, the pages and the help show does what it says, in a folder as its reader has it.

One page after another, its commands in order; a small model answers, for how well is measured elsewhere. What is not
run here is named with the reason, and with the test that runs it on loopback.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ragagent import Agent, Document, KnowledgeBase
from ragagent.cli import main
from ragagent.models.store import ModelStore
from ragagent.testing.llm import ScriptedLLM
from tests.test_readme import EXAMPLES, commands

ROOT = Path(__file__).resolve().parent.parent
MODEL = "smollm2-135m-instruct"
RUNS = ("3f9c2a1b00d14e77", "3f2a9c1e")

NOT_RUN = {
    r"s3://|postgresql://": "another host; tests/connectors/test_remote.py and test_sql.py have such on loopback",
    r"--host 0\.0\.0\.0": "it would be reached from other machines; tests/serve/http/test_guard.py",
    r"http://127\.0\.0\.1:8080/v1": "tests/models/test_remote.py asks such a server",
    r"notes:///": "tests/connectors/test_plugin.py installs the connector of that page",
    r"source:handbook|ingest --prune$": "tests/connectors/test_documented.py writes the sources of that page",
    r"sqlite:////srv/": "tests/connectors/test_sql.py reads such a database",
    r"/mnt/share": "tests/connectors/test_watch.py polls",
    r"models (export|import|remove)": "tests/models/test_archive.py and test_store.py, on small models",
    r"eval (answers|retrieval|compare)": "tests/cli/test_evaluate.py, on small sets",
    r"calibrate": "minutes; tests/app/test_calibrate.py",
    r"agent (allow|forbid)|--mcp mcp\.json$": "tests/cli/test_agent.py and tests/tools/test_mcp.py have servers",
    r"--approve b7d2": "tests/cli/test_agent.py approves",
    r"memory (edit|forget) [0-9a-f]+": "tests/cli/test_memory.py has facts of such ids",
    r"agent (signin|signout)": "tests/tools/test_mcp_signin.py signs in on loopback",
    r"token revoke": "tests/serve/http/test_guard.py revokes",
    r"--embedder bge-small|^ragagent --set chunking.* migrate": "tests/ingest/test_migration.py migrates",
    r"migrate --(rollback|finish)$": "tests/ingest/test_migration.py goes back and finishes",
    r"--sandbox": "tests/tools/test_sandbox.py",
}
BEFORE = {
    "ragagent snapshot restore before-the-merger": "ragagent snapshot create before-the-merger",
    "ragagent snapshot diff before-the-merger": "ragagent ingest notes/",
}
LASTING = re.compile(r"^ragagent (serve\b|mcp (?!install)|mcp$|ingest .*--watch)")
READY = re.compile(r"serving |MCP at |watching ")


def _bare(command: str) -> str:
    """The command without what is said about it."""
    return re.split(r"\s+#", command)[0].strip()


def _shown() -> Iterator[tuple[str, str]]:
    for place, command in [*commands(), *(one for found in EXAMPLES.values() for one in found)]:
        yield place.partition(":")[0] if ":" in place else "help", _bare(command)


PAGES: dict[str, list[str]] = {}
for _page, _command in _shown():
    if not any(re.search(one, _command) for one in NOT_RUN) and _command not in PAGES.setdefault(_page, []):
        PAGES[_page].append(_command)


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm: Path, tiny_gguf: Path, small_gguf: Path, chat_gguf: Path
) -> Path:
    """A reader's folder: documents of theirs, a knowledge base of them, and two finished runs of an agent."""
    assert {minilm, small_gguf, chat_gguf} <= set(ModelStore().folder.rglob("*"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("RAGAGENT_MODELS_FOLDER", str(ModelStore().folder))
    monkeypatch.setenv("RAGAGENT_LLM_MODEL", MODEL)
    monkeypatch.setenv("RAGAGENT_ANSWER_MAX_TOKENS", "24")
    monkeypatch.setenv("RAGAGENT_AGENT_MAX_STEPS", "2")
    monkeypatch.setenv("RAGAGENT_AGENT_MAX_TOKENS_PER_STEP", "64")
    monkeypatch.chdir(here)
    documents = ROOT / "examples" / "documents"
    for name in ("contracts", "examples/documents"):
        shutil.copytree(documents, here / name)
    for name in ("contract.pdf", "old-contract.pdf", "handbook.pdf"):
        shutil.copy(documents / "house-handbook-2025.pdf", here / name)
    (here / "notes").mkdir()
    (here / "notes" / "boiler.txt").write_text("The boiler is repaired by Dale & Sons.")
    (tmp_path / "papers").mkdir()
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    (here / "questions.txt").write_text("Who repairs the boiler?\n/sources\n")
    (here / "work.toml").write_text("[retrieval]\nk = 4\n")
    (here / "some-model.gguf").symlink_to(tiny_gguf)
    said = json.dumps({"found": "so", "tool": "final_answer", "arguments": {"answer": "Dale & Sons."}})
    llm = ScriptedLLM(lambda _: said)
    for name in (".ragagent", "archive"):
        with KnowledgeBase.open(name, llm=llm) as kb:
            for source in ("notes", "contract.pdf", "old-contract.pdf"):
                kb.ingest(here / source)
            kb.ingest([Document(uri="n:1", title="Note", text="The notice period is a month.")])
            kb.conversation().save()
            if name == ".ragagent":
                for run in RUNS:
                    with Agent(kb) as agent:
                        agent.run("Who repairs the boiler?", run_id=run)
    monkeypatch.setenv("HOME", str(tmp_path))
    return here


Call = Callable[[str], tuple[int, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    def called(command: str) -> tuple[int, str]:
        words = [os.path.expanduser(one) for one in shlex.split(command)]
        given, target = _after("<", words), _after(">", words)
        text = Path(given).read_text() if given else "y\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as ended:
            main(list(itertools.takewhile(lambda word: word not in ("|", "<", ">", ">>"), words[1:])))
        out, err = capfd.readouterr()
        if target:
            Path(target).write_text(out)
        assert isinstance(ended.value.code, int)
        return ended.value.code, out + err

    return called


def _after(sign: str, words: Sequence[str]) -> str:
    """The file that a shell would read from, or write to."""
    return words[words.index(sign) + 1] if sign in words else ""


def _lasts(command: str) -> None:
    """A server, or a watch: it says that it is ready, and an interrupt ends it in order."""
    given = [os.path.expanduser(one) for one in shlex.split(command)[1:]]
    stdio = given[0] == "mcp" and "--http" not in given
    program = [sys.executable, "-m", "ragagent", *given]
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        said = ""
        try:
            while not stdio and not READY.search(said):
                line = child.stderr.readline()
                assert line, f"{command}: {said}"
                said += line
            if not stdio:
                child.send_signal(signal.SIGINT)
            assert child.wait(60) in (0, 1, -signal.SIGINT), f"{command}: {said}{child.stderr.read()}"
        finally:
            child.kill()


@pytest.mark.parametrize("page", list(PAGES))
def test_the_commands_that_a_page_shows_do_what_they_say(page: str, reader: Path, call: Call) -> None:
    for command in PAGES[page]:
        if LASTING.search(command):
            _lasts(command)
            continue
        if before := BEFORE.get(command):
            assert call(before)[0] == 0
        code, said = call(command)
        assert code == 0, f"{command}\n{said}"
        assert "Traceback" not in said, f"{command}\n{said}"
    assert Path.cwd() == reader


def test_what_is_not_run_here_is_shown_somewhere() -> None:
    shown = [command for _, command in _shown()]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command) for command in shown), pattern
    assert sum(map(len, PAGES.values())) > len(shown) / 2
