"""Metrics against values worked out by hand, and what holds for all inputs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.errors import UsageError
from evals import metrics

IDS = st.lists(st.sampled_from("abcdefgh"), max_size=10)
RELEVANT = st.sets(st.sampled_from("abcdefgh"), min_size=1)
ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


def test_ranking_metrics_by_hand() -> None:
    ranked = ["x", "a", "y", "b"]
    assert metrics.recall_at(ranked, {"a", "b", "c"}, 2) == pytest.approx(1 / 3)
    assert metrics.precision_at(ranked, {"a", "b"}, 4) == 0.5 and metrics.precision_at(["a"], {"a"}, 4) == 0.25
    assert metrics.reciprocal_rank(ranked, {"b", "a"}) == 0.5 and metrics.reciprocal_rank(ranked, {"b"}, k=3) == 0.0
    gained = 3 / math.log2(3) + 1 / math.log2(5)
    assert metrics.ndcg_at(ranked, {"a": 3.0, "b": 1.0}) == pytest.approx(gained / (3 + 1 / math.log2(3)))


def test_id_that_comes_twice_counts_where_it_came_first() -> None:
    assert metrics.recall_at(["a", "a", "b"], {"b"}, 2) == 1.0 and metrics.ndcg_at(["a", "a"], {"a": 1.0}) == 1.0


@given(IDS, RELEVANT, st.integers(1, 9))
@examples(max_examples=80, deadline=None)
def test_ranking_metrics_lie_between_0_and_1_and_recall_grows_with_k(ranked: list[str], relevant: set[str], k: int) -> None:
    assert 0 <= metrics.recall_at(ranked, relevant, k) <= metrics.recall_at(ranked, relevant, k + 1) <= 1
    assert 0 <= metrics.ndcg_at(ranked, dict.fromkeys(relevant, 1.0), k) <= 1 + 1e-12
    assert metrics.ndcg_at(sorted(relevant), dict.fromkeys(relevant, 1.0), k) == pytest.approx(1)


@pytest.mark.parametrize(
    ("expected", "text", "right"),
    [
        (["The Eiffel Tower"], "eiffel tower.", True),
        (["42"], "42 metres", False),
        ([], "", True),
        ([], "something", False),
        (["二月"], "二月。", True),
        (["ＡＢＣ 公司"], "abc公司", True),
    ],
)
def test_exact_match_looks_past_case_articles_and_punctuation(expected: list[str], text: str, right: bool) -> None:
    assert metrics.exact_match(expected, text) is right


def test_answer_f1_by_hand() -> None:
    # "cat sat on mat" against "cat on mat today": three words in common of four and four.
    assert metrics.answer_f1(["the cat sat on the mat"], "a cat on the mat today", "en") == pytest.approx(0.75)
    # Longest run in common: 二月修剪, four of six and four of five characters.
    assert metrics.answer_f1(["应在二月修剪"], "二月修剪好", "zh") == pytest.approx(2 * 4 / 11)
    assert metrics.answer_f1(["October", "autumn"], "Autumn", "en") == 1.0 and metrics.answer_f1([], "", "en") == 1.0


@given(st.text(max_size=30), st.sampled_from(["en", "zh"]))
@examples(max_examples=80, deadline=None)
def test_any_text_matches_itself(text: str, lang: str) -> None:
    assert metrics.exact_match([text], text) and metrics.answer_f1([text], text, lang) == 1.0  # type: ignore[arg-type]


def test_bleu_and_chrf_are_100_for_equal_texts_and_name_their_tokenizer() -> None:
    texts = ["Plant the bulbs in October before the frost.", "Water them once a week in dry weather."]
    assert metrics.bleu(texts, [[text] for text in texts], "en").value == pytest.approx(100)
    assert metrics.chrf(texts, [[text] for text in texts], "en").value == pytest.approx(100)
    found = metrics.bleu(["玫瑰应在二月修剪枝条。"], [["玫瑰应在三月修剪枝条。"]], "zh")
    assert "tok:zh" in found.signature and 20 < found.value < 90
    with pytest.raises(UsageError, match="at least one reference"):
        metrics.bleu(["a"], [[]], "en")


def test_label_metrics_by_hand() -> None:
    expected, predicted = ["a", "a", "b", "c"], ["a", "b", "b", "b"]
    # F1: a 2·1/(2+1), b 2·1/(1+3), c 0.
    assert metrics.accuracy(expected, predicted) == 0.5
    assert metrics.macro_f1(expected, predicted) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert metrics.confusion(expected, predicted)["a"] == {"a": 1, "b": 1, "c": 0}
    with pytest.raises(UsageError, match="these have 1 and 2"):
        metrics.accuracy(["a"], ["a", "b"])


def test_risk_coverage_by_hand() -> None:
    curve = metrics.risk_coverage([0.9, 0.8, 0.8, 0.1], [False, True, False, True], answered_possible=8)
    assert [(point.threshold, point.coverage, point.wrong_rate) for point in curve] == [(0.9, 1 / 8, 0.0), (0.8, 3 / 8, 1 / 3), (0.1, 4 / 8, 0.5)]
    assert metrics.area_under_risk_coverage(curve) == pytest.approx((0 + 2 / 3 + 0.5) / 4)
    with pytest.raises(UsageError, match="2 answers cannot come from 1 questions"):
        metrics.risk_coverage([0.1, 0.2], [True, True], answered_possible=1)


@given(ANSWERS)
@examples(max_examples=80, deadline=None)
def test_risk_coverage_covers_more_at_every_step_and_does_not_depend_on_order(answers: list[tuple[float, bool]]) -> None:
    curve, turned = (metrics.risk_coverage([c for c, _ in order], [w for _, w in order]) for order in (answers, answers[::-1]))
    assert curve == turned and curve[-1].coverage == 1 and curve[-1].wrong_rate == sum(w for _, w in answers) / len(answers)
    assert [point.coverage for point in curve] == sorted({point.coverage for point in curve})


def test_reliability_by_hand() -> None:
    confidences, right = [0.95, 1.0, 0.3, 0.25], [True, False, False, True]
    low, high = metrics.reliability(confidences, right, bins=2)
    assert (low.n, low.confidence, low.right) == (2, pytest.approx(0.275), 0.5) and (high.n, high.confidence, high.right) == (2, pytest.approx(0.975), 0.5)
    assert metrics.expected_calibration_error(confidences, right, bins=2) == pytest.approx((0.225 + 0.475) / 2)
    assert metrics.brier([1.0, 0.5], [True, False]) == pytest.approx(0.125)


@given(ANSWERS, st.integers(1, 12))
@examples(max_examples=80, deadline=None)
def test_reliability_bins_hold_every_answer_within_their_edges(answers: list[tuple[float, bool]], bins: int) -> None:
    found = metrics.reliability([c for c, _ in answers], [r for _, r in answers], bins)
    assert sum(each.n for each in found) == len(answers)
    assert all(each.low - 1e-9 <= each.confidence <= each.high + 1e-9 for each in found)


def test_confidence_outside_0_and_1_is_refused() -> None:
    with pytest.raises(UsageError, match="lies between 0 and 1"):
        metrics.brier([1.5], [True])
