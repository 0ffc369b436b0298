"""Conversations: append-only while there is room, never about what may not be read, and one's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent import Document, KnowledgeBase, Principal, Settings
from ragagent.answer import history
from ragagent.errors import ConfigError
from ragagent.models.kv_snapshots import Snapshot, Snapshots
from ragagent.settings import AnswerSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message, Passage, Span

CRISIS = (
    "The 1973 oil crisis began in October 1973. The members of OAPEC proclaimed an embargo. "
    "The price of a barrel rose from US$3 to nearly $12. Cars were small afterwards."
)
FERRY = "The ferry to the island leaves at seven in the morning. It carries ninety people."
SETTINGS = Settings(answer=AnswerSettings(min_confidence=0))


def reply(messages: Sequence[Message]) -> str:
    asked = messages[-1].content
    return "nearly $12" if "price" in asked else "ninety people" if "carry" in asked else "October 1973"


@pytest.fixture
def llm() -> ScriptedLLM:
    return ScriptedLLM(reply)


@pytest.fixture
def kb(tmp_path: Path, llm: ScriptedLLM) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=llm, settings=SETTINGS) as opened:
        opened.ingest([Document(id="crisis", text=CRISIS, acl=("user:ann",)), Document(id="ferry", text=FERRY)])
        yield opened


def test_each_prompt_begins_with_the_one_before(kb: KnowledgeBase, llm: ScriptedLLM) -> None:
    conversation = kb.conversation()
    for question in ("When did the oil crisis begin?", "What was the price of a barrel?", "How many does it carry?"):
        assert conversation.ask(question).text
    for before, after in itertools.pairwise(llm.requests):
        assert after.messages[: len(before.messages)] == before.messages
        assert len(after.messages) == len(before.messages) + 2


def test_no_evidence_is_shown_twice(kb: KnowledgeBase, llm: ScriptedLLM) -> None:
    conversation = kb.conversation()
    conversation.ask("When did the oil crisis begin in October 1973?")
    conversation.ask("What was the price of a barrel in the oil crisis of October 1973?")
    whole = "\n".join(message.content for message in llm.requests[-1].messages)
    assert whole.count("The price of a barrel rose") == 1


def test_what_is_read_ahead_stands_first_in_the_next_prompt_and_is_not_repeated(
    kb: KnowledgeBase, llm: ScriptedLLM
) -> None:
    kb.settings = replace(SETTINGS, answer=replace(SETTINGS.answer, sentences=1, passages=1))
    conversation = kb.conversation()
    conversation.ask("When did the oil crisis begin?")
    assert conversation.prepare() > 0
    assert conversation.prepare() == 0
    ahead = llm.requests[-1].messages
    assert "Cars were small afterwards." in ahead[-1].content
    conversation.ask("What was the price of a barrel?")
    asked = llm.requests[-1].messages
    assert asked[:-1] == ahead[:-1]
    assert asked[-1].content.startswith(ahead[-1].content.rstrip())
    assert "\n".join(message.content for message in asked).count("The price of a barrel rose") == 1


def test_a_question_that_refers_is_searched_for_with_the_one_before(kb: KnowledgeBase) -> None:
    conversation = kb.conversation()
    assert conversation.meant("How many does it carry?") == "How many does it carry?"
    conversation.ask("When does the ferry leave?")
    assert conversation.meant("How many does it carry?") == "How many does it carry? When does the ferry leave?"


def test_a_saved_conversation_goes_on_as_if_it_had_not_ended(kb: KnowledgeBase, llm: ScriptedLLM) -> None:
    first = kb.conversation()
    first.ask("When did the oil crisis begin?")
    first.save()
    again = kb.conversation(first.id)
    assert (again.turns, again.past()) == (first.turns, first.past())
    assert kb.conversations() == (first.id,)
    first.forget()
    with pytest.raises(ConfigError, match="no conversation"):
        kb.conversation(first.id)


def test_a_conversation_is_its_owners(kb: KnowledgeBase) -> None:
    conversation = kb.conversation()
    conversation.ask("When did the oil crisis begin?")
    conversation.save()
    session = kb.seen_by(Principal(user="bob"))
    assert session.conversations() == ()
    with pytest.raises(ConfigError, match="no conversation"):
        session.conversation(conversation.id)


def test_what_is_gone_or_may_not_be_read_any_more_is_not_in_the_prompt(kb: KnowledgeBase, llm: ScriptedLLM) -> None:
    ann = kb.seen_by(Principal(user="ann")).conversation()
    ann.ask("When did the oil crisis begin?")
    assert ann.past().messages
    kb.relabel({"crisis": ("user:bob",)})
    assert ann.past() == history.NOTHING
    kb.relabel({"crisis": ("user:ann",)})
    kb.ingest([Document(id="crisis", text=CRISIS.replace("October", "November"), acl=("user:ann",))])
    assert ann.past() == history.NOTHING


def test_erasing_leaves_no_conversation_about_what_is_erased(kb: KnowledgeBase) -> None:
    about, other = kb.conversation(), kb.conversation()
    about.ask("What was the price of a barrel?")
    about.save()
    kb.remove("crisis")
    other.ask("How many people does the ferry carry?")
    other.save()
    kb.compact(erase=True)
    assert kb.conversations() == (other.id,)


def test_erasing_reaches_the_states_of_prompts_on_disk(kb: KnowledgeBase, tmp_path: Path) -> None:
    states = Snapshots(0, folder=tmp_path / "states", disk_bytes=10_000)
    states.put(Snapshot(tokens=np.asarray([1, 2], dtype=np.int32), data=b"the price of a barrel"))
    kb.settings = replace(SETTINGS, llm=replace(SETTINGS.llm, cache_folder=str(tmp_path / "states")))
    kb.remove("crisis")
    kb.compact()
    assert list((tmp_path / "states").glob("*.kv"))
    kb.compact(erase=True)
    assert not list((tmp_path / "states").glob("*.kv"))


def test_history_keeps_to_its_budget_and_cited_evidence_stays_longest(
    tmp_path: Path, kb: KnowledgeBase, llm: ScriptedLLM
) -> None:
    conversation = kb.conversation()
    for _ in range(3):
        conversation.ask("When did the oil crisis begin?")
        conversation.ask("How many people does the ferry carry?")
    kb.settings = replace(SETTINGS, answer=replace(SETTINGS.answer, history_tokens=90))
    conversation.ask("What was the price of a barrel?")
    past = llm.requests[-1].messages[1:-1]
    assert sum(llm.count_tokens(message.content) + 8 for message in past) <= 45


def test_a_closed_stream_leaves_no_turn_and_the_next_answer_as_usual(kb: KnowledgeBase, llm: ScriptedLLM) -> None:
    fresh, cut = kb.conversation(), kb.conversation()
    stream = cut.stream("What was the price of a barrel?")
    next(stream)
    with pytest.raises(ConfigError, match="still answering"):
        cut.ask("What was the price of a barrel?")
    stream.close()
    assert cut.turns == ()
    one, two = (found.ask("What was the price of a barrel?") for found in (fresh, cut))
    assert (one.text, one.citations) == (two.text, two.citations)
    assert llm.requests[-1] == llm.requests[-2]


@pytest.mark.parametrize("identifier", ["", "../x", "A", "a" * 33, "a/b"])
def test_an_id_is_no_path(kb: KnowledgeBase, identifier: str) -> None:
    with pytest.raises(ConfigError, match="no id"):
        kb.conversation(identifier)


@given(
    words=st.lists(
        st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5), min_size=1, max_size=8
    ),
    cuts=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4),
)
def test_what_is_unread_is_the_rest_and_stands_where_its_pieces_say(
    words: list[str], cuts: list[tuple[int, int]]
) -> None:
    text = " ".join(words)
    shown = [Span(min(one), max(one)) for one in cuts]
    passage = Passage(
        number=1, chunk_id="c", document_id="d", uri="u", title="t", text=text, pieces=(Span(0, len(text)),)
    )
    found = history.Past(shown={"d": shown}).unread([passage])
    left = {at for one in found for piece in one.pieces for at in range(*piece)}
    unseen = {at for at in range(len(text)) if not any(span.start <= at < span.end for span in shown)}
    assert left <= unseen
    assert all(text[at].isspace() for at in unseen - left)
    assert all(one.text == " ".join(piece.of(text) for piece in one.pieces) for one in found)


def test_the_form_of_an_answer_is_chosen_by_question_and_by_settings(tmp_path: Path) -> None:
    said = iter(["- ninety people", "ninety people", '{"carries": 90}', '{"people": "ninety people"}'])
    llm = ScriptedLLM(lambda _: next(said))
    chosen = replace(SETTINGS, answer=replace(SETTINGS.answer, samples=0))
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=llm, settings=chosen) as kb:
        kb.ingest([Document(id="ferry", text=FERRY)])
        question = "How many people does the ferry carry?"
        assert kb.ask(question, style="list").text == "- ninety people"
        kb.settings = replace(chosen, answer=replace(chosen.answer, style="full"))
        assert kb.conversation().ask(question).text == "ninety people"
        wanted = {"type": "object", "properties": {"carries": {"type": "integer"}}}
        refused = kb.ask(question, schema=wanted)
        assert (refused.status, refused.data) == ("refused", None)
        wanted = {"type": "object", "properties": {"people": {"type": "string"}}}
        answer = kb.ask(question, schema=wanted)
        assert (answer.status, answer.data) == ("grounded", {"people": "ninety people"})
        assert answer.citations[0].quote == "It carries ninety people."
        for wrong in ({"style": "poem"}, {"schema": 3}, {"schema": wanted, "style": "list"}):
            with pytest.raises(ConfigError):
                kb.ask(question, **wrong)  # type: ignore[arg-type]
