from __future__ import annotations

import collections
import random
import re
import string
from collections.abc import Sequence

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from ragagent.eval import metrics
from ragagent.types import Span

IDS = [f"d{number}" for number in range(12)]
RANKINGS = st.permutations(IDS).flatmap(lambda ids: st.integers(0, len(ids)).map(lambda size: ids[:size]))
GAINS = st.dictionaries(st.sampled_from(IDS), st.integers(0, 4), max_size=8)
TEXTS = st.text(alphabet="ab Ab.,'the 一二ー9９½", max_size=12)
PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


# Laws of rankings


@given(RANKINGS, GAINS, st.integers(1, 12))
def test_ranking_figures_are_shares(ranking: list[str], gains: dict[str, int], k: int) -> None:
    for figure in (metrics.ndcg, metrics.recall, metrics.reciprocal_rank, metrics.average_precision):
        assert 0.0 <= figure(ranking, gains, k) <= 1.0 + 1e-12


@given(GAINS.filter(lambda gains: any(gains.values())), st.integers(1, 12))
def test_the_ideal_order_has_ndcg_1(gains: dict[str, int], k: int) -> None:
    ideal = sorted(gains, key=lambda item: -gains[item])
    assert metrics.ndcg(ideal, gains, k) == pytest.approx(1.0)


@given(RANKINGS, GAINS, st.integers(1, 12), st.randoms())
def test_what_stands_below_k_does_not_count(
    ranking: list[str], gains: dict[str, int], k: int, shuffle: random.Random
) -> None:
    tail = ranking[k:]
    shuffle.shuffle(tail)
    for figure in (metrics.ndcg, metrics.recall, metrics.reciprocal_rank, metrics.average_precision):
        assert figure(ranking[:k] + tail, gains, k) == figure(ranking, gains, k) == figure(ranking[:k], gains, k)


@given(RANKINGS, GAINS, st.integers(0, 10))
def test_moving_a_better_document_up_never_lowers_ndcg(ranking: list[str], gains: dict[str, int], at: int) -> None:
    if at + 1 < len(ranking) and gains.get(ranking[at + 1], 0) >= gains.get(ranking[at], 0):
        swapped = [*ranking[:at], ranking[at + 1], ranking[at], *ranking[at + 2 :]]
        assert metrics.ndcg(swapped, gains) >= metrics.ndcg(ranking, gains) - 1e-12


# An independent library for rankings: the Python binding of trec_eval


@settings(max_examples=150)
@given(st.permutations(IDS), GAINS)
def test_ranking_figures_are_those_of_trec_eval(ranking: list[str], gains: dict[str, int]) -> None:
    # an unjudged query has no row in trec_eval; ours is 0
    judged = gains if gains else {"never found": 0}
    measures = {"ndcg_cut.5,10", "recall.5,10", "recip_rank", "map"}
    scores = {item: float(len(ranking) - rank) for rank, item in enumerate(ranking)}
    expected = pytrec_eval.RelevanceEvaluator({"q": judged}, measures).evaluate({"q": scores})["q"]
    for k in (5, 10):
        assert metrics.ndcg(ranking, gains, k) == pytest.approx(expected[f"ndcg_cut_{k}"])
        assert metrics.recall(ranking, gains, k) == pytest.approx(expected[f"recall_{k}"])
    assert metrics.reciprocal_rank(ranking, gains) == pytest.approx(expected["recip_rank"])
    assert metrics.average_precision(ranking, gains) == pytest.approx(expected["map"])


def test_a_graded_ranking_worked_out_by_hand() -> None:
    gains = {"a": 3, "b": 2, "c": 1, "d": 0}
    # (1/1 + 3/log2(3) + 2/log2(5)) / (3 + 2/log2(3) + 1/2)
    assert metrics.ndcg(["c", "a", "x", "b"], gains, 4) == pytest.approx(
        (1 + 3 / 1.5849625007 + 2 / 2.3219280949) / (3 + 2 / 1.5849625007 + 0.5)
    )
    assert metrics.reciprocal_rank(["x", "d", "c"], gains) == pytest.approx(1 / 3)
    assert metrics.reciprocal_rank(["x", "d", "c"], gains, 2) == 0.0


# Answers


def squad_score(prediction: str, truth: str) -> tuple[int, float]:
    """Exact match and F1 in the words of the published SQuAD 2.0 evaluation, ASCII punctuation only."""

    def words(text: str) -> list[str]:
        lowered = text.lower().translate(str.maketrans("", "", string.punctuation))
        return re.sub(r"\b(?:a|an|the)\b", " ", lowered).split()

    guess, gold = words(prediction), words(truth)
    if not guess or not gold:
        return int(guess == gold), float(guess == gold)
    pool, common = collections.Counter(gold), 0
    for word in guess:
        if pool[word] > 0:
            pool[word] -= 1
            common += 1
    if common == 0:
        return int(guess == gold), 0.0
    precision, recall = common / len(guess), common / len(gold)
    return int(guess == gold), 2 * precision * recall / (precision + recall)


ENGLISH = st.lists(
    st.sampled_from(["the", "A", "an", "cat", "Cat's", "1,000", "u.s.", "café", "-", "$5", "theme", "cat"]), max_size=6
).map(" ".join)


@settings(max_examples=200)
@given(ENGLISH, ENGLISH)
def test_exact_match_and_f1_are_those_of_squad(answer: str, gold: str) -> None:
    exact, score = squad_score(answer, gold)
    assert metrics.exact_match(answer, [gold]) == bool(exact)
    assert metrics.token_f1(answer, gold) == pytest.approx(score)


@given(TEXTS, TEXTS)
def test_f1_is_symmetric_and_a_share(first: str, second: str) -> None:
    assert metrics.token_f1(first, second) == metrics.token_f1(second, first)
    assert 0.0 <= metrics.token_f1(first, second) <= 1.0


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_an_exact_match_has_f1_1_and_contains_the_gold(answer: str, golds: list[str]) -> None:
    if metrics.exact_match(answer, golds):
        assert metrics.f1(answer, golds) == 1.0
        assert metrics.contains(answer, golds) == (bool(golds) and bool(metrics.answer_tokens(answer)))


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), TEXTS)
def test_another_gold_answer_never_lowers_a_score(answer: str, golds: list[str], more: str) -> None:
    assert metrics.f1(answer, [*golds, more]) >= metrics.f1(answer, golds)
    assert metrics.exact_match(answer, [*golds, more]) >= metrics.exact_match(answer, golds)
    assert metrics.contains(answer, [*golds, more]) >= metrics.contains(answer, golds)


@given(TEXTS, TEXTS, TEXTS)
def test_an_answer_contains_what_it_was_put_together_from(before: str, gold: str, after: str) -> None:
    if metrics.answer_tokens(gold):
        assert metrics.contains(f"{before} {gold} {after}", [gold])


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("in 2012", "12", False),
        ("in 12 days", "12", True),
        ("The Oil Crisis began in October, 1973.", "October 1973", True),
        ("October of 1973", "October 1973", False),
        ("一共丢了308分。", "308 分", True),
        ("1308分", "308分", False),
        ("anything", "", False),
        ("anything", "the", False),
    ],
)
def test_contains_means_whole_tokens_in_a_row(answer: str, gold: str, expected: bool) -> None:
    assert metrics.contains(answer, [gold]) is expected


def test_scripts_without_spaces_are_compared_character_by_character() -> None:
    assert metrics.token_f1("黑豹队的防守", "黑豹队") == pytest.approx(2 * 3 / (6 + 3))
    assert metrics.answer_tokens("丢了308 分, Panthers队") == ["丢", "了", "308", "分", "panthers", "队"]
    assert metrics.exact_match("３０８分", ["308 分"])


def test_without_gold_answers_only_silence_is_right() -> None:
    assert (metrics.exact_match("", []), metrics.f1(" . ", [])) == (True, 1.0)
    assert (metrics.exact_match("something", []), metrics.f1("something", [])) == (False, 0.0)
    assert not metrics.contains("", [])


# Citations and refusals


@given(st.text(max_size=30), st.integers(-3, 33), st.integers(-3, 33))
def test_a_quote_is_exact_only_where_it_stands(text: str, start: int, end: int) -> None:
    inside = 0 <= start < end <= len(text)
    quote = text[start:end] if inside else text[:1]
    assert metrics.quote_is_exact(text, quote, Span(start, end)) == inside
    assert not metrics.quote_is_exact(text, quote + "x", Span(start, end))
    assert not metrics.quote_is_exact(text, quote, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_refusals_are_precision_and_recall_of_what_has_no_answer(pairs: list[tuple[bool, bool]]) -> None:
    found = metrics.refusals([a for a, _ in pairs], [b for _, b in pairs])
    counts = collections.Counter(pairs)
    assert found.rightly == counts[True, True]
    assert found.precision == _share(counts[True, True], counts[True, True] + counts[True, False])
    assert found.recall == _share(counts[True, True], counts[True, True] + counts[False, True])
    assert found.false_share == _share(counts[True, False], counts[True, False] + counts[False, False])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# Confidence


@given(PAIRS, st.randoms())
def test_the_order_of_the_questions_does_not_change_the_risk_curve(
    pairs: list[tuple[float, bool]], shuffle: random.Random
) -> None:
    shuffled = pairs[:]
    shuffle.shuffle(shuffled)
    for one, other in zip(_curve(pairs), _curve(shuffled), strict=True):
        np.testing.assert_allclose(one, other)


@given(PAIRS)
def test_answering_everything_has_the_risk_of_all(pairs: list[tuple[float, bool]]) -> None:
    coverage, risk = _curve(pairs)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(np.mean([not right for _, right in pairs]))
    assert 0.0 <= metrics.aurc(*_columns(pairs)) <= 1.0


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_aurc_is_the_mean_of_the_selective_risks(correct: list[bool]) -> None:
    confidence = [1.0 - index / 100 for index in range(len(correct))]
    plain = np.mean([np.mean([not right for right in correct[:size]]) for size in range(1, len(correct) + 1)])
    assert metrics.aurc(confidence, correct) == pytest.approx(plain)


def test_a_confidence_that_ranks_right_answers_first_has_the_lowest_aurc() -> None:
    correct = [1.0, 1.0, 0.0, 0.0]
    assert metrics.aurc([0.9, 0.8, 0.2, 0.1], correct) < metrics.aurc([0.5] * 4, correct)
    assert metrics.aurc([0.5] * 4, correct) < metrics.aurc([0.1, 0.2, 0.8, 0.9], correct)


@settings(max_examples=50)
@given(PAIRS, st.integers(1, 12))
def test_the_calibration_error_is_that_of_the_curve_of_scikit_learn(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = _columns(pairs)
    # scikit-learn leaves empty bins out and its edges are closed on the same side as ours
    shown, predicted = calibration_curve(np.array(correct, dtype=int), confidence, n_bins=bins, strategy="uniform")
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=bins)
    weights = counts[counts > 0] / len(confidence)
    expected = float(np.sum(weights * np.abs(shown - predicted)))
    assert metrics.calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("confidence", "correct"), [([], []), ([0.1], [1.0, 0.0]), ([1.5], [1.0])])
def test_confidences_that_are_none_or_unpaired_or_too_large_are_refused(
    confidence: list[float], correct: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"needed|in 0\.\.1"):
        metrics.calibration_error(confidence, correct)


def _columns(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[float]]:
    return [score for score, _ in pairs], [float(right) for _, right in pairs]


def _curve(pairs: list[tuple[float, bool]]) -> Sequence[np.ndarray]:
    return metrics.risk_coverage(*_columns(pairs))
