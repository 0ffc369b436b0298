"""The command line as a person or a script meets it: exit codes, messages, JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragagent.cli.ask import seconds_of
from ragagent.errors import ConfigError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Run) -> Run:
    """Runs a command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "rent.md").write_text("# Rent\n\nThe rent of the mill is 1,250 euros a month.\n")
    (folder / "bees.txt").write_text("The bee hives stand behind the barn. They give 40 kg of honey.\n")
    return folder


def as_json(output: str) -> Any:
    return json.loads(output)


def test_settings_show_their_values_and_origins(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ragagent.toml").write_text("[llm]\nseed = 7\ncontext_tokens = 2048\n")
    monkeypatch.setenv("RAGAGENT_LLM_CONTEXT_TOKENS", "4096")
    code, out, _ = run("--set", "chunking.max_tokens=99", "config", "show", "--json")
    shown = as_json(out)
    assert code == 0
    assert shown["llm.seed"] == {"value": 7, "origin": "ragagent.toml"}
    assert shown["llm.context_tokens"] == {"value": 4096, "origin": "RAGAGENT_LLM_CONTEXT_TOKENS"}
    assert shown["chunking.max_tokens"] == {"value": 99, "origin": "argument"}
    assert shown["retrieval.k"]["origin"] == "default"


def test_a_secret_is_never_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGAGENT_LLM_API_KEY", "hunter2")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        code, out, err = run(*arguments)
        assert code == 0
        assert "hunter2" not in out + err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "llm.sed=1", "config", "show"], "llm.seed"),
        (["--set", "llm.seed=blue", "config", "show"], "llm.seed"),
        (["--set", "llm.kv_cache=f8", "config", "show"], "f16, q8_0, q4_0"),
        (["--set", "nonsense", "config", "show"], "SECTION.KEY=VALUE"),
        (["--config", "missing.toml", "config", "show"], "missing.toml"),
        (["frobnicate"], "frobnicate"),
        (["search"], "QUERY"),
        (["ingest"], "SOURCE"),
        (["search", "x", "-k", "0"], "-k"),
        (["search", "x", "--where", "team = law and date >="], "\n                        ^"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_what_is_wrong(run: Run, arguments: list[str], named: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert named in err


@pytest.mark.parametrize("command", [["search", "x"], ["status"], ["documents", "list"]])
def test_without_a_knowledge_base_the_error_says_how_to_make_one(run: Run, command: list[str]) -> None:
    code, _, err = run(*command)
    assert code == 1
    assert "ragagent ingest" in err
    assert not Path(".ragagent").exists()


def test_documents_go_in_are_found_listed_shown_and_removed(run: Run, folder: Path, minilm: Path) -> None:
    code, out, _ = run("ingest", str(folder), "--json")
    (report,) = as_json(out)
    assert code == 0
    assert (report["added"], report["failed"], report["chunks"]) == (2, 0, report["embedded"])

    code, out, _ = run("search", "how much honey", "-k", "1", "--json")
    (hit,) = as_json(out)
    assert code == 0
    assert (hit["rank"], hit["uri"].rsplit("/", 1)[1]) == (1, "bees.txt")

    code, out, _ = run("search", "honey", "--explain")
    assert code == 0
    assert "sparse" in out
    assert "dense" in out

    everything_but_bees = json.dumps({"not": {"key": "title", "eq": hit["title"]}})
    code, out, _ = run("search", "how much honey", "--where", everything_but_bees, "--json")
    assert {Path(row["uri"]).name for row in as_json(out)} == {"rent.md"}
    code, out, _ = run("search", "honey", "--where", f"title={hit['title']}", "--where", everything_but_bees)
    assert (code, out) == (0, "nothing found\n")

    written = ("--where", 'title starts with "no such" or not (title = "Rent")', "--where", "media_type=text/plain")
    code, out, _ = run("search", "honey", *written, "--where", "media_type=text/html", "--json")
    assert {Path(row["uri"]).name for row in as_json(out)} == {"bees.txt"}

    code, out, _ = run("documents", "list", "--json")
    assert {Path(row["uri"]).name for row in as_json(out)} == {"rent.md", "bees.txt"}

    code, out, _ = run("documents", "show", "rent.md")
    assert "1,250 euros" in out

    assert run("documents", "remove", "rent.md")[0] == 0
    assert as_json(run("status", "--json")[1])["documents"] == 1
    assert run("documents", "show", "rent.md")[0] == 1


def test_an_ingest_that_brings_nothing_in_fails(run: Run, tmp_path: Path, minilm: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, _ = run("ingest", "empty")
    assert code == 1
    assert "nothing to read" in out
    code, _, err = run("ingest", "missing")
    assert code == 1
    assert "missing" in err


def test_a_dry_run_names_what_would_be_done_and_makes_nothing(run: Run, folder: Path, minilm: Path) -> None:
    code, out, _ = run("ingest", "--dry-run", str(folder))
    assert (code, "would read 2 new and 0 changed items" in out, "2 to embed" in out) == (0, True, True)
    assert f"would read: {folder / 'bees.txt'}" in out
    assert not Path(".ragagent").exists()
    assert run("ingest", str(folder))[0] == 0
    (folder / "bees.txt").unlink()
    code, out, _ = run("ingest", "--dry-run", "--prune", "--json", "--report", "plan.json", str(folder))
    (plan,) = as_json(out)
    assert (code, plan["unchanged"], plan["gone"], plan["to_embed"]) == (0, 1, 1, 0)
    assert as_json(Path("plan.json").read_text()) == [plan]
    assert as_json(run("status", "--json")[1])["documents"] == 2
    assert run("ingest", "--watch", "--dry-run", str(folder))[0] == 2


def test_a_report_is_written_to_a_file_beside_what_is_printed(run: Run, folder: Path, minilm: Path) -> None:
    code, out, _ = run("ingest", str(folder), "--report", "report.json")
    assert (code, "2 added" in out) == (0, True)
    (report,) = as_json(Path("report.json").read_text())
    assert (report["source"], report["added"], report["failures"]) == (str(folder), 2, [])
    assert report["stage_seconds"].keys() >= {"plan", "read", "embed", "write"}


def test_a_report_names_each_file_that_was_left_out(run: Run, folder: Path, minilm: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.5 and then nothing")
    code, out, _ = run("ingest", str(folder))
    assert code == 0
    assert "broken.pdf" in out
    assert "1 failed" in out


def test_a_model_that_may_not_be_fetched_is_an_error_that_says_how(run: Run, folder: Path, tmp_path: Path) -> None:
    code, _, err = run("--offline", "--set", f"models.folder={tmp_path / 'none'}", "ingest", str(folder))
    assert code == 1
    assert "ragagent models pull all-MiniLM-L6-v2" in err


def test_the_model_list_is_the_catalogue(run: Run) -> None:
    code, out, _ = run("models", "list", "--json")
    entries = {entry["name"]: entry for entry in as_json(out)}
    assert code == 0
    assert entries["all-MiniLM-L6-v2"]["kind"] == "embedding"
    assert entries["qwen2.5-coder-1.5b-instruct"]["context_tokens"] == 32768


def test_the_doctor_finds_what_is_missing_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("--set", f"models.folder={tmp_path / 'none'}", "doctor", "--json")
    findings = as_json(out)
    assert code == 1
    assert any(
        finding["level"] == "error" and finding["action"] == "ragagent models pull all-MiniLM-L6-v2"
        for finding in findings
    )


def test_a_question_gets_an_answer_or_a_refusal_with_the_same_fields(
    run: Run, folder: Path, minilm: Path, tiny_gguf: Path
) -> None:
    code, out, _ = run("ask", "How much is the rent?", str(folder), "--model", str(tiny_gguf), "--json")
    answer = as_json(out)
    assert code == 0
    assert {"text", "status", "confidence", "reason", "citations", "usage"} <= set(answer)
    for citation in answer["citations"]:
        assert {"quote", "document_id", "uri", "page", "span", "verified"} <= set(citation)


def test_a_run_of_an_agent_that_its_model_ends_is_a_failure_with_the_reason(
    run: Run, folder: Path, minilm: Path, tmp_path: Path
) -> None:
    (tmp_path / "fake.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    assert run("ingest", str(folder))[0] == 0
    code, out, _ = run("agent", "What is two months' rent?", "--model", str(tmp_path / "fake.gguf"), "--json")
    result = as_json(out)
    assert (code, result["stopped"], result["answer"]["status"]) == (1, "error", "refused")
    assert "fake.gguf" in result["answer"]["reason"]


def test_an_empty_question_is_wrong_usage(run: Run, folder: Path, minilm: Path) -> None:
    run("ingest", str(folder))
    for command in ("ask", "search"):
        code, _, err = run(command, "  ")
        assert code == 2
        assert "empty" in err


def test_a_migration_is_planned_done_rolled_back_and_finished(run: Run, folder: Path, minilm: Path) -> None:
    assert run("ingest", str(folder))[0] == 0
    wanted = ("--set", "chunking.max_tokens=30", "--set", "chunking.min_tokens=5")

    code, out, err = run(*wanted, "ingest", str(folder))
    assert code == 1
    assert "ragagent migrate --plan" in err
    assert run(*wanted, "search", "honey", "-k", "1")[0] == 0

    code, out, _ = run(*wanted, "migrate", "--plan")
    assert code == 0
    assert "chunker: chunking-2:structure:200:40:0 -> chunking-2:structure:30:5:0" in out
    assert "re-chunk" in out
    assert "time: about" in out
    plan = as_json(run(*wanted, "migrate", "--plan", "--json")[1])
    assert (plan["documents"], plan["built"], plan["kept"]) == (2, 0, False)
    assert plan["changes"][0]["key"] == "chunker"

    code, out, _ = run(*wanted, "migrate")
    assert code == 0
    assert "migrated: 2 documents built" in out
    assert as_json(run("status", "--json")[1])["fingerprint"]["chunker"] == "chunking-2:structure:30:5:0"
    assert ("keeps the edition before the last migration" in run("doctor", "--json")[1]) is True
    assert run(*wanted, "ingest", str(folder))[0] == 0
    assert "nothing differs" in run(*wanted, "migrate")[1]
    assert "nothing to do" in run(*wanted, "migrate", "--plan")[1]

    code, out, _ = run("migrate", "--rollback", "--json")
    assert code == 0
    assert as_json(out)["documents"] == 0
    assert as_json(run("status", "--json")[1])["fingerprint"]["chunker"] == "chunking-2:structure:200:40:0"
    assert as_json(run("migrate", "--finish", "--json")[1])["dropped"] is True
    assert "keeps the edition" not in run("doctor", "--json")[1]
    assert "nothing was done" in run("migrate", "--finish")[1]
    code, _, err = run("migrate", "--rollback")
    assert code == 1
    assert "nothing to roll back to" in err


def test_migrate_takes_one_of_its_three_ways(run: Run) -> None:
    code, _, err = run("migrate", "--plan", "--rollback")
    assert code == 2
    assert "--plan, --rollback and --finish" in err


def test_an_unknown_option_of_a_source_is_an_error_with_the_known_ones(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Text.")
    code, _, err = run("ingest", "a.txt", "--option", "inclde=*.txt")
    assert (code, "did you mean include" in err) == (2, True)
    code, _, err = run("ingest", "a.txt", "b.txt", "-o", "include=*.txt")
    assert (code, "one source" in err) == (2, True)
    code, _, err = run("ingest", "a.txt", "-o", "include")
    assert (code, "KEY=VALUE" in err) == (2, True)


def test_a_secret_that_is_written_out_is_refused_and_not_shown(run: Run) -> None:
    code, _, err = run("ingest", "s3://bucket/x", "-o", "secret=abc123")
    assert (code, "env:NAME" in err, "abc123" in err) == (2, True, False)
    code, _, err = run("ingest", "s3://bucket/x", "-o", "secret=env:NO_SUCH_VARIABLE")
    assert (code, "NO_SUCH_VARIABLE" in err) == (2, True)


def test_sources_of_the_settings_file_are_called_by_name(run: Run, tmp_path: Path, minilm: Path) -> None:
    (tmp_path / "box").mkdir()
    for name in ("a.md", "b.txt"):
        (tmp_path / "box" / name).write_text(f"The text of {name}.")
    (tmp_path / "ragagent.toml").write_text('[sources.notes]\naddress = "box"\ninclude = ["*.md"]\n')
    code, out, _ = run("ingest", "source:notes", "--json")
    assert (code, json.loads(out)[0]["added"]) == (0, 1)
    code, out, _ = run("ingest", "--json")
    assert (code, json.loads(out)[0]["unchanged"]) == (0, 1)
    code, _, err = run("ingest", "source:other")
    assert (code, "there are notes" in err) == (2, True)
    (tmp_path / "ragagent.toml").write_text("[sources.notes]\ninclude = []\n")
    code, _, err = run("ingest", "source:notes")
    assert (code, "sources.notes" in err) == (2, True)


def test_watching_follows_a_folder_until_it_is_interrupted(tmp_path: Path, minilm: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    (box / "a.txt").write_text("Bees dance.")
    command = [sys.executable, "-m", "ragagent", "ingest", "--watch", "box", "--json", "--settle", "0.1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["added"] == 1
        (box / "b.txt").write_text("Ants follow scent.")
        assert json.loads(process.stdout.readline())["added"] == 1
        (box / "a.txt").unlink()
        assert json.loads(process.stdout.readline())["removed"] == 1
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "stopped watching" in err, "Traceback" in err) == (0, True, False)


def test_a_source_out_of_reach_keeps_none_of_the_others_waiting(run: Run, tmp_path: Path, minilm: Path) -> None:
    (tmp_path / "a.txt").write_text("Bees dance.")
    code, out, _ = run("ingest", "missing", "a.txt", "--json")
    first, second = json.loads(out)
    assert (code, first["failed"], second["added"]) == (1, 1, 1)
    assert "missing" in first["failures"][0]["reason"]


@pytest.mark.parametrize(("text", "seconds"), [("20", 20.0), ("20s", 20.0), ("1.5m", 90.0), ("500 ms", 0.5)])
def test_a_time_is_written_with_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1", "20h", "1e3", "nan", "s"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        seconds_of(text)


INTERRUPTED = """
import signal
from ragagent.cli.ask import ended_by_interrupt
from ragagent.deadline import Deadline

deadline, before = Deadline(), signal.getsignal(signal.SIGINT)
with ended_by_interrupt(deadline):
    signal.raise_signal(signal.SIGINT)
    print(deadline.over)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
print(signal.getsignal(signal.SIGINT) is before)
"""


def test_an_interrupt_ends_the_time_and_a_second_one_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "interrupted", "True"], "")
