"""The other wordings of a question that a search tries beside it, as the settings want."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragagent.protocols import LLM
from ragagent.retrieve import confidence, hops, wordings
from ragagent.retrieve.variants import Variant
from ragagent.settings import Understanding
from ragagent.types import Hit

WEIGHT = 0.5
"""What the search for a model's wording counts beside the question's own."""
_EVIDENCE = 2
_MODELS = ("variants", "hypothetical", "step-back")
"""Those that bring little where the plain search is sure, and cost seconds."""

Search = Callable[[str, int], Sequence[Hit]]


def variants(
    question: str, found: Sequence[Hit], chosen: Sequence[Understanding], llm: Callable[[], LLM], search: Search
) -> list[Variant]:
    """The wordings to search for beside `question`, which found `found`; each asks the model once, or not at all."""
    tried: list[Variant] = []
    if "hops" in chosen:
        tried += [Variant(kind="hop", text=text, weight=hops.WEIGHT) for text in hops.second(question, found)]
    if "decompose" in chosen:
        tried += _parts(question, llm(), search)
    if not confidence.sure(found):
        tried += _worded(question, chosen, llm)
    first: dict[str, Variant] = {}
    for one in tried:
        first.setdefault(one.text, one)
    return [one for text, one in first.items() if text and text != question]


def spared(chosen: Sequence[Understanding], found: Sequence[Hit]) -> list[Understanding]:
    """The wordings that are left out because the plain search is sure of what it found."""
    return [one for one in chosen if one in _MODELS] if confidence.sure(found) else []


def _parts(question: str, llm: LLM, search: Search) -> list[Variant]:
    """The first step of a question of several, and the next one that follows from what the first finds."""
    first = wordings.first_part(question, llm)
    if not first:
        return []
    evidence = search(first, _EVIDENCE)
    then = wordings.next_part(question, evidence, llm) if evidence else ""
    return [Variant(kind="first step", text=first, weight=WEIGHT), Variant(kind="next step", text=then, weight=WEIGHT)]


def _worded(question: str, chosen: Sequence[Understanding], llm: Callable[[], LLM]) -> list[Variant]:
    tried: list[Variant] = []
    if "variants" in chosen:
        found = wordings.variants(question, llm())
        tried += [Variant(kind="other wording", text=text, weight=WEIGHT) for text in found]
    if "hypothetical" in chosen:
        passage = wordings.hypothetical(question, llm())
        tried.append(Variant(kind="hypothetical passage", text=passage, weight=WEIGHT, mode="dense"))
    if "step-back" in chosen:
        tried.append(Variant(kind="step back", text=wordings.step_back(question, llm()), weight=WEIGHT))
    return tried
