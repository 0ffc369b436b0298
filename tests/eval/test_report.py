from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragagent.errors import ConfigError
from ragagent.eval import report
from ragagent.eval.about import about
from ragagent.eval.retrieval import QueryRecord, RetrievalRun, figures
from ragagent.settings import EmbeddingSettings, LlmSettings, Settings
from ragagent.types import Failure, IngestReport


def a_run(values: list[float], *, data: str = "adi", model: str = "minilm") -> RetrievalRun:
    records = tuple(
        QueryRecord(
            id=f"q{number}",
            row="dense",
            ranking=("d1", "d2"),
            scores=dict.fromkeys(("nDCG@10", "recall@10", "MRR@10", "MAP@10"), value),
            seconds=0.01,
        )
        for number, value in enumerate(values)
    )
    secretive = Settings(
        llm=LlmSettings(api_key="s3cret", model="/home/someone/models/chat.gguf"),
        embedding=EmbeddingSettings(model="/home/someone/minilm"),
    )
    facts = about(
        Path("/home/someone/sets") / data,
        parameters={"k": 10},
        settings=secretive,
        models={"embedder": f"/home/someone/{model}"},
        counts=(82, 90),
        ingest=IngestReport(failures=(Failure(uri="/home/someone/sets/x.pdf", reason="/home/someone is broken"),)),
    )
    return RetrievalRun(about=facts, figures={"dense": figures(records, "dense", 10)}, records=records)


def test_a_run_file_tells_neither_a_folder_nor_a_secret(tmp_path: Path) -> None:
    report.write(a_run([0.5]), tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert "someone" not in text
    assert "s3cret" not in text
    assert sys.prefix not in text
    assert "chat.gguf" in text


def test_a_run_file_holds_what_made_the_figures(tmp_path: Path) -> None:
    report.write(a_run([0.25, 0.75]), tmp_path / "new" / "run.json")
    values = report.read(tmp_path / "new" / "run.json")
    assert values["kind"] == "retrieval"
    assert values["about"]["environment"]["packages"]["numpy"] == np.__version__
    assert values["about"]["environment"]["cpus"] >= 1
    assert values["about"]["settings"]["retrieval.rrf_k"] == Settings().retrieval.rrf_k
    assert values["figures"]["dense"]["nDCG@10"]["estimate"] == 0.5
    assert [row["scores"]["nDCG@10"] for row in values["records"]] == [0.25, 0.75]
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["run.json"]


def test_the_markdown_table_has_a_row_for_each_mode_and_a_column_for_each_figure() -> None:
    text = report.markdown(a_run([0.5, 0.5]))
    header, rule, row = (line for line in text.splitlines() if line.startswith("|"))
    assert header.count("|") == rule.count("|") == row.count("|")
    assert "0.500 [0.500, 0.500]" in row
    assert "82 documents in 90 chunks; embedder minilm; k 10" in text


def test_two_runs_are_compared_question_by_question(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    before = random.random(40)
    report.write(a_run(before.tolist()), tmp_path / "before.json")
    report.write(a_run((before + 0.1).tolist()), tmp_path / "after.json")
    found = report.compare(tmp_path / "before.json", tmp_path / "after.json")
    difference = found.differences["dense"]["nDCG@10"]
    assert found.questions == 40
    assert difference.interval.low == pytest.approx(0.1)
    assert difference.interval.high == pytest.approx(0.1)
    assert difference.clear
    assert "| dense | nDCG@10 | **+0.1000 [+0.1000, +0.1000]** |" in report.comparison_markdown(found)


def test_a_run_compared_with_itself_has_no_clear_difference(tmp_path: Path) -> None:
    report.write(a_run([0.1, 0.9]), tmp_path / "a.json")
    found = report.compare(tmp_path / "a.json", tmp_path / "a.json")
    assert not any(difference.clear for row in found.differences.values() for difference in row.values())


def test_only_questions_that_both_runs_asked_are_compared(tmp_path: Path) -> None:
    report.write(a_run([0.1, 0.2, 0.3]), tmp_path / "a.json")
    report.write(a_run([0.1, 0.2]), tmp_path / "b.json")
    assert report.compare(tmp_path / "a.json", tmp_path / "b.json").questions == 2


def test_runs_of_different_sets_or_without_a_common_question_are_refused(tmp_path: Path) -> None:
    one = a_run([0.1])
    report.write(one, tmp_path / "a.json")
    report.write(a_run([0.1], data="scifact"), tmp_path / "b.json")
    renamed = dataclasses.replace(one, records=(dataclasses.replace(one.records[0], id="other"),))
    report.write(renamed, tmp_path / "c.json")
    with pytest.raises(ConfigError, match="their set is 'adi' and 'scifact'"):
        report.compare(tmp_path / "a.json", tmp_path / "b.json")
    with pytest.raises(ConfigError, match="no question in common"):
        report.compare(tmp_path / "a.json", tmp_path / "c.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not json", "not JSON"), (b"[1]", "not a run file"), (b"{}", "not a run file"), (b"\xff\xfe", "not JSON")],
)
def test_what_is_no_run_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"x\.json: {message}"):
        report.read(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        report.read(tmp_path / "missing.json")


def test_a_run_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written"):
        report.write(a_run([0.1]), tmp_path / "file" / "run.json")


def test_numbers_in_a_run_file_are_plain_json(tmp_path: Path) -> None:
    report.write(a_run([0.1]), tmp_path / "a.json")

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse)
