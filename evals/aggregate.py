"""Item values → scores with intervals, over all items and over slices; the curves of selective answering. Knows no assistant and no file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from core.types import Frozen, Status
from evals.items import ItemResult
from evals.metrics import ReliabilityBin, RiskPoint, macro_f1, reliability, risk_coverage
from evals.statistics import bootstrap, bootstrap_of

LEAST = 20
"""Items that a slice other than all and a language needs to be scored: fewer say nothing."""
SAMPLES = 1_000
LOWER_IS_BETTER = frozenset({"wrong", "wrong_answers", "wrong_sources", "false_alarm"})


class Score(Frozen):
    """A metric over a slice with its 95 % bootstrap interval, whole documents resampled."""

    metric: str
    slice: str
    value: float
    low: float
    high: float
    n: int


class WorstSlice(Frozen):
    """The slice on which a metric is worst."""

    metric: str
    slice: str
    value: float
    n: int
    overall: float


def item_marks(result: ItemResult) -> dict[str, float]:
    """Return an item's value by metric; of a run of an older version, those that its fields tell."""
    if result.marks:
        return result.marks
    given = result.status is Status.ANSWERED
    found = {"right": float(result.right), "status": float(result.status is result.expected_status), "spans_hold": float(result.spans_hold)}
    if result.expected_status is Status.ANSWERED and result.expected:
        found |= {
            "source_right": float(result.source_right), "passage_right": float(result.passage_right), "quote_right": float(result.quote_right),
            "coverage": float(given),
        }  # fmt: skip
    if given:
        found |= {"wrong_answers": float(not result.passage_right), "wrong_sources": float(not result.source_right)}
    if result.expected_status in {Status.ANSWERED, Status.ABSTAINED}:
        found["false_alarm"] = float(result.status in {Status.ESCALATED, Status.REFUSED})
        found["wrong"] = float(given and not result.passage_right)
    for status, name in ((Status.ABSTAINED, "abstention"), (Status.ESCALATED, "escalation"), (Status.REFUSED, "refusal")):
        if result.expected_status is status:
            found[name] = float(result.status is status)
    return found


def slices(results: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
    """Return the items of each slice: ``all``, each language, and with at least :data:`LEAST` items each ``kind=…``, ``topic=…``, language and kind
    together, and each attribute of the items' own slices, such as ``age=…``.
    """
    groups: dict[str, list[ItemResult]] = defaultdict(list)
    for result in results:
        names = ["all", result.lang, f"kind={result.kind}", f"{result.lang} kind={result.kind}"]
        names += [f"topic={result.topic}"] if result.topic else []
        names += [f"{name}={value}" for name, value in result.slice.items() if name not in {"topic", "near"}]
        for name in names:
            groups[name].append(result)
    return {name: group for name, group in sorted(groups.items()) if "=" not in name or len(group) >= LEAST}


def clusters(results: Iterable[ItemResult]) -> list[str]:
    """Return what each item depends on others by: the document it is about, or itself."""
    return [result.topic or result.id for result in results]


def aggregate(results: Sequence[ItemResult], *, seed: int = 0) -> tuple[Score, ...]:
    """Return every metric over every slice; see :func:`slices` and :func:`evals.items.marks`."""
    scores = []
    for name, group in slices(results).items():
        values: dict[str, list[tuple[float, ItemResult]]] = defaultdict(list)
        for result in group:
            for metric, value in item_marks(result).items():
                values[metric].append((value, result))
        for metric, pairs in values.items():
            interval = bootstrap([value for value, _ in pairs], samples=SAMPLES, seed=seed, clusters=clusters(result for _, result in pairs))
            scores.append(_score(metric, name, interval, len(pairs)))
        scores += _macro(name, group, seed=seed)
    return tuple(scores)


def _macro(name: str, group: Sequence[ItemResult], *, seed: int) -> list[Score]:
    """Return macro F1 over the classifications of a slice; an answer that gives no class is a class of its own that is always wrong."""
    classified = [result for result in group if result.kind == "classification" and result.expected_label]
    if not classified:
        return []
    expected, given = [result.expected_label for result in classified], [result.label or "(none)" for result in classified]
    interval = bootstrap_of(
        lambda rows: macro_f1([expected[n] for n in rows], [given[n] for n in rows]), len(classified), samples=500, seed=seed, clusters=clusters(classified)
    )
    return [_score("macro_f1", name, interval, len(classified))]


def _score(metric: str, name: str, interval: tuple[float, float, float], n: int) -> Score:
    value, low, high = interval
    return Score(metric=metric, slice=name, value=round(value, 4), low=round(low, 4), high=round(high, 4), n=n)


def worst_slices(scores: Sequence[Score]) -> tuple[WorstSlice, ...]:
    """Return for each metric the slice on which it is worst, of those with at least :data:`LEAST` items; none where all is the only one."""
    by_metric: Mapping[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_metric[score.metric].append(score)
    found = []
    for metric, own in by_metric.items():
        overall = next((score.value for score in own if score.slice == "all"), None)
        others = [score for score in own if score.slice != "all" and score.n >= LEAST]
        if overall is None or not others:
            continue
        worst = max(others, key=lambda score: score.value) if metric in LOWER_IS_BETTER else min(others, key=lambda score: score.value)
        found.append(WorstSlice(metric=metric, slice=worst.slice, value=worst.value, n=worst.n, overall=overall))
    return tuple(found)


def _answered(results: Sequence[ItemResult]) -> list[ItemResult]:
    return [result for result in results if result.expected_status in {Status.ANSWERED, Status.ABSTAINED} and result.status is Status.ANSWERED]


def selective_curve(results: Sequence[ItemResult]) -> tuple[RiskPoint, ...]:
    """Return the wrong-answer rate against coverage if the threshold were raised above today's; empty where nothing was answered."""
    given = _answered(results)
    possible = sum(result.expected_status in {Status.ANSWERED, Status.ABSTAINED} for result in results)
    return risk_coverage([result.confidence for result in given], [not result.passage_right for result in given], possible) if given else ()


def reliability_bins(results: Sequence[ItemResult]) -> tuple[ReliabilityBin, ...]:
    """Return confidence against share right of the answers given, in bins; empty where nothing was answered."""
    given = _answered(results)
    return reliability([result.confidence for result in given], [result.passage_right for result in given]) if given else ()
