"""Intervals and tests over item scores. Knows numbers, nothing of assistants; which direction is good is the caller's.

Items that share a document or a counterfactual pair are not independent. Where their ``clusters`` are named, whole clusters are resampled and
flipped; each function without them takes items as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

Alternative = Literal["two-sided", "less"]
"""``less`` asks whether the second of a pair is lower than the first."""
Clusters = Sequence[Hashable] | None
"""One label per item; items of one label belong together. None: each stands alone."""

EXACT_FLIPS = 16
"""Up to this many nonzero differences every assignment of signs is counted, 65,536 at most."""
_BLOCK = 1_000


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """The mean of the second minus the first of each pair, and its 95 % interval."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """A paired comparison: ``difference`` is the mean of second minus first; ``better`` and ``worse`` count items that rose and fell."""

    p: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    n: int


def bootstrap(values: Sequence[float], *, samples: int = 2_000, seed: int = 0, clusters: Clusters = None) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Args:
        values: one number per item.
        samples: resamples.
        seed: makes the interval reproducible.
        clusters: resampled whole (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    Raises:
        UsageError: no values, a value that is not finite, or labels that are not one per value.
    """
    data = _finite(values)
    sums, sizes = _by_cluster(data, clusters)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(samples, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))
    return Interval(float(data.mean()), float(low), float(high))


def bootstrap_of(figure: Callable[[NDArray[np.int64]], float], n: int, *, samples: int = 1_000, seed: int = 0, clusters: Clusters = None) -> Interval:
    """Return a figure that is no mean of item values (a percentile, macro F1, BLEU) with its percentile bootstrap interval.

    Args:
        figure: computes the figure of the items at the given rows; a row may occur several times.
        n: how many items there are.
        samples: resamples, each of which calls ``figure``.
        seed: makes the interval reproducible.
        clusters: resampled whole.

    Raises:
        UsageError: no items, or labels that are not one per item.
    """
    if n < 1:
        raise UsageError("an interval needs at least one value")
    rows = np.arange(n, dtype=np.int64)
    owner = _owners(n, clusters)
    members = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    generator = np.random.default_rng(seed)
    drawn = (np.concatenate([members[at] for at in generator.integers(0, len(members), size=len(members))]) for _ in range(samples))
    low, high = np.quantile([figure(chosen) for chosen in drawn], (0.025, 0.975))
    return Interval(float(figure(rows)), float(low), float(high))


def paired_bootstrap(a: Sequence[float], b: Sequence[float], *, samples: int = 2_000, seed: int = 0, clusters: Clusters = None) -> Difference:
    """Return the mean of ``b - a`` with its percentile bootstrap interval; both values of an item are resampled together.

    Raises:
        UsageError: the two are empty or of unlike length, or hold a value that is not finite.
    """
    return Difference(*bootstrap(_differences(a, b).tolist(), samples=samples, seed=seed, clusters=clusters))


def mcnemar(a: Sequence[float], b: Sequence[float], *, alternative: Alternative = "two-sided") -> float:
    """Return the p value of the exact McNemar test: of the items on which two runs disagree, each is as likely to favour either.

    McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika, 1947; binomial instead of his
    chi-square approximation.

    Raises:
        UsageError: a value is neither 0 nor 1, or the two are empty or of unlike length.
    """
    from scipy.stats import binomtest

    differences = _differences(a, b)
    if not _binary(a, b):
        raise UsageError("McNemar's test takes values of 0 and 1; use sign_flip for others")
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return float(binomtest(better, better + worse, alternative=alternative).pvalue) if better + worse else 1.0


def sign_flip(
    a: Sequence[float], b: Sequence[float], *, samples: int = 10_000, seed: int = 0, alternative: Alternative = "two-sided", clusters: Clusters = None
) -> float:
    """Return the p value of the paired randomisation test: under no difference, the sign of each difference is a coin's.

    Fisher, The Design of Experiments, 1935, section 21; by sampling, with the observed assignment counted among the samples, Noreen,
    Computer-Intensive Methods for Testing Hypotheses, 1989. Exact up to :data:`EXACT_FLIPS` nonzero differences.

    Args:
        a: one value per item.
        b: the second run's, in the same order.
        samples: sampled assignments of signs.
        seed: makes the sample reproducible.
        alternative: ``less`` asks whether ``b`` is lower.
        clusters: flipped whole.

    Raises:
        UsageError: the two are empty or of unlike length, hold a value that is not finite, or labels are not one per item.
    """
    sums, _ = _by_cluster(_differences(a, b), clusters)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    slack = 1e-9 * float(np.abs(sums).sum())  # equal sums may differ by the order in which they were added
    observed = float(sums.sum())
    exact = len(sums) <= EXACT_FLIPS
    flipped = _all_flips(sums) if exact else _sampled_flips(sums, samples, seed)
    extreme = int((flipped <= observed + slack).sum() if alternative == "less" else (np.abs(flipped) >= abs(observed) - slack).sum())
    return extreme / len(flipped) if exact else (extreme + 1) / (samples + 1)


def paired_test(a: Sequence[float], b: Sequence[float], *, alternative: Alternative = "two-sided", seed: int = 0, clusters: Clusters = None) -> PairedTest:
    """Compare two runs over the same items: McNemar's test where values are 0 and 1 and items independent, else :func:`sign_flip`.

    Args:
        a: one value per item.
        b: the second run's, in the same order.
        alternative: ``less`` asks whether ``b`` is lower.
        seed: makes interval and sampled p value reproducible.
        clusters: resampled and flipped whole.

    Raises:
        UsageError: the two are empty or of unlike length, hold a value that is not finite, or labels are not one per item.
    """
    differences = _differences(a, b)
    exact = clusters is None and _binary(a, b)
    p = mcnemar(a, b, alternative=alternative) if exact else sign_flip(a, b, seed=seed, alternative=alternative, clusters=clusters)
    value, low, high = paired_bootstrap(a, b, seed=seed, clusters=clusters)
    return PairedTest(p, value, low, high, int((differences > 0).sum()), int((differences < 0).sum()), len(differences))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values adjusted for being several, in the order given: rejecting those below a level keeps the chance of any error below it.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.

    Raises:
        UsageError: a value lies outside 0..1.
    """
    if not all(0 <= p <= 1 for p in p_values.values()):
        raise UsageError("a p value lies between 0 and 1")
    adjusted, least = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def binomial_upper(errors: int, n: int, confidence: float = 0.95) -> float:
    """Return the highest error rate that ``errors`` of ``n`` do not speak against: the one-sided exact upper limit.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika, 1934.

    Raises:
        UsageError: no trials, more errors than trials, or a confidence that is not between 0 and 1.
    """
    if not 0 <= errors <= n or n < 1 or not 0 < confidence < 1:
        raise UsageError(f"{errors} of {n} at confidence {confidence}: give 0 <= errors <= n, n >= 1 and 0 < confidence < 1")
    if errors == n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, errors + 1, n - errors))


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise UsageError("an interval needs at least one value")
    if not np.isfinite(data).all():
        raise UsageError("an interval needs finite values; leave out items that have none")
    return data


def _differences(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    if len(a) != len(b):
        raise UsageError(f"a paired comparison needs the same items in both runs, not {len(a)} and {len(b)}")
    return _finite(b) - _finite(a)


def _binary(a: Sequence[float], b: Sequence[float]) -> bool:
    return set(a) | set(b) <= {0.0, 1.0}


def _owners(n: int, clusters: Clusters) -> NDArray[np.int64]:
    """Return each item's cluster (n,) as a number, in order of first appearance."""
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    if len(clusters) != n:
        raise UsageError(f"clusters need one label per item, not {len(clusters)} for {n}")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(clusters))}
    return np.array([numbers[label] for label in clusters], dtype=np.int64)


def _by_cluster(data: NDArray[np.float64], clusters: Clusters) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the sum and the size of each cluster."""
    owner = _owners(len(data), clusters)
    return np.bincount(owner, weights=data).astype(np.float64), np.bincount(owner).astype(np.int64)


def _all_flips(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the total under each of the ``2^n`` assignments of signs."""
    bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
    return np.asarray((1 - 2 * bits) @ sums)


def _sampled_flips(sums: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Return the total under ``samples`` random assignments of signs; block by block, since all at once would fill the memory."""
    generator = np.random.default_rng(seed)
    sizes = [min(_BLOCK, samples - at) for at in range(0, samples, _BLOCK)]
    return np.concatenate([(1 - 2 * generator.integers(0, 2, size=(rows, len(sums)), dtype=np.int8)) @ sums for rows in sizes])
