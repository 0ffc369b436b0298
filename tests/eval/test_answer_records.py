from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.eval.about import About
from ragagent.eval.answer_records import CitationRecord, QuestionRecord, Records
from ragagent.types import Span

ROWS = [
    QuestionRecord(
        id=f"q{number}",
        question="Wann?",
        golds=("1973", "im Oktober"),
        impossible=False,
        answer="Öl\u2028 und mehr",
        status="grounded",
        confidence=0.75,
        reason="",
        refused=False,
        citations=(
            CitationRecord(
                quote="二", document_id="d", span=Span(1, 2), page=None, verified=True, exact=True, contains_gold=False
            ),
            CitationRecord(
                quote="x", document_id="d", span=None, page=3, verified=False, exact=False, contains_gold=False
            ),
        ),
        scores={"EM": 1.0, "F1": 0.5},
        seconds=1.25,
        prompt_tokens=10,
    )
    for number in range(4)
]


def about(*, model: str = "m.gguf", top_k: int = 40, **parameters: object) -> About:
    return About(
        data="set",
        parameters=parameters,
        settings={"llm.top_k": top_k},
        models={"llm": model},
        documents=1,
        chunks=1,
        unreadable=(),
        ingest_seconds=0.0,
        embedded=0,
    )


def keep(path: Path, rows: list[QuestionRecord], facts: About | None = None) -> None:
    with Records(path, facts or about()) as kept:
        for row in rows:
            if kept.found(row.id) is None:
                kept.append(row)


def test_records_come_back_as_they_were_kept(tmp_path: Path) -> None:
    keep(tmp_path / "sub" / "r.jsonl", ROWS)
    with Records(tmp_path / "sub" / "r.jsonl", about()) as kept:
        assert [kept.found(row.id) for row in ROWS] == ROWS
        assert kept.found("other") is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_file_cut_off_anywhere_keeps_its_whole_lines_and_is_completed(tmp_path: Path, share: float) -> None:
    path = tmp_path / "r.jsonl"
    path.unlink(missing_ok=True)
    keep(path, ROWS)
    whole = path.read_bytes()
    cut = whole[: round(share * len(whole))]
    path.write_bytes(cut)
    with Records(path, about()) as kept:
        found = [row for row in ROWS if kept.found(row.id)]
    assert found == ROWS[: max(0, cut.count(b"\n") - 1)]
    keep(path, ROWS)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("facts", "message"),
    [(about(model="other.gguf"), "models differ"), (about(top_k=1), "settings differ")],
)
def test_records_of_another_run_are_refused_and_left_alone(tmp_path: Path, facts: About, message: str) -> None:
    path = tmp_path / "r.jsonl"
    keep(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message):
        keep(path, ROWS, facts)
    assert path.read_bytes() == before


def test_a_larger_run_takes_over_the_records_of_a_smaller_one(tmp_path: Path) -> None:
    keep(tmp_path / "r.jsonl", ROWS[:2], about(questions=2))
    keep(tmp_path / "r.jsonl", ROWS, about(questions=4))
    assert len((tmp_path / "r.jsonl").read_text(encoding="utf-8").split("\n")) == 1 + len(ROWS) + 1


@pytest.mark.parametrize("content", [b"notes without a line end", b"a,b\n1,2\n", b'{"run": 1}\n', b"\xff\n", b"{}\n"])
def test_a_file_of_something_else_is_never_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"notes\.txt"), Records(path, about()):
        pass
    assert path.read_bytes() == content


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    keep(path, ROWS)
    lines = path.read_bytes().split(b"\n")
    lines[2] = b'{"id": "q1"}'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigError, match="line 3: no record"), Records(path, about()):
        pass


def test_two_runs_do_not_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Records(path, about()), pytest.raises(ConfigError, match="another run is writing"), Records(path, about()):
        pass


def test_without_a_file_nothing_is_kept() -> None:
    with Records(None, about()) as kept:
        kept.append(ROWS[0])
        assert kept.found("q0") is None


def test_a_line_is_one_json_object(tmp_path: Path) -> None:
    keep(tmp_path / "r.jsonl", ROWS)
    first, *rest = (tmp_path / "r.jsonl").read_bytes().splitlines()
    head: Mapping[str, object] = json.loads(first)
    assert set(head) == {"run"}
    assert json.loads(rest[0])["citations"][0]["span"] == [1, 2]
