from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ragagent.cli.root import root
from ragagent.errors import ConfigError


def call(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["--offline", "eval", *arguments], catch_exceptions=True)


def a_set(folder: Path) -> Path:
    folder.mkdir()
    rows = {
        "documents": [{"id": "a", "text": "The red car is fast."}, {"id": "b", "text": "The blue boat is slow."}],
        "queries": [{"id": "1", "text": "red car"}, {"id": "2", "text": "slow boat"}],
        "qrels": [{"qid": "1", "docid": "a", "score": 1}, {"qid": "2", "docid": "b", "score": 1}],
    }
    for name, values in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    return folder


@pytest.mark.model
def test_a_retrieval_run_is_a_table_a_file_and_json(tmp_path: Path, minilm: Path) -> None:
    common = ["retrieval", "--data", str(a_set(tmp_path / "set")), "--kb", str(tmp_path / "kb")]
    common += ["--embedder", str(minilm), "--modes", "sparse, dense", "--k", "1"]
    table = call(*common, "--out", str(tmp_path / "run.json"))
    assert table.exit_code == 0, table.output
    assert "| sparse | 1.000 [1.000, 1.000]" in table.stdout
    printed = json.loads(call(*common, "--json").stdout)
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert printed["figures"].keys() == written["figures"].keys() == {"sparse", "dense"}
    assert str(tmp_path) not in table.stdout
    compared = call("compare", str(tmp_path / "run.json"), str(tmp_path / "run.json"))
    assert compared.exit_code == 0
    assert "over 2 questions" in compared.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("retrieval",), "Missing option '--data'"),
        (("answers", "--data", "missing"), "does not exist"),
        (("retrieval", "--data", ".", "--k", "0"), "is not in the range"),
        (("answers", "--data", ".", "--impossible", "2"), "is not in the range"),
    ],
)
def test_wrong_usage_is_said_and_has_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_an_unknown_mode_and_an_unreadable_run_are_named(tmp_path: Path) -> None:
    modes = call("retrieval", "--data", str(tmp_path), "--modes", "dense,fuzzy", "--embedder", str(tmp_path))
    assert isinstance(modes.exception, ConfigError)
    assert "--modes dense,fuzzy: must be some of dense, sparse, hybrid" in str(modes.exception)
    compared = call("compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert "cannot be read" in str(compared.exception)
