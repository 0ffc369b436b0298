"""A deadline ends one's own request with what was written, and nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent import Document, KnowledgeBase, Settings
from ragagent.answer import abstain
from ragagent.answer.in_time import in_time
from ragagent.deadline import Deadline
from ragagent.errors import ConfigError
from ragagent.models.llama import LlamaModel
from ragagent.settings import AnswerSettings, LlmSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, Message

FERRY = "The ferry to the island leaves at 1130 in the morning. It carries ninety people and no cars."
QUESTION = "When does the ferry to the island leave?"
ASKED = [Message(role="user", content="Count from one to a thousand.")]


def over() -> Deadline:
    deadline = Deadline()
    deadline.end()
    return deadline


@pytest.fixture(scope="module")
def llm(tiny_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, batch_tokens=128))
    model.start()
    yield model
    model.close()


def test_the_time_ends_by_itself_or_by_somebody() -> None:
    assert not Deadline().over
    assert not Deadline(1e6).over
    assert over().over
    assert Deadline(1e-9).wait(threading.Event())
    done = threading.Event()
    done.set()
    assert not Deadline().wait(done)


def test_what_is_asked_after_the_time_costs_nothing() -> None:
    model = ScriptedLLM(lambda _: "anything")
    found = in_time(model, over()).chat(ASKED)
    assert (found.text, found.finish, model.requests) == ("", "cancelled", [])


def test_a_request_ends_with_what_was_written_and_another_threads_goes_on(llm: LlamaModel) -> None:
    mine, whole = Deadline(), llm.chat(ASKED, max_tokens=40)
    found: dict[str, object] = {}
    deltas = in_time(llm, mine).stream(ASKED, max_tokens=900)
    first = next(iter(deltas))
    other = threading.Thread(target=lambda: found.update(other=llm.chat(ASKED, max_tokens=40)))
    other.start()
    mine.end()
    *_, last = [first, *deltas]
    other.join()
    assert last.completion is not None
    assert last.completion.finish == "cancelled"
    assert last.completion.usage.completion_tokens < 900
    assert getattr(found["other"], "text", "") == whole.text


def test_a_request_that_waits_for_its_turn_is_not_the_one_that_is_ended(llm: LlamaModel) -> None:
    whole = llm.chat(ASKED, max_tokens=60)
    with llm._my_turn():
        waiting = Deadline(0.01)
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(in_time(llm, waiting).chat(ASKED, max_tokens=900)))
        thread.start()
        again = llm._whole(llm._request(ASKED, 60, None, None, ()), None)
    thread.join()
    assert again.text == whole.text
    assert getattr(found[0], "finish", "") == "cancelled"


class Interrupted(ScriptedLLM):
    """Brings the time to its end after some pieces of its answer."""

    def __init__(self, reply: str, pieces: int) -> None:
        super().__init__(lambda _: reply)
        self.deadline = Deadline()
        self._pieces = pieces

    def stream(self, *args: Sequence[Message], **options: object) -> Iterator[object]:  # type: ignore[override]
        for at, delta in enumerate(super().stream(*args, **options)):  # type: ignore[arg-type]
            if at == self._pieces:
                self.deadline.end()
            yield delta


def asked(model: Interrupted, folder: Path) -> Answer:
    chosen = Settings(answer=AnswerSettings(min_confidence=0))
    with KnowledgeBase.open(folder, embedder=HashEmbedder(), llm=model, settings=chosen) as kb:
        kb.ingest([Document(id="ferry", text=FERRY)])
        return kb.ask(QUESTION, within=model.deadline)


@settings(max_examples=12)
@given(pieces=st.integers(0, 14))
def test_whatever_is_there_when_the_time_is_over_is_cited_whole_and_in_part(
    pieces: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    answer = asked(Interrupted("leaves at 1130 in the morning", pieces), tmp_path_factory.mktemp("kb"))
    assert (answer.status, answer.reason) == ("partial", abstain.TIME) if answer.reason else answer.status == "grounded"
    assert answer.text
    assert answer.text in FERRY
    assert FERRY[FERRY.index(answer.text) + len(answer.text)] in " ."
    assert all(one.verified and one.span is not None and one.span.of(FERRY) == one.quote for one in answer.citations)
    assert answer.citations


def test_when_nothing_was_written_the_best_sentences_are_the_answer(tmp_path: Path) -> None:
    answer = asked(Interrupted("leaves", 0), tmp_path)
    assert (answer.status, answer.reason, answer.extractive) == ("partial", abstain.TIME, True)
    assert answer.text.splitlines()[0] == "The ferry to the island leaves at 1130 in the morning."


@pytest.mark.parametrize("within", [0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_an_error(within: float, tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path, embedder=HashEmbedder(), llm=ScriptedLLM([])) as kb, pytest.raises(ConfigError):
        kb.ask(QUESTION, within=within)
