"""Metrics of confidences: how many wrong answers a threshold lets through, and whether 0.8 means right in 80 of 100."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby

from core.errors import UsageError
from core.types import Frozen
from evals.metrics.inputs import at_least_one, paired


class RiskPoint(Frozen):
    """What follows from answering whatever is at least as confident as ``threshold``."""

    threshold: float
    coverage: float
    """Share of the questions that is answered."""
    wrong_rate: float
    """Share of the answers that is wrong."""
    answered: int


class ReliabilityBin(Frozen):
    """Answers with ``low <= confidence < high``; the last bin holds 1 too. Calibrated answers have ``confidence == right``."""

    low: float
    high: float
    confidence: float
    """Mean confidence."""
    right: float
    """Share that is right."""
    n: int


def risk_coverage(confidences: Sequence[float], wrong: Sequence[bool], answered_possible: int | None = None) -> tuple[RiskPoint, ...]:
    """Return the wrong-answer rate against coverage at every threshold that parts the answers, from the highest down.

    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR, 2010; Geifman and El-Yaniv, "Selective classification
    for deep neural networks", 2017. Answers of equal confidence are given together.

    Args:
        confidences: one per answer that would be given without a threshold.
        wrong: whether it is wrong.
        answered_possible: how many questions coverage is a share of, where some have no answer at any threshold; by default, the answers.

    Raises:
        UsageError: no answers, unlike numbers, or fewer questions than answers.
    """
    paired(confidences, wrong)
    questions = len(confidences) if answered_possible is None else answered_possible
    if questions < len(confidences):
        raise UsageError(f"{len(confidences)} answers cannot come from {questions} questions")
    points, answered, failed = [], 0, 0
    for confidence, group in groupby(sorted(zip(confidences, wrong), reverse=True), key=lambda answer: answer[0]):
        together = [each for _, each in group]
        answered, failed = answered + len(together), failed + sum(together)
        points.append(RiskPoint(threshold=confidence, coverage=answered / questions, wrong_rate=failed / answered, answered=answered))
    return tuple(points)


def area_under_risk_coverage(curve: Sequence[RiskPoint]) -> float:
    """Return the mean wrong-answer rate over the coverage that a :func:`risk_coverage` curve reaches; lower is better.

    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", 2019.

    Raises:
        UsageError: the curve has no points.
    """
    if not curve:
        raise UsageError("an area needs a curve of at least one point")
    return sum(point.wrong_rate * (point.answered - before) for point, before in zip(curve, [0, *(p.answered for p in curve)])) / curve[-1].answered


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Return mean confidence and share right in bins of equal width, empty bins left out (Guo et al., "On calibration of modern neural networks", 2017).

    Raises:
        UsageError: no answers, unlike numbers, a confidence outside 0..1, or fewer than one bin.
    """
    _probabilities(confidences, right)
    at_least_one(bins, "bins")
    edges = [n / bins for n in range(bins)]
    groups: dict[int, list[tuple[float, bool]]] = {}
    for confidence, each in zip(confidences, right):
        groups.setdefault(bisect_right(edges, confidence) - 1, []).append((confidence, each))
    return tuple(
        ReliabilityBin(
            low=place / bins,
            high=(place + 1) / bins,
            confidence=math.fsum(confidence for confidence, _ in group) / len(group),
            right=sum(each for _, each in group) / len(group),
            n=len(group),
        )
        for place, group in sorted(groups.items())
    )


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Return the mean distance of confidence and share right over :func:`reliability` bins, weighed by size.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI, 2015.

    Raises:
        UsageError: as :func:`reliability`.
    """
    return sum(each.n * abs(each.confidence - each.right) for each in reliability(confidences, right, bins)) / len(confidences)


def brier(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Return the mean squared distance of confidence and outcome (Brier, "Verification of forecasts expressed in terms of probability", 1950).

    Raises:
        UsageError: no answers, unlike numbers, or a confidence outside 0..1.
    """
    _probabilities(confidences, right)
    return math.fsum((confidence - each) ** 2 for confidence, each in zip(confidences, right)) / len(confidences)


def _probabilities(confidences: Sequence[float], right: Sequence[bool]) -> None:
    paired(confidences, right)
    if not all(0 <= confidence <= 1 for confidence in confidences):
        raise UsageError("a confidence lies between 0 and 1")
