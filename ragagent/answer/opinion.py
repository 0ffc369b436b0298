"""What the model thinks of words that are to be shown: do they answer the question, and is a draft that answer?"""

from __future__ import annotations

from collections.abc import Sequence

from ragagent import prompts
from ragagent.answer import quote
from ragagent.answer.quote import Documents
from ragagent.protocols import LLM
from ragagent.text import columns
from ragagent.text.sentences import sentences
from ragagent.types import Citation, Evidence, Message, Passage, Span, Usage

_BEFORE_CHARS = 400


def stated(
    question: str, cited: Sequence[Citation], evidence: Evidence, llm: LLM, document: Documents
) -> tuple[float | None, Usage]:
    """The log-probability that the model says yes when it is asked whether the cited words answer the question.

    Asked of those words, the sentence before them and what they stand under alone, a prompt of about a hundred tokens:
    with all passages before it the model agrees too easily. The grammar leaves nothing else to say, so that the
    probability of saying it is all that comes back. None where nothing is cited or the model does not tell.
    """
    if not cited:
        return None, Usage()
    text = _read_for(cited, evidence, document)
    return _yes(prompts.load("stated").render(text=text, question=one_line(question)), llm)


def confirmed(
    question: str, answer: str, cited: Sequence[Citation], evidence: Evidence, llm: LLM, document: Documents
) -> tuple[float | None, Usage]:
    """The log-probability that the model says yes when it is asked whether `answer` is right, by the words it cites.

    It sees the same text as for `stated`, and reads it once where both are asked. `stated` tells questions without an
    answer from others, this one right drafts from wrong ones.
    """
    if not cited:
        return None, Usage()
    text = _read_for(cited, evidence, document)
    asked = prompts.load("confirmed").render(text=text, question=one_line(question), answer=one_line(answer))
    return _yes(asked, llm)


def _yes(asked: str, llm: LLM) -> tuple[float | None, Usage]:
    completion = llm.chat([Message(role="user", content=asked)], max_tokens=4, grammar=quote.yes())
    return completion.mean_logprob, completion.usage


def _read_for(cited: Sequence[Citation], evidence: Evidence, document: Documents) -> str:
    """The cited words with what they are read under and after, each line once."""
    lines = dict.fromkeys(line for one in cited for line in (*above(one, evidence), _in_place(one, evidence, document)))
    return "\n".join(map(one_line, lines))


def above(citation: Citation, evidence: Evidence) -> Sequence[str]:
    """The title and the headings that cited words stand under: what they speak of is often said only there."""
    passage = _passage(citation, evidence)
    return [citation.title, *passage.headings] if passage else [citation.title]


def read(citation: Citation, evidence: Evidence) -> str:
    """The cited words; a row of a table with the names of its columns, without which it says little."""
    passage = _passage(citation, evidence)
    if passage is None or "|" not in citation.quote:
        return citation.quote
    start = passage.text.index(citation.quote)
    return columns.rows_at(passage.text, start, start + len(citation.quote)) or citation.quote


def _passage(citation: Citation, evidence: Evidence) -> Passage | None:
    found = (one for one in evidence.passages if one.document_id == citation.document_id and citation.quote in one.text)
    return next(found, None)


def _in_place(citation: Citation, evidence: Evidence, document: Documents) -> str:
    """The cited words with the sentence before them, which often says whom or what they speak of."""
    shown = read(citation, evidence)
    if shown != citation.quote:
        return shown
    source = document(citation.document_id) if citation.span is not None else None
    if source is None or citation.span is None:
        return citation.quote
    near = Span(max(0, citation.span.start - _BEFORE_CHARS), citation.span.start)
    before = sentences(source.text, near)
    return source.text[before[-1].start : citation.span.end] if before else citation.quote


def one_line(text: str) -> str:
    """A text as one line, so that it cannot imitate the layout of the prompt."""
    return " ".join(text.split())
