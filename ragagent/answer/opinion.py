"""What the model thinks of words that are to be shown: do they answer the question?"""

from __future__ import annotations

from collections.abc import Sequence

from ragagent import prompts
from ragagent.answer import quote
from ragagent.protocols import LLM
from ragagent.types import Citation, Evidence, Message, Usage


def stated(question: str, cited: Sequence[Citation], evidence: Evidence, llm: LLM) -> tuple[float | None, Usage]:
    """The log-probability that the model says yes when it is asked whether the cited words answer the question.

    Asked of those words and what they stand under alone, a prompt of about a hundred tokens: with all passages before
    it the model agrees too easily. The grammar leaves nothing else to say, so that the probability of saying it is all
    that comes back. None where nothing is cited or the model does not tell.
    """
    if not cited:
        return None, Usage()
    lines = dict.fromkeys(line for citation in cited for line in (*above(citation, evidence), citation.quote))
    text = prompts.load("stated").render(text="\n".join(map(one_line, lines)), question=one_line(question))
    completion = llm.chat([Message(role="user", content=text)], max_tokens=4, grammar=quote.yes())
    return completion.mean_logprob, completion.usage


def above(citation: Citation, evidence: Evidence) -> Sequence[str]:
    """The title and the headings that cited words stand under: what they speak of is often said only there."""
    found = (one for one in evidence.passages if one.document_id == citation.document_id and citation.quote in one.text)
    passage = next(found, None)
    return [citation.title, *passage.headings] if passage else [citation.title]


def one_line(text: str) -> str:
    """A text as one line, so that it cannot imitate the layout of the prompt."""
    return " ".join(text.split())
