"""Metrics of one ranking against the ids that are relevant. An id that comes again counts where it came first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from core.errors import UsageError
from evals.metrics.inputs import at_least_one


def recall_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return the share of the relevant ids among the first ``k``; an id that comes twice counts where it came first.

    Raises:
        UsageError: nothing is relevant, or ``k`` is below 1.
    """
    if not relevant:
        raise UsageError("recall needs at least one relevant id; leave such items out")
    return len(set(relevant) & set(_first(ranked, k))) / len(set(relevant))


def precision_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return the share of ``k`` places that hold a relevant id; places left empty count as irrelevant, as in trec_eval.

    Raises:
        UsageError: ``k`` is below 1.
    """
    return len(set(relevant) & set(_first(ranked, k))) / k


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str], k: int = 10) -> float:
    """Return 1 / rank of the first relevant id, 0 behind rank ``k`` (Voorhees, "The TREC-8 question answering track report", 1999).

    Raises:
        UsageError: ``k`` is below 1.
    """
    wanted = set(relevant)
    return next((1 / rank for rank, name in enumerate(_first(ranked, k), start=1) if name in wanted), 0.0)


def ndcg_at(ranked: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float:
    """Return the normalised discounted cumulative gain: a relevant id gains its grade / log2(rank + 1), over the best order's sum.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002, with the linear gain of trec_eval and BEIR
    (not 2^grade - 1). Ids without a grade gain nothing.

    Raises:
        UsageError: no grade is above 0, one is below, or ``k`` is below 1.
    """
    if not any(grade > 0 for grade in grades.values()) or any(grade < 0 for grade in grades.values()):
        raise UsageError("nDCG needs grades of 0 or more, at least one above 0; leave items without out")
    best = _discounted(sorted(grades.values(), reverse=True)[:k])
    return _discounted([grades.get(name, 0.0) for name in _first(ranked, k)]) / best


def _first(ranked: Sequence[str], k: int) -> list[str]:
    at_least_one(k, "k")
    return list(dict.fromkeys(ranked))[:k]


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
