"""Metrics of predicted labels against expected ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evals.metrics.inputs import paired


def accuracy(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of labels that are as expected.

    Raises:
        UsageError: no labels, or unlike numbers of them.
    """
    paired(expected, predicted)
    return sum(map(str.__eq__, expected, predicted)) / len(expected)


def macro_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean over labels of each one's F1; a label counts when it is expected or predicted at least once.

    Raises:
        UsageError: no labels, or unlike numbers of them.
    """
    paired(expected, predicted)
    right = Counter(label for label, given in zip(expected, predicted) if label == given)
    sizes = Counter(expected) + Counter(predicted)
    return sum(2 * right[label] / size for label, size in sizes.items()) / len(sizes)


def confusion(expected: Sequence[str], predicted: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how often each expected label (outer) was predicted as each label (inner), in alphabetical order, zeros included.

    Raises:
        UsageError: no labels, or unlike numbers of them.
    """
    paired(expected, predicted)
    counts, labels = Counter(zip(expected, predicted)), sorted({*expected, *predicted})
    return {label: {given: counts[label, given] for given in labels} for label in labels}
