"""Confidence is fitted to the user's own documents, from questions with and without their passage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ragagent import Document, KnowledgeBase
from ragagent.answer import calibration
from ragagent.errors import ConfigError
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

FILLER = "It stands among many words that say nothing else, so that the passage is long enough to be asked about here."
NOTES = [
    f"Note zebra{number} is about the bridge. The bridge zebra{number} is {number + 7} metres long. {FILLER}"
    for number in range(8)
]


def reply(messages: Sequence[Message]) -> str:
    """Asks after the bridge of a passage; answers with the first bridge of the question's name, else with the first."""
    said = messages[-1].content
    if "Write one short question" in said:
        name = re.findall(r"zebra\d", said)[0]
        return f"How long is the bridge {name}?\nAnd more."
    if len(messages) == 1:
        return "Yes"
    name = re.findall(r"zebra\d", said)[-1]
    lengths = re.findall(rf"bridge {name} is (\d+ metres)", said) or re.findall(r"is (\d+ metres)", said)
    return lengths[0] if lengths else "NOT FOUND"


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=ScriptedLLM(reply)) as opened:
        opened.ingest([Document(uri=f"mem:{at}", title=f"Note {at}", text=text) for at, text in enumerate(NOTES)])
        yield opened


def test_each_question_is_put_with_its_passage_and_without_and_only_the_first_can_be_right(kb: KnowledgeBase) -> None:
    report = kb.calibrate(questions=8)
    assert len({case.question for case in report.cases}) == 8
    assert [case.told for case in report.cases] == [True, False] * 8
    assert all(case.right == case.told for case in report.cases)


def test_what_was_found_is_kept_and_answers_are_as_sure_as_it_says(kb: KnowledgeBase) -> None:
    report = kb.calibrate(questions=8)
    assert calibration.kept(kb.path, kb.llm.name) == report.found
    answer = kb.ask("How long is the bridge zebra3?")
    assert answer.signals is not None
    assert answer.confidence == report.found.confidence(answer.signals)
    assert kb.forget_calibration()
    assert not kb.forget_calibration()
    assert kb.ask("How long is the bridge zebra3?").confidence == calibration.shipped("").confidence(answer.signals)


def test_a_risk_sets_the_threshold_that_answers_are_refused_by(kb: KnowledgeBase) -> None:
    report = kb.calibrate(questions=8, risk=0.01)
    assert report.after.wrong_shown in {None, 0.0}
    assert report.found.threshold != calibration.shipped("").threshold
    strict = KnowledgeBase.open(kb.path, embedder=HashEmbedder(), llm=ScriptedLLM(reply))
    with strict:
        answer = strict.ask("How long is the bridge zebra3?")
        assert (answer.status == "refused") == (answer.confidence < report.found.threshold)


def test_the_same_seed_asks_the_same_and_nothing_is_kept_of_a_trial(kb: KnowledgeBase) -> None:
    first, second = (kb.calibrate(questions=3, seed=5, keep=False) for _ in range(2))
    assert first == second
    assert calibration.kept(kb.path, kb.llm.name) is None


def test_a_run_that_is_broken_off_keeps_nothing(kb: KnowledgeBase) -> None:
    class Stopping:
        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            if done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kb.calibrate(questions=4, progress=Stopping())
    assert calibration.kept(kb.path, kb.llm.name) is None


def test_where_another_document_says_the_same_the_question_is_not_taken_for_one_without_an_answer(
    kb: KnowledgeBase,
) -> None:
    kb.ingest(
        [Document(uri="mem:more", title="Longer", text=NOTES[0] + " " + "More is said here of other things." * 9)]
    )
    cases = kb.calibrate(questions=9).cases
    assert not any("zebra0" in case.question and not case.told for case in cases)


def test_documents_without_text_enough_are_named_as_such(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=ScriptedLLM(reply)) as kb:
        kb.ingest([Document(uri="mem:0", title="Short", text="Too short.")])
        with pytest.raises(ConfigError, match="25 words"):
            kb.calibrate()
        with pytest.raises(ConfigError, match="questions = 0"):
            kb.calibrate(questions=0)
        with pytest.raises(ConfigError, match=r"risk = 1\.0"):
            kb.calibrate(risk=1.0)
