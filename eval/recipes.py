"""Answers beside others' way to them: LangChain's documented hybrid recipe, and a plain prompt on our own evidence.

    python -m ragagent.eval.recipes --data sets/squad --questions 300 --model NAME --kb kbs --out runs --python PYTHON

Every way answers the same questions, all of which have an answer in the documents, with the same language model. The
ways are `ragagent`, `whole` (ragagent, passages not compressed), `plain` (the passages that ragagent reads under the
recipe's prompt, nothing constrained) and `langchain`, which needs PYTHON, the interpreter of an environment with
langchain-classic, langchain-community, langchain-huggingface, langchain-text-splitters, llama-cpp-python, rank-bm25,
faiss-cpu and sentence-transformers. Each answer is appended to a file below `--out`, and a second run asks what is
missing. Figures are over the questions that every way has answered.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragagent.app import KnowledgeBase
from ragagent.eval import answers, datasets
from ragagent.eval.answer_records import QuestionRecord, Records
from ragagent.eval.corpus import opened
from ragagent.eval.datasets import Question
from ragagent.eval.statistics import paired_difference
from ragagent.models.embedding import DEFAULT_EMBEDDER
from ragagent.models.store import ModelStore
from ragagent.retrieve import pack
from ragagent.settings import Settings
from ragagent.types import Answer, Message, Usage

OURS = "ragagent"
WAYS = (OURS, "whole", "plain", "langchain")
_WHOLE_SENTENCES = 10_000
_HERE = Path(__file__).parent
_PROMPT = _HERE / "rag_prompt.txt"
_MAX_TOKENS = 256

Found = Mapping[str, QuestionRecord]


def main() -> None:
    """Prints a table in Markdown."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = answers.drawn(datasets.questions(arguments.data), arguments.questions, arguments.seed, 0.0)
    for model in arguments.model:
        found = {way: _found(way, model, asked, arguments) for way in arguments.ways}
        sys.stdout.write(table(model, found))
        sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a question set with documents.jsonl")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", nargs="+", default=[Settings().llm.model], help="names of language models")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[OURS, "whole", "plain"])
    parser.add_argument("--kb", type=Path, help="where the knowledge base of the set is kept")
    parser.add_argument("--out", type=Path, required=True, help="folder of the records")
    parser.add_argument("--python", help="the interpreter of LangChain's environment")
    arguments = parser.parse_args()
    if "langchain" in arguments.ways and not arguments.python:
        parser.error("the way langchain needs --python")
    return arguments


def _found(way: str, model: str, asked: Sequence[Question], arguments: argparse.Namespace) -> Found:
    """The records of one way by question."""
    file = arguments.out / f"{way}-{model}.jsonl"
    if way == "langchain":
        return _by_langchain(file, model, asked, arguments)
    settings = Settings()
    sentences = _WHOLE_SENTENCES if way == "whole" else settings.answer.sentences
    settings = replace(
        settings,
        llm=replace(settings.llm, model=model),
        answer=replace(settings.answer, sentences=sentences),
    )
    with opened(arguments.data, arguments.kb, settings) as corpus:
        facts = answers.described(corpus, arguments.data, settings, {"way": way})
        ask = plain if way == "plain" else answers.ask
        with Records(file, facts) as kept:
            return {one.id: kept.recorded(one.id, functools.partial(ask, corpus.kb, one)) for one in asked}


def plain(kb: KnowledgeBase, question: Question) -> QuestionRecord:
    """What the model says under a plain prompt to the passages that it would read for an answer."""
    begin = time.perf_counter()
    stream = kb.ask_stream(question.text)
    evidence = next(stream).evidence
    stream.close()
    context = pack.rendered(evidence.passages) if evidence else ""
    prompt = _PROMPT.read_text(encoding="utf-8").format(question=question.text, context=context)
    completion = kb.llm.chat([Message(role="user", content=prompt)], max_tokens=_MAX_TOKENS)
    return said(question, completion.text, time.perf_counter() - begin, completion.usage)


def said(question: Question, text: str, seconds: float, usage: Usage) -> QuestionRecord:
    """The record of a text without citations, whatever it says."""
    answer = Answer(question=question.text, text=text, status="grounded", confidence=0.0, usage=usage)
    return answers.recorded(lambda _: None, question, answer, seconds)


def _by_langchain(file: Path, model: str, asked: Sequence[Question], arguments: argparse.Namespace) -> Found:
    questions = file.with_suffix(".questions.json")
    questions.write_text(json.dumps([{"id": one.id, "text": one.text} for one in asked]), encoding="utf-8")
    store = ModelStore()
    paths = [str(arguments.data / datasets.DOCUMENTS), str(questions), str(store.resolve(DEFAULT_EMBEDDER))]
    program = [arguments.python, "-P", str(_HERE / "answers_langchain.py")]
    subprocess.run([*program, *paths, str(store.resolve(model)), str(file)], check=True)
    rows = {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    return {
        one.id: said(one, row["text"], row["seconds"], Usage(prompt_tokens=row["tokens"]))
        for one in asked
        if (row := rows.get(one.id))
    }


def table(model: str, found: Mapping[str, Found]) -> str:
    """A row for each way: its figures, and how far it is from ours in what counts."""
    common = sorted(set.intersection(*(set(records) for records in found.values())))
    rows = {way: [records[one] for one in common] for way, records in found.items()}
    heads = ("contains", "F1", "EM", "cites gold", "exact", "refused", "s p50", "tokens read")
    lines = [f"| {model}, {len(common)} questions | {' | '.join(heads)} | contains beside ours |"]
    lines.append(f"|---|{'--:|' * len(heads)}---|")
    for way, records in rows.items():
        gap = _gap(rows[OURS], records) if OURS in rows and way != OURS else ""
        lines.append(f"| {way} | {' | '.join(_cells(records))} | {gap} |")
    return "\n".join(lines) + "\n"


def _cells(records: Sequence[QuestionRecord]) -> list[str]:
    right = [one for one in records if one.scores["contains"]]
    shown = [citation for one in records for citation in one.citations]
    cited = np.mean([one.scores["gold cited"] for one in right]) if right and shown else None
    means = [float(np.mean([one.scores[name] for one in records])) for name in ("contains", "F1", "EM")]
    return [
        *(f"{mean:.3f}" for mean in means),
        "-" if cited is None else f"{cited:.3f}",
        "-" if not shown else f"{sum(one.exact for one in shown)} of {len(shown)}",
        f"{np.mean([one.refused for one in records]):.3f}",
        f"{np.median([one.seconds for one in records]):.2f}",
        f"{np.mean([one.prompt_tokens for one in records]):.0f}",
    ]


def _gap(ours: Sequence[QuestionRecord], theirs: Sequence[QuestionRecord]) -> str:
    values = ([one.scores["contains"] for one in records] for records in (ours, theirs))
    interval = paired_difference(*values).interval
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


if __name__ == "__main__":
    main()
