"""The lowest threshold at which a promise about wrong answers holds with a stated probability. Knows confidences and outcomes, no assistant.

The promise: of the answers given, at most a share ``risk`` is wrong, but for a probability of at most ``delta`` that the items drawn for
fitting were misleading. Thresholds are tested one after the other from the strictest down, each by the exact binomial tail of the wrong answers among
those it lets through, until one cannot be rejected; no correction for several tests is needed in a fixed order (Angelopoulos, Bates, Candès,
Jordan and Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control", 2021, fixed-sequence testing; the selective risk and
its binomial bound as in Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.errors import UsageError
from core.types import Frozen

GRID = 200
"""Thresholds that are tested at most, evenly spaced in the rank of the confidences."""


class ControlledThreshold(Frozen):
    """A threshold and what it let through on the items it was fitted on."""

    value: float
    """Answer at this confidence or above; above 1 where no threshold keeps the promise."""
    answered: int
    wrong: int
    p: float
    """Probability of so few wrong answers if the promise were broken."""


NEVER = ControlledThreshold(value=1.01, answered=0, wrong=0, p=1.0)
"""Answers nothing, which keeps every promise."""


def least_answers(risk: float, delta: float) -> int:
    """Return how many answers, all right, it takes to promise at all: the smallest n with (1 - risk)^n <= delta."""
    return math.ceil(math.log(delta) / math.log1p(-risk))


def controlled_threshold(confidences: Sequence[float], wrong: Sequence[bool], *, risk: float, delta: float = 0.1) -> ControlledThreshold:
    """Return the lowest threshold that keeps the promise, :data:`NEVER` where none does.

    Args:
        confidences: one per question, of the answer it would get without a threshold.
        wrong: whether that answer is wrong, which every answer to a question without an answer is.
        risk: largest share of the answers given that may be wrong.
        delta: probability with which the promise may fail over the draw of these items.

    Raises:
        UsageError: unlike numbers, or a share or probability that is not between 0 and 1.
    """
    from scipy.stats import binom

    if len(confidences) != len(wrong):
        raise UsageError(f"every confidence needs one outcome, not {len(confidences)} and {len(wrong)}")
    if not (0 < risk < 1 and 0 < delta < 1):
        raise UsageError(f"risk {risk} and delta {delta} lie between 0 and 1")
    ordered = np.sort(np.asarray(confidences, dtype=np.float64))[::-1]
    failed = np.asarray(wrong, dtype=np.int64)[np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")]
    # Where the sequence begins follows from the number of items alone: with fewer answers nothing could be rejected.
    first = least_answers(risk, delta)
    best = NEVER
    for answered in _sizes(len(ordered), first):
        value = float(ordered[answered - 1])
        through = int((ordered >= value).sum())
        errors = int(failed[:through].sum())
        p = float(binom.cdf(errors, through, risk))
        if p > delta:
            break
        best = ControlledThreshold(value=value, answered=through, wrong=errors, p=p)
    return best


def _sizes(total: int, first: int) -> list[int]:
    """Return numbers of answers to test at, from few to all."""
    if total < first:
        return []
    return sorted({round(size) for size in np.linspace(first, total, min(GRID, total - first + 1))})
