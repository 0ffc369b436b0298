"""What does the next question of a conversation cost beside the first, alone and with others in between?

Documents and questions are those of a set; each conversation is the first two answerable questions about one document.
Three ways, each with documents of its own: by itself, with `Conversation.prepare` between the questions, and two at a
time with it. Then several answers are sampled from one prompt beside a single one. The time to the first word is from
the question to the first piece of the answer: search, and the question whether there is an answer, are in it.

    python -m ragagent.eval.perf.conversation --set sets/squad --documents 300 --conversations 12
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ragagent.answer.linter import parting
from ragagent.app import KnowledgeBase, parts
from ragagent.app.conversation import Conversation
from ragagent.errors import ConfigError
from ragagent.eval import datasets
from ragagent.eval.environment import facts
from ragagent.models.llama import LlamaModel
from ragagent.models.wrapped import Asking, Wrapped
from ragagent.protocols import LLM
from ragagent.settings import AnswerSettings, LlmSettings, Settings
from ragagent.types import Completion, Delta, Message, Sampling

QUESTION = "What does the next question of a conversation cost beside the first?"
SAMPLES = 5
MOST_WRITTEN = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question: the seconds to its first word, and its first request with what that reused."""

    first_word: float
    prompt: tuple[Message, ...]
    reused: int
    read: int


class Recorder(Wrapped):
    """A model that keeps what it was asked and what that reused."""

    def __init__(self, llm: LLM) -> None:
        super().__init__(llm)
        self.requests: list[tuple[tuple[Message, ...], Completion]] = []

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Completion:
        """As the model's."""
        found = super().chat(messages, **asking)
        self.requests.append((tuple(messages), found))
        return found

    def stream(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Iterator[Delta]:
        """As the model's."""
        for delta in super().stream(messages, **asking):
            if delta.completion is not None:
                self.requests.append((tuple(messages), delta.completion))
            yield delta


def main() -> None:
    """Prints one line of JSON."""
    options = _options()
    settings = Settings(
        llm=LlmSettings(model=options.model or LlmSettings().model, cache_mib=options.cache_mib),
        # None is refused, so that every question has a first word, and it comes as soon as it is written.
        answer=AnswerSettings(min_confidence=0.0, sentences=options.sentences),
    )
    model = parts.open_llm(settings)
    if not isinstance(model, LlamaModel):
        raise ConfigError("this measures a model that runs here; give one in GGUF form")
    recorder = Recorder(model)
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.open(Path(folder) / "kb", settings=settings, llm=recorder) as kb,
    ):
        kb.ingest(list(itertools.islice(datasets.documents(options.set), options.documents)))
        pairs = _pairs(options.set, kb, 3 * options.conversations)
        kb.ask(pairs[0][0])
        # Each way has documents of its own, so that nothing of them was read before.
        alone = _alone(kb, recorder, pairs[0::3], ahead=False)
        ahead = _alone(kb, recorder, pairs[1::3], ahead=True)
        interleaved = _interleaved(kb, recorder, pairs[2::3])
        figures = {
            "alone": _figures(alone, model),
            "read ahead": _figures(ahead, model),
            "read ahead, interleaved": _figures(interleaved, model),
            "samples": _samples([first.prompt for first, _ in alone], model),
        }
    model.close()
    print(json.dumps({"question": QUESTION, "model": model.name, **figures, "environment": facts()}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--set", type=Path, required=True, help="the folder of a set with questions and answers")
    parser.add_argument("--model", help="as in the setting llm.model")
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--sentences", type=int, default=AnswerSettings().sentences)
    parser.add_argument("--cache-mib", type=int, default=LlmSettings().cache_mib)
    return parser.parse_args()


def _pairs(folder: Path, kb: KnowledgeBase, count: int) -> list[tuple[str, str]]:
    """The first two answerable questions about each document, documents far apart first."""
    there = {document.id for document in kb.documents()}
    by_document: dict[str, list[str]] = {}
    for question in datasets.questions(folder):
        if not question.impossible and question.document_ids and question.document_ids[0] in there:
            by_document.setdefault(question.document_ids[0], []).append(question.text)
    pairs = [(asked[0], asked[1]) for asked in by_document.values() if len(asked) > 1]
    return pairs[:: max(1, len(pairs) // count)][:count]


def _ask(conversation: Conversation, recorder: Recorder, question: str) -> Asked:
    recorder.requests.clear()
    begin = time.perf_counter()
    first_word = 0.0
    for event in conversation.stream(question):
        if event.kind == "text" and not first_word:
            first_word = time.perf_counter() - begin
    prompt, completion = recorder.requests[0]
    usage = completion.usage
    return Asked(
        first_word=first_word or time.perf_counter() - begin,
        prompt=prompt,
        reused=usage.reused_tokens,
        read=usage.prompt_tokens - usage.reused_tokens,
    )


def _alone(
    kb: KnowledgeBase, recorder: Recorder, pairs: Sequence[tuple[str, str]], *, ahead: bool
) -> list[tuple[Asked, Asked]]:
    found: list[tuple[Asked, Asked]] = []
    for one, other in pairs:
        conversation = kb.conversation()
        first = _ask(conversation, recorder, one)
        if ahead:
            conversation.prepare()
        found.append((first, _ask(conversation, recorder, other)))
    return found


def _interleaved(kb: KnowledgeBase, recorder: Recorder, pairs: Sequence[tuple[str, str]]) -> list[tuple[Asked, Asked]]:
    """Two conversations at a time: the first question of both, then the second of both."""
    found: list[tuple[Asked, Asked]] = []
    for at in range(0, len(pairs) - 1, 2):
        there = [(kb.conversation(), pair) for pair in pairs[at : at + 2]]
        first = [_ask(conversation, recorder, pair[0]) for conversation, pair in there]
        for conversation, _ in there:
            conversation.prepare()
        second = [_ask(conversation, recorder, pair[1]) for conversation, pair in there]
        found += zip(first, second, strict=True)
    return found


def _figures(asked: Sequence[tuple[Asked, Asked]], model: LlamaModel) -> dict[str, Any]:
    shared = [parting(first.prompt, second.prompt, model).shared for first, second in asked]
    return {
        "conversations": len(asked),
        "first_word_s": [_median(one.first_word for one, _ in asked), _median(two.first_word for _, two in asked)],
        "first_word_ratio": _median(two.first_word / one.first_word for one, two in asked),
        "tokens_read": [_median(one.read for one, _ in asked), _median(two.read for _, two in asked)],
        "shared_tokens": _median(shared),
        "reused_share": _median(min(1.0, two.reused / length) for (_, two), length in zip(asked, shared, strict=True)),
        "least_reused_share": min(two.reused / length for (_, two), length in zip(asked, shared, strict=True)),
    }


def _samples(prompts: Sequence[Sequence[Message]], model: LlamaModel) -> dict[str, Any]:
    """One answer and several to the same prompts, each with a number first, so that nothing of it was read before."""
    ones: list[float] = []
    manys: list[float] = []
    sampling = Sampling(temperature=0.7)
    for number, prompt in enumerate(prompts):
        for several in (True, False) if number % 2 else (False, True):
            head = Message(role="system", content=f"{number} {several} {prompt[0].content}")
            messages = [head, *prompt[1:]]
            begin = time.perf_counter()
            if several:
                model.sample(messages, count=SAMPLES, max_tokens=MOST_WRITTEN, sampling=sampling)
            else:
                model.chat(messages, max_tokens=MOST_WRITTEN, sampling=sampling)
            (manys if several else ones).append(time.perf_counter() - begin)
    return {
        "count": SAMPLES,
        "one_s": _median(ones),
        "several_s": _median(manys),
        "ratio": _median(many / one for one, many in zip(ones, manys, strict=True)),
    }


def _median(values: Any) -> float:
    return round(float(statistics.median(values)), 4)


if __name__ == "__main__":
    main()
