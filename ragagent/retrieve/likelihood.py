"""The relevance of a passage by a language model: how likely it is to ask this question after reading it.

The mean log-probability of the question's tokens given the passage (query likelihood; Sachan et al., EMNLP 2022). One
model serves for answers and for this, nothing is sampled, and what all prompts begin with is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragagent import prompts
from ragagent.errors import ConfigError
from ragagent.models.reranking import passage
from ragagent.protocols import LLM, EstimatesText
from ragagent.types import Hit, Message

_PASSAGE_CHARS = 1200
_QUESTION_CHARS = 1000


class QueryLikelihood:
    """Judges passages with the language model in force. Safe to call from several threads, which take turns.

    Costs reading each passage: about a second for 200 tokens of a model of half a billion parameters on two cores.
    """

    name = "query likelihood"

    def __init__(self, llm: Callable[[], LLM]) -> None:
        self._llm = llm
        self._prepared: EstimatesText | None = None

    def prepare(self) -> None:
        """Starts the model. Raises ConfigError for one that does not say how likely a text is, as no endpoint does."""
        model = self._estimating()
        if model is not self._prepared:
            model.log_likelihood([Message(role="user", content="Passage")], "question")
            self._prepared = model

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """The mean log-probability of the question's tokens after each of `hits`, at most 0."""
        model, asked = self._estimating(), query[:_QUESTION_CHARS]
        return [model.log_likelihood(_messages(hit), asked) for hit in hits]

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


def _messages(hit: Hit) -> list[Message]:
    text = prompts.load("likely_question").render(passage=passage(hit)[:_PASSAGE_CHARS])
    return [Message(role="user", content=text)]
