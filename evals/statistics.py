"""Intervals and tests over item scores. Knows numbers, nothing of assistants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Sequence[float], *, samples: int = 2_000, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Args:
        values: one number per item.
        samples: resamples.
        seed: makes the interval reproducible.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = data[generator.integers(0, len(data), size=(samples, len(data)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(data.mean()), float(low), float(high))
