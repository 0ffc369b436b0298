"""The fixed sentences of answers in the language of the question."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import replace

from ragagent.text.language import of_question
from ragagent.types import Answer


def in_language_of_question(answer: Answer) -> Answer:
    """The answer with its reason in the language of its question, where that is told and there are words for it.

    What a reason says beyond the fixed sentence (the names of documents that disagree) stays as it is, and so do the
    answer's own words: they are the documents'.
    """
    language = of_question(answer.question)
    known = next((one for one in _sentences() if answer.reason.startswith(one)), None)
    if known is None or language not in _sentences()[known]:
        return answer
    return replace(answer, reason=_sentences()[known][language] + answer.reason[len(known) :])


@functools.cache
def _sentences() -> Mapping[str, Mapping[str, str]]:
    """Each sentence in English with its translations by language, of those that begin alike the longest first."""
    text = importlib.resources.files("ragagent.answer").joinpath("reasons.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)
    return {english: found[english] for english in sorted(found, key=len, reverse=True)}
