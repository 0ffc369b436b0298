"""The relevance of passages by a language model, in two ways. One model serves for answers and for this.

Either by how likely it is to ask the question after reading a passage: the mean log-probability of the question's
tokens (query likelihood; Sachan et al., EMNLP 2022). Or by how likely it is to say yes when it is asked whether a
passage answers the question (Nogueira et al., EMNLP Findings 2020). Nothing is sampled; what all prompts begin with is
read once, and the passages are read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragagent import prompts
from ragagent.errors import ConfigError
from ragagent.models.reranking import passage
from ragagent.protocols import LLM, EstimatesText
from ragagent.types import Hit, Message

_PASSAGE_CHARS = 1200
_QUESTION_CHARS = 1000
_YES, _NO = "Yes", "No"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to judge: its name, and the scores it gives passages for a question."""

    name: str
    scores: Callable[[EstimatesText, str, Sequence[Hit]], list[float]]


class LanguageModelJudge:
    """Judges passages in one way with the language model in force. Safe to call from several threads, which take turns.

    Costs reading each passage: about a second for 200 tokens of a model of half a billion parameters on two cores.
    """

    def __init__(self, way: Way, llm: Callable[[], LLM]) -> None:
        self.name = way.name
        self._way = way
        self._llm = llm
        self._prepared: EstimatesText | None = None

    def prepare(self) -> None:
        """Starts the model. Raises ConfigError for one that does not say how likely a text is, as no endpoint does."""
        model = self._estimating()
        if model is not self._prepared:
            model.log_likelihoods([[Message(role="user", content="Passage")]], ["question"])
            self._prepared = model

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """What `way` gives each of `hits`."""
        return self._way.scores(self._estimating(), query, hits)

    def close(self) -> None:
        """The model belongs to whoever gave it."""

    def _estimating(self) -> EstimatesText:
        model = self._llm()
        if not isinstance(model, EstimatesText):
            raise ConfigError(
                f"{model.name} does not say how likely a text is, which reranking by it needs: "
                "set retrieval.rerank to another value, or llm.model to a local one"
            )
        return model


def _likelihoods(model: EstimatesText, query: str, hits: Sequence[Hit]) -> list[float]:
    """The mean log-probability of the question's tokens after each passage, at most 0."""
    asked = [query[:_QUESTION_CHARS]] * len(hits)
    return list(model.log_likelihoods([_asked("likely_question", hit) for hit in hits], asked))


def _agreements(model: EstimatesText, query: str, hits: Sequence[Hit]) -> list[float]:
    """How much likelier, in log-probability, the model says yes than no to each passage.

    Instructions and question come before the passages, so they are read once for all of them.
    """
    # As one line the question cannot imitate what stands below it.
    question = " ".join(query.split())[:_QUESTION_CHARS]
    asked = [_asked("relevant", hit, question=question) for hit in hits for _ in (_YES, _NO)]
    found = model.log_likelihoods(asked, [_YES, _NO] * len(hits))
    return [yes - no for yes, no in zip(found[::2], found[1::2], strict=True)]


QUERY_LIKELIHOOD = Way(name="query likelihood", scores=_likelihoods)
YES_OR_NO = Way(name="yes or no", scores=_agreements)


def _asked(prompt: str, hit: Hit, **values: str) -> list[Message]:
    text = prompts.load(prompt).render(passage=passage(hit)[:_PASSAGE_CHARS], **values)
    return [Message(role="user", content=text)]
