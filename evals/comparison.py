"""Two runs item by item: what flipped, and whether the difference is more than noise. Decides nothing; see :mod:`evals.gate`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from core.errors import UsageError
from core.types import Frozen
from evals.aggregate import LEAST, LOWER_IS_BETTER, clusters, item_marks, slices
from evals.items import ItemResult
from evals.lockfile import changed
from evals.runs import Run
from evals.statistics import Alternative, holm, paired_test


class Change(Frozen):
    """A metric over a slice in both runs, over the items that have it in both. ``better`` and ``worse`` count items, whichever way is good."""

    metric: str
    slice: str
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    """For the number of metrics tested (Holm)."""
    better: int
    worse: int


class Flip(Frozen):
    """An item that one run had right and the other had not."""

    id: str
    question: str
    lang: str
    better: bool
    before: str
    """What was wrong in the first run, empty where nothing was."""
    after: str
    answer_before: str
    answer_after: str
    expected: tuple[str, ...]


class Comparison(Frozen):
    """The second run against the first."""

    a: str
    b: str
    items: int
    """Items that both runs asked."""
    only_a: int
    only_b: int
    changed: tuple[str, ...]
    """Parts of the locks that differ."""
    changes: tuple[Change, ...]
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]


def compare(a: Run, b: Run, *, metrics: Sequence[str] = (), alternative: Alternative = "two-sided", seed: int = 0) -> Comparison:
    """Compare two runs over the items that both asked, whole documents resampled and flipped.

    Args:
        a: the run that stands.
        b: the one that would take its place.
        metrics: which ones; all when empty.
        alternative: ``less`` asks whether the second is worse.
        seed: of intervals and sampled p values.

    Raises:
        UsageError: the runs have no item in common.
    """
    before = {item.id: item for item in a.items}
    pairs = [(before[item.id], item) for item in b.items if item.id in before and _same_item(before[item.id], item)]
    if not pairs:
        raise UsageError(f"runs '{a.id}' and '{b.id}' have no item in common; compare runs of the same eval set")
    notes = []
    if len(pairs) < max(len(a.items), len(b.items)):
        notes.append(f"only the {len(pairs)} items that both runs asked are compared")
    parts = changed(a.lock, b.lock) if a.lock and b.lock else []
    if "scorers" in parts:
        notes.append("the runs were scored by different code; run one of them again to compare scores")
    changes = _changes(pairs, metrics, alternative=alternative, seed=seed)
    return Comparison(
        a=a.id, b=b.id, items=len(pairs), only_a=len(a.items) - len(pairs), only_b=len(b.items) - len(pairs), changed=tuple(parts),
        changes=tuple(changes), flips=tuple(_flip(one, two) for one, two in pairs if one.right != two.right), notes=tuple(notes),
    )  # fmt: skip


def _same_item(one: ItemResult, two: ItemResult) -> bool:
    return (one.question, one.expected_status, one.expected) == (two.question, two.expected_status, two.expected)


def _changes(pairs: Sequence[tuple[ItemResult, ItemResult]], metrics: Sequence[str], *, alternative: Alternative, seed: int) -> list[Change]:
    found = _tested("all", pairs, metrics, alternative=alternative, seed=seed)
    adjusted = holm({change.metric: change.p for change in found})
    return [change.model_copy(update={"p_adjusted": float(f"{adjusted[change.metric]:.4g}")}) for change in found]


def slice_changes(a: Run, b: Run, *, metric: str, seed: int = 0) -> list[Change]:
    """Return whether a metric got worse on each slice with enough items, adjusted for the number of slices (Holm)."""
    before = {item.id: item for item in a.items}
    after = {item.id: item for item in b.items if item.id in before and _same_item(before[item.id], item)}
    found = []
    for name, group in slices(list(after.values())).items():
        if name != "all" and len(group) >= LEAST:
            found += _tested(name, [(before[item.id], item) for item in group], (metric,), alternative="less", seed=seed)
    found = [change for change in found if change.n >= LEAST]
    adjusted = holm({change.slice: change.p for change in found})
    return [change.model_copy(update={"p_adjusted": float(f"{adjusted[change.slice]:.4g}")}) for change in found]


def _tested(name: str, pairs: Sequence[tuple[ItemResult, ItemResult]], metrics: Sequence[str], *, alternative: Alternative, seed: int) -> list[Change]:
    values: dict[str, list[tuple[float, float, ItemResult]]] = defaultdict(list)
    for one, two in pairs:
        first, second = item_marks(one), item_marks(two)
        for metric in first.keys() & second.keys():
            if not metrics or metric in metrics:
                values[metric].append((first[metric], second[metric], two))
    found = []
    for metric in sorted(values):
        rows = values[metric]
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        old, new = [sign * row[0] for row in rows], [sign * row[1] for row in rows]
        test = paired_test(old, new, alternative=alternative, seed=seed, clusters=clusters(row[2] for row in rows))
        low, high = sorted((sign * test.low, sign * test.high))
        a, b = sum(row[0] for row in rows) / len(rows), sum(row[1] for row in rows) / len(rows)
        found.append(
            Change(
                metric=metric, slice=name, n=len(rows), a=round(a, 4), b=round(b, 4), difference=round(b - a, 4), low=round(low, 4), high=round(high, 4),
                p=float(f"{test.p:.4g}"), p_adjusted=float(f"{test.p:.4g}"), better=test.better, worse=test.worse,
            )
        )  # fmt: skip
    return found


def _flip(one: ItemResult, two: ItemResult) -> Flip:
    return Flip(
        id=two.id, question=two.question, lang=two.lang, better=two.right, before=one.reason, after=two.reason, answer_before=one.answer,
        answer_after=two.answer, expected=two.expected,
    )  # fmt: skip
