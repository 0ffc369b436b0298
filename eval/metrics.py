"""What a ranking, an answer, a citation or a refusal is worth. Pure functions of plain values.

Rankings are lists of document ids, best first, each id once; judgements map a document id to its gain.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragagent.types import Span

Numbers = Sequence[float] | npt.NDArray[np.float64]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII_PUNCTUATION = frozenset(string.punctuation)


def ndcg(ranking: Sequence[str], gains: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `k`, in 0..1; 0 when nothing is relevant.

    The gain enters as it is (not 2**gain - 1) and the discount is log2(rank + 1), as in trec_eval's ndcg_cut
    (Järvelin and Kekäläinen 2002, with the discount from rank 1). Documents without a judgement count as gain 0.
    """
    ideal = _discounted(sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k])
    return _discounted([max(0, gains.get(item, 0)) for item in ranking[:k]]) / ideal if ideal else 0.0


def recall(ranking: Sequence[str], gains: Mapping[str, int], k: int = 10) -> float:
    """The share of the relevant documents (gain above 0) among the first `k`; 0 when nothing is relevant."""
    relevant = _relevant(gains)
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], gains: Mapping[str, int], k: int | None = None) -> float:
    """1 / rank of the first relevant document among the first `k` (all when None), else 0. Its mean is the MRR."""
    relevant = _relevant(gains)
    ranks = (rank for rank, item in enumerate(ranking[:k], start=1) if item in relevant)
    return 1.0 / next(ranks, float("inf"))


def average_precision(ranking: Sequence[str], gains: Mapping[str, int], k: int | None = None) -> float:
    """The mean over all relevant documents of the precision at each one's rank, 0 for one not in the first `k`."""
    relevant = _relevant(gains)
    found, total = 0, 0.0
    for rank, item in enumerate(ranking[:k], start=1):
        if item in relevant:
            found += 1
            total += found / rank
    return total / len(relevant) if relevant else 0.0


def normalise(text: str) -> str:
    """`text` as the SQuAD script compares it: lower case, no punctuation, no English articles, single spaces.

    Beyond that script, Unicode punctuation goes as well as ASCII (as MLQA's script does), and compatibility forms
    are folded (NFKC), so that full-width digits equal plain ones.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(c for c in folded if c not in _ASCII_PUNCTUATION and unicodedata.category(c)[0] != "P")
    return " ".join(_ARTICLES.sub(" ", kept).split())


def answer_tokens(text: str) -> list[str]:
    """The units F1 counts: words of the normalised text, and single characters of scripts written without spaces."""
    tokens: list[str] = []
    for word in normalise(text).split():
        start = 0
        for position, character in enumerate(word):
            if _unspaced(character):
                tokens += [word[start:position]] if start < position else []
                tokens.append(character)
                start = position + 1
        tokens += [word[start:]] if start < len(word) else []
    return tokens


def exact_match(answer: str, golds: Sequence[str]) -> bool:
    """Whether the answer's tokens are those of a gold answer; without golds, whether it has none."""
    own = answer_tokens(answer)
    return any(own == answer_tokens(gold) for gold in golds or ("",))


def f1(answer: str, golds: Sequence[str]) -> float:
    """The best token F1 over the gold answers; without golds, 1 for an answer without tokens and 0 for any other."""
    return max(token_f1(answer, gold) for gold in golds or ("",))


def token_f1(first: str, second: str) -> float:
    """2pr / (p + r) over the tokens two texts have in common, counted with repeats; symmetric.

    1 for two texts without tokens, 0 when just one has none (Rajpurkar and others 2016 and 2018).
    """
    a, b = Counter(answer_tokens(first)), Counter(answer_tokens(second))
    if not a or not b:
        return float(not a and not b)
    return 2.0 * (a & b).total() / (a.total() + b.total())


def contains(answer: str, golds: Sequence[str]) -> bool:
    """Whether the tokens of a gold answer stand in the answer one after another: "12" is not in "2012"."""
    own = answer_tokens(answer)
    return any(_within(answer_tokens(gold), own) for gold in golds)


def quote_is_exact(text: str, quote: str, span: Span | None) -> bool:
    """Whether `quote` is what stands at `span` in the document's `text`, to the character; an empty quote is not."""
    if span is None or not quote or not 0 <= span.start < span.end <= len(text):
        return False
    return span.of(text) == quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """How well refusing was placed. Each share is None when there is nothing to take a share of."""

    refused: int
    rightly: int
    impossible: int
    answerable: int

    @property
    def precision(self) -> float | None:
        """The share of the refused questions that had no answer."""
        return self.rightly / self.refused if self.refused else None

    @property
    def recall(self) -> float | None:
        """The share of the questions without an answer that were refused."""
        return self.rightly / self.impossible if self.impossible else None

    @property
    def false_share(self) -> float | None:
        """The share of the answerable questions that were refused."""
        return (self.refused - self.rightly) / self.answerable if self.answerable else None


def refusals(refused: Sequence[bool], impossible: Sequence[bool]) -> Refusals:
    """The counts of refusals against what should have been refused."""
    pairs = list(zip(refused, impossible, strict=True))
    return Refusals(
        refused=sum(refused),
        rightly=sum(a and b for a, b in pairs),
        impossible=sum(impossible),
        answerable=len(pairs) - sum(impossible),
    )


def risk_coverage(confidence: Numbers, correct: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coverage and risk, float64[m] each, of answering only above each confidence in turn, the highest first.

    Risk is the mean of 1 - `correct` over what is answered (El-Yaniv and Wiener 2010). Equal confidences are
    answered together, so the curve does not depend on the order of the input.
    """
    scores, losses = _paired(confidence, 1.0 - np.asarray(correct, dtype=np.float64))
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    answered = last_of_ties + 1
    return answered / len(order), np.cumsum(losses[order])[last_of_ties] / answered


def aurc(confidence: Numbers, correct: Numbers) -> float:
    """The area under the risk-coverage curve as a step function, lower is better: the mean risk over coverages.

    With all confidences distinct it is the mean of the risks at 1..n answered (Geifman, Uziel and El-Yaniv 2019).
    """
    coverage, risk = risk_coverage(confidence, correct)
    return float(np.sum(np.diff(coverage, prepend=0.0) * risk))


def calibration_error(confidence: Numbers, correct: Numbers, bins: int = 10) -> float:
    """The expected calibration error: |mean correct - mean confidence| in `bins` equal widths, weighted by count.

    Bin b holds confidences in (b/bins, (b+1)/bins], the first one 0 too (Guo and others 2017).
    """
    scores, hits = _paired(confidence, correct)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError("confidences must be in 0..1")
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    index = np.digitize(scores, inner_edges, right=True)
    gaps = np.bincount(index, weights=hits, minlength=bins) - np.bincount(index, weights=scores, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def _discounted(gains: Sequence[int]) -> float:
    values = np.asarray(gains, dtype=np.float64)
    return float(np.sum(values / np.log2(np.arange(2, len(values) + 2))))


def _relevant(gains: Mapping[str, int]) -> set[str]:
    return {item for item, gain in gains.items() if gain > 0}


def _within(needle: list[str], tokens: list[str]) -> bool:
    size = len(needle)
    return size > 0 and any(tokens[at : at + size] == needle for at in range(len(tokens) - size + 1))


def _unspaced(character: str) -> bool:
    """Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar letters: scripts that put no space between words."""
    code = ord(character)
    return (
        0x3005 <= code <= 0x3007
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
        or 0x0E00 <= code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
    )


def _paired(first: Numbers, second: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"two equally long lists that are not empty are needed, not {a.shape} and {b.shape}")
    return a, b
