"""The demonstration behind `make demo`: real models, real documents, four questions.

    python examples/demo.py --kb .ragagent/demo

It fetches and verifies the two default models, brings in `examples/documents` and `docs`, and asks. The last question
has no answer in the documents and must be refused. Exits with 1 when an answer is not what the documents say.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from ragagent import Answer, KnowledgeBase

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("all-MiniLM-L6-v2", "qwen2.5-coder-1.5b-instruct")
SOURCES = (ROOT / "examples" / "documents", ROOT / "docs")

# A question, and what its answer has to contain; None where it has to be refused.
QUESTIONS: tuple[tuple[str, str | None], ...] = (
    ("What notice period does the cleaning contract have?", "three months"),
    ("How much does the Linden Room cost per hour?", "34.00"),
    ("What did the electricity meter read on 30 September 2024?", "204,090"),
    ("What is the password of the wireless network?", None),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kb", default=".ragagent/demo")
    kb_folder = parser.parse_args().kb
    command = [sys.executable, "-m", "ragagent", "models", "pull", "--quiet", *MODELS]
    if subprocess.run(command, check=False).returncode:
        return 1
    with KnowledgeBase.open(kb_folder) as kb:
        for source in SOURCES:
            report = kb.ingest(source)
            say(
                f"{source.relative_to(ROOT)}: {report.added} added, {report.updated} updated, "
                f"{report.unchanged} unchanged, {report.chunks} chunks, {report.seconds:.1f} s"
            )
        right = [ask(kb, question, expected) for question, expected in QUESTIONS]
    say(f"\n{sum(right)} of {len(right)} as they should be. Try your own:")
    say(f'  .venv/bin/ragagent ask --kb {kb_folder} "What does a lost key cost?"')
    return 0 if all(right) else 1


def ask(kb: KnowledgeBase, question: str, expected: str | None) -> bool:
    begin = time.perf_counter()
    answer = kb.ask(question)
    say(f"\n? {question}")
    show(answer)
    say(f"  {answer.status}, {time.perf_counter() - begin:.1f} s")
    return is_right(kb, answer, expected)


def show(answer: Answer) -> None:
    if answer.status == "refused":
        say(f"  Not answered: {answer.reason}")
    else:
        say(f"  {answer.text}")
    for number, citation in enumerate(answer.citations, start=1):
        page = f", page {citation.page}" if citation.page is not None else ""
        mark = "verified" if citation.verified else "NOT verified"
        say(f'  [{number}] "{citation.quote}"\n      {citation.title}{page}, {mark}')


def is_right(kb: KnowledgeBase, answer: Answer, expected: str | None) -> bool:
    """Whether the answer holds what it should, and every quote is the document's own words."""
    if expected is None:
        return answer.status == "refused"
    words = [answer.text, *(citation.quote for citation in answer.citations)]
    exact = all(
        citation.span is not None
        and (document := kb.document(citation.document_id)) is not None
        and citation.span.of(document.text) == citation.quote
        for citation in answer.citations
    )
    return bool(answer.citations) and exact and any(expected in text for text in words)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
