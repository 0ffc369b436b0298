from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ModelCrashed
from ragagent.eval import answers, datasets, report
from ragagent.eval.answer_records import AnswersRun
from ragagent.eval.corpus import Parts
from ragagent.eval.datasets import Question
from ragagent.settings import AnswerSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, Citation, Message, Span

SETTINGS = Settings(answer=AnswerSettings(min_confidence=0.0))


def scholar(messages: Sequence[Message]) -> str:
    """Finds the year of the charter that the question names in the passages it was given, and quotes it."""
    text = messages[-1].content
    town = re.search(r"charter of (\w+) granted\?", text)
    found = re.search(rf"The charter of {town[1]} was granted in (\d+)", text) if town else None
    return f"{found[1]}\n> {found[0]}\n" if found else "NOT FOUND"


def parts(reply: object = scholar) -> Parts:
    return Parts(embedder=HashEmbedder(), llm=ScriptedLLM(reply))  # type: ignore[arg-type]


def run(towns: Path, *, records: Path | None = None, made_of: Parts | None = None, n: int = 7) -> AnswersRun:
    return answers.run(towns, n=n, settings=SETTINGS, records=records, parts=made_of or parts())


def figure(found: AnswersRun, name: str) -> float | None:
    interval = found.figures[""][name]
    return None if interval is None else interval.estimate


def test_right_answers_exact_citations_and_right_refusals_have_full_marks(towns: Path) -> None:
    found = run(towns)
    for name in ("EM", "F1", "contains", "gold cited", "gold in evidence", "EM of all", "citations exact"):
        assert figure(found, name) == 1.0, name
    assert figure(found, "verified but wrong") == 0.0
    assert figure(found, "refusal precision") == figure(found, "refusal recall") == 1.0
    assert figure(found, "false refusals") == figure(found, "failed") == 0.0


def test_a_model_that_always_refuses_is_never_right_and_never_wrong_about_the_impossible(towns: Path) -> None:
    found = run(towns, made_of=parts(lambda messages: "NOT FOUND"))
    assert figure(found, "EM") == 0.0
    assert figure(found, "refusal recall") == 1.0
    assert figure(found, "refusal precision") == pytest.approx(1 / 7)
    assert figure(found, "false refusals") == 1.0
    assert figure(found, "EM of all") == pytest.approx(1 / 7)
    assert figure(found, "citations exact") is None


def test_a_killed_run_asks_only_what_is_missing(towns: Path, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    whole = run(towns, records=path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:17])
    again = parts()
    resumed = run(towns, records=path, made_of=again)
    assert isinstance(again.llm, ScriptedLLM)
    assert len(again.llm.requests) == 7 - 3
    kept = {row.id: row for row in whole.records[:3]}
    assert [row.id for row in resumed.records] == [row.id for row in whole.records]
    assert all(row == kept[row.id] for row in resumed.records[:3])


def test_a_whole_run_asks_nothing_again_and_gives_the_same_figures(towns: Path, tmp_path: Path) -> None:
    first = run(towns, records=tmp_path / "r.jsonl")
    again = parts([])
    assert run(towns, records=tmp_path / "r.jsonl", made_of=again).figures == first.figures


def test_records_of_other_settings_are_not_mixed_in(towns: Path, tmp_path: Path) -> None:
    run(towns, records=tmp_path / "r.jsonl")
    other = dataclasses.replace(SETTINGS, answer=AnswerSettings(passages=1))
    with pytest.raises(ConfigError, match="settings differ"):
        answers.run(towns, settings=other, records=tmp_path / "r.jsonl", parts=parts())


def test_one_answer_that_fails_is_recorded_as_wrong_and_the_rest_goes_on(towns: Path) -> None:
    def shaky(messages: Sequence[Message]) -> str:
        if "Corrin granted" in messages[-1].content:
            raise ModelCrashed("the model process ended with signal 9")
        return scholar(messages)

    found = run(towns, made_of=parts(shaky))
    failed = [row for row in found.records if row.status == "failed"]
    assert [row.id for row in failed] == ["Corrin"]
    assert "signal 9" in failed[0].reason
    assert figure(found, "EM") == pytest.approx(5 / 6)
    assert figure(found, "refusal precision") == 1.0


@pytest.mark.parametrize(
    ("quote", "span", "exact", "contains_gold"),
    [
        ("granted in 1204", Span(71, 86), True, True),
        ("granted in 1204", Span(70, 85), False, True),
        ("granted in 1205", Span(71, 86), False, False),
        ("Alderby", Span(0, 7), True, False),
        ("granted in 1204", None, False, True),
        ("", Span(0, 0), False, False),
    ],
)
def test_a_citation_is_checked_against_the_document_and_not_believed(
    towns: Path, tmp_path: Path, quote: str, span: Span | None, exact: bool, contains_gold: bool
) -> None:
    claimed = Citation(quote=quote, document_id="Alderby", uri="", title="", span=span, verified=True)
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(datasets.documents(towns))
        assert kb.document("Alderby").text[71:86] == "granted in 1204"  # type: ignore[union-attr]
        found = answers.checked(kb.document, claimed, ["1204"])
        gone = answers.checked(kb.document, dataclasses.replace(claimed, document_id="Atlantis"), ["1204"])
    assert (found.exact, found.contains_gold, found.verified) == (exact, contains_gold, True)
    assert not gone.exact


def test_what_was_refused_counts_as_silence(towns: Path, tmp_path: Path) -> None:
    said = Answer(question="?", text="1204, I guess", status="refused", confidence=0.1, reason="unsure")
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(datasets.documents(towns))
        answerable = answers.recorded(kb.document, Question(id="1", text="?", answers=("1204",)), said, 0.5)
        impossible = answers.recorded(kb.document, Question(id="2", text="?", impossible=True), said, 0.5)
    assert answerable.scores["contains"] == answerable.scores["F1"] == 0.0
    assert impossible.scores == {"EM": 1.0, "F1": 1.0}


@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=30),
    share=st.floats(0, 1),
    n=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_a_sample_has_the_wanted_mix_or_there_is_an_error(kinds: list[bool], share: float, n: int, seed: int) -> None:
    asked = [Question(id=str(number), text="?", impossible=kind) for number, kind in enumerate(kinds)]
    try:
        found = answers.drawn(asked, n, seed, share)
    except ConfigError:
        assert sum(kinds) < n * share + 1 or len(kinds) - sum(kinds) < n * (1 - share) + 1
        return
    assert len({question.id for question in found}) == n
    assert abs(sum(question.impossible for question in found) - n * share) <= 0.5 + 1e-9


@given(size=st.integers(1, 20), few=st.integers(1, 10), more=st.integers(1, 10), seed=st.integers(0, 9))
def test_a_small_sample_begins_a_large_one(size: int, few: int, more: int, seed: int) -> None:
    asked = [Question(id=str(number), text="?") for number in range(size)]
    large = answers.drawn(asked, few + more, seed, None)
    assert answers.drawn(asked, few, seed, None) == large[:few]
    assert len(set(large)) == min(size, few + more)


@pytest.mark.parametrize(("n", "share"), [(0, None), (5, 1.5), (5, 0.9)])
def test_a_sample_that_cannot_be_drawn_is_refused(towns: Path, n: int, share: float | None) -> None:
    with pytest.raises(ConfigError, match=r"nothing to ask|must be in|are needed, but the set has"):
        answers.drawn(datasets.questions(towns), n, 0, share)


def test_a_run_of_answers_is_reported_and_compared(towns: Path, tmp_path: Path) -> None:
    report.write(run(towns, made_of=parts(lambda messages: "NOT FOUND")), tmp_path / "refuses.json")
    good = run(towns)
    report.write(good, tmp_path / "answers.json")
    text = report.markdown(good)
    assert "| citations exact | 1.000 | 1.000, 1.000 | 7 |" in text
    assert "llm scripted" in text
    gained = report.compare(tmp_path / "refuses.json", tmp_path / "answers.json").differences[""]["EM"]
    assert gained.interval.estimate == pytest.approx(6 / 7)
    values = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert all(row["citations"][0]["exact"] for row in values["records"] if not row["impossible"])


@pytest.mark.model
def test_a_real_model_answers_with_citations_that_are_all_exact(towns: Path, minilm: Path, chat_gguf: Path) -> None:
    settings = Settings(
        llm=dataclasses.replace(Settings().llm, model=str(chat_gguf)),
        embedding=dataclasses.replace(Settings().embedding, model=str(minilm)),
    )
    found = answers.run(towns, n=4, settings=settings)
    shown = [citation for row in found.records for citation in row.citations]
    assert len(shown) >= 2
    assert all(citation.exact for citation in shown)
    assert (figure(found, "contains") or 0.0) >= 0.5
    assert figure(found, "failed") == 0.0
