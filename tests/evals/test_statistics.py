from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from evals.statistics import bootstrap


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
@examples(max_examples=60, deadline=None)
def test_bootstrap_interval_holds_the_mean_within_the_range_of_the_values(values: list[float]) -> None:
    interval = bootstrap(values, samples=300)
    slack = 1e-6 * (1 + max(map(abs, values)))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval.value == pytest.approx(np.mean(values))


def test_bootstrap_is_reproducible_and_depends_on_its_seed() -> None:
    values = np.random.default_rng(1).random(50).tolist()
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_bootstrap_of_equal_values_has_no_width() -> None:
    assert bootstrap([1.0] * 20) == (1.0, 1.0, 1.0)
    assert bootstrap([0.25]) == (0.25, 0.25, 0.25)


def test_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap([])


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_bootstrap_covers_the_true_share_about_95_times_in_100(share: float) -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(300):
        interval = bootstrap((generator.random(80) < share).astype(float).tolist(), samples=500, seed=seed)
        covered += interval.low <= share <= interval.high
    assert 0.90 <= covered / 300 <= 0.99


def test_bootstrap_narrows_with_more_values() -> None:
    values = (np.random.default_rng(3).random(1_000) < 0.7).astype(float).tolist()
    few, many = bootstrap(values[:50]), bootstrap(values)
    assert many.high - many.low < (few.high - few.low) / 3
