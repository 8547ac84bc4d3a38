from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.errors import UsageError
from evals.statistics import binomial_upper, bootstrap, bootstrap_of, holm, mcnemar, paired_bootstrap, paired_test, sign_flip

NUMBERS = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12)


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
    with pytest.raises(UsageError, match="at least one value"):
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


def test_bootstrap_resamples_clusters_whole() -> None:
    # Ten copies of each of four values are worth four values, not forty.
    values = [0.0, 1.0, 1.0, 0.0]
    copied, labels = values * 10, [0, 1, 2, 3] * 10
    assert bootstrap(copied, clusters=labels) == pytest.approx(bootstrap(values))
    assert bootstrap(copied).high < bootstrap(copied, clusters=labels).high


def test_bootstrap_of_a_figure_gives_that_of_the_mean_its_interval() -> None:
    values = np.random.default_rng(0).random(60)
    found = bootstrap_of(lambda rows: float(values[rows].mean()), 60, samples=2_000)
    plain = bootstrap(values.tolist())
    assert found.value == pytest.approx(plain.value) and found.low == pytest.approx(plain.low, abs=0.02) and found.high == pytest.approx(plain.high, abs=0.02)


def test_mcnemar_by_hand() -> None:
    # Six items rise, one falls: of seven disagreements, 6 or more for either side has probability 2 (7 + 1) / 2^7.
    a, b = [0] * 6 + [1] + [1] * 5, [1] * 6 + [0] + [1] * 5
    assert mcnemar(a, b) == pytest.approx(2 * 8 / 128)
    assert mcnemar(b, a, alternative="less") == pytest.approx(8 / 128)
    assert mcnemar(a, b, alternative="less") == pytest.approx(1 - 1 / 128)


def test_mcnemar_refuses_what_is_neither_0_nor_1() -> None:
    with pytest.raises(UsageError, match="use sign_flip for others"):
        mcnemar([0.5], [1])


def test_sign_flip_by_hand() -> None:
    # Differences 3, 2, 1: of eight assignments of signs only two have a total of 6 in absolute value, one a total of 6.
    assert sign_flip([0, 0, 0], [3, 2, 1]) == pytest.approx(2 / 8)
    assert sign_flip([3, 2, 1], [0, 0, 0], alternative="less") == pytest.approx(1 / 8)


def test_sampled_sign_flip_is_near_the_exact_one() -> None:
    differences = np.random.default_rng(5).normal(0.4, 1, 16)
    exact = sign_flip([0.0] * 16, differences.tolist())
    # A seventeenth difference, all but nothing, makes the test sample.
    assert sign_flip([0.0] * 17, [*differences.tolist(), 1e-12]) == pytest.approx(exact, abs=0.02)


@given(NUMBERS)
@examples(max_examples=60, deadline=None)
def test_comparison_with_itself_finds_nothing(pairs: list[tuple[float, float]]) -> None:
    values = [a for a, _ in pairs]
    found = paired_test(values, values)
    assert (found.p, found.difference, found.better, found.worse, found.n) == (1.0, 0.0, 0, 0, len(values))


@given(NUMBERS)
@examples(max_examples=60, deadline=None)
def test_two_sided_comparison_is_the_same_either_way(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    one, other = paired_test(a, b), paired_test(b, a)
    assert 0 < one.p <= 1 and one.p == pytest.approx(other.p)
    assert (one.better, one.worse) == (other.worse, other.better) and one.difference == pytest.approx(-other.difference)


def test_paired_test_takes_mcnemar_for_right_and_wrong_and_flips_signs_of_others() -> None:
    a, b = [0.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]
    assert paired_test(a, b).p == mcnemar(a, b) and paired_test([0.5, *a], [0.75, *b]).p == sign_flip([0.5, *a], [0.75, *b])


def test_items_of_one_cluster_count_once_in_a_test() -> None:
    a, b = [0.0] * 8, [1.0] * 8
    assert paired_test(a, b).p == pytest.approx(2 / 2**8)
    assert paired_test(a, b, clusters=[0, 0, 0, 0, 1, 1, 1, 1]).p == pytest.approx(2 / 2**2)


def test_paired_bootstrap_holds_the_difference() -> None:
    found = paired_bootstrap([0, 0, 1, 0], [1, 0, 1, 1])
    assert found.value == 0.5 and 0 <= found.low < 0.5 < found.high <= 1


def test_runs_of_unlike_length_are_refused() -> None:
    with pytest.raises(UsageError, match="the same items in both runs, not 1 and 2"):
        paired_test([1], [1, 0])


def test_holm_by_hand() -> None:
    # 0.01 × 3, then 0.02 × 2, then the largest, but none below the one before it.
    assert holm({"c": 0.04, "a": 0.01, "b": 0.02}) == {"c": pytest.approx(0.04), "a": pytest.approx(0.03), "b": pytest.approx(0.04)}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
@examples(max_examples=60, deadline=None)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= adjusted[name] <= 1 for name, p in p_values.items())
    assert sorted(p_values, key=p_values.__getitem__) == sorted(p_values, key=lambda name: (adjusted[name], p_values[name]))


def test_binomial_upper_is_the_rate_at_which_so_few_errors_have_the_probability_left() -> None:
    from scipy.stats import binom

    assert binomial_upper(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert binom.cdf(3, 100, binomial_upper(3, 100, 0.9)) == pytest.approx(0.1)
    assert binomial_upper(4, 4) == 1.0
    with pytest.raises(UsageError, match="5 of 4"):
        binomial_upper(5, 4)
