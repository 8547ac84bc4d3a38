"""The gate: whether a run may take the place of another. Fails on any floor, any metric or slice that got worse beyond noise, cost, and what is missing.

Decided by the domain's manifest and by tests alone; no judge, no one's opinion.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from core.manifest import Gate
from core.types import Frozen
from evals.aggregate import LOWER_IS_BETTER
from evals.comparison import Change, compare, slice_changes
from evals.lockfile import changed
from evals.runs import Run

PRIMARY = ("right", "wrong")
"""Whether the assistant did what it should, over all items, and whether it answered wrongly: tested by themselves, so that a dozen other metrics
do not weaken the test."""
WATCHED = (
    "source_right", "passage_right", "quote_right", "coverage", "recall_at_5", "mrr_at_10", "sought_mrr", "abstention", "escalation", "refusal", "false_alarm",
    "status", "spans_hold", "exact_match", "answer_f1", "numeric_match", "accuracy",
)  # fmt: skip
"""Other metrics whose fall a baseline forbids."""
SLICED = ("right", "passage_right", "wrong")
"""Metrics watched on every slice."""
FORGIVING_MS = 50.0
"""Median milliseconds below which the time of an answer fails no gate: there, noise and other load are most of it."""


class Reason(Frozen):
    """Why a run is refused."""

    rule: str
    """``floor``, ``missing``, ``items``, ``worse``, ``drop``, ``slice`` or ``cost``."""
    metric: str
    text: str


class Verdict(Frozen):
    """``gate.json``: what the gate said of a run."""

    run: str
    baseline: str
    passed: bool
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    """Against the baseline, tested for being worse."""
    changed: tuple[str, ...]
    """Parts of the lock that differ from the baseline's."""


def check_gate(run: Run, gate: Gate, *, baseline: Run | None = None, seed: int = 0) -> Verdict:
    """Judge a run by a manifest's gate.

    Args:
        run: the run that would take the baseline's place.
        gate: floors and bounds.
        baseline: what it must not be worse than; floors alone without one.
        seed: of sampled p values.

    Raises:
        UsageError: the runs have no item in common.
    """
    reasons = _floors(run, gate)
    if baseline is None:
        return Verdict(run=run.id, baseline="", passed=not reasons, reasons=tuple(reasons), changes=(), changed=())
    reasons += _comparable(run, baseline)
    changes = tuple(change for family in (PRIMARY, WATCHED) for change in compare(baseline, run, metrics=family, alternative="less", seed=seed).changes)
    reasons += _missing(run, baseline) + _worse(changes, gate) + _slices(run, baseline, gate, seed=seed) + _cost(run, baseline, gate)
    return Verdict(
        run=run.id, baseline=baseline.id, passed=not reasons, reasons=tuple(reasons), changes=changes,
        changed=tuple(changed(baseline.lock, run.lock)) if baseline.lock and run.lock else (),
    )  # fmt: skip


def _floors(run: Run, gate: Gate) -> list[Reason]:
    reasons = []
    for metric, floor in gate.floors.items():
        score = run.score(metric)
        lower = metric in LOWER_IS_BETTER
        if score is None:
            reasons.append(Reason(rule="missing", metric=metric, text=f"{metric} is missing from the run"))
        elif score.value > floor if lower else score.value < floor:
            reasons.append(Reason(rule="floor", metric=metric, text=f"{metric} {score.value:.3f} is {'above' if lower else 'below'} {floor}"))
    return reasons


def _comparable(run: Run, baseline: Run) -> list[Reason]:
    """Return what makes a comparison unsound: other items, other scoring code."""
    reasons = []
    if run.config.get("items_sha256") != baseline.config.get("items_sha256"):
        text = "the runs asked different items; run the baseline again on today's eval set"
        reasons.append(Reason(rule="items", metric="", text=text))
    if run.lock and baseline.lock and run.lock.scorers != baseline.lock.scorers:
        reasons.append(Reason(rule="items", metric="", text="the runs were scored by different code; run the baseline again"))
    return reasons


def _missing(run: Run, baseline: Run) -> list[Reason]:
    have = {score.metric for score in run.scores if score.slice == "all"}
    before = {score.metric for score in baseline.scores if score.slice == "all"}
    return [
        Reason(rule="missing", metric=metric, text=f"{metric} is missing; the baseline has it") for metric in (*PRIMARY, *WATCHED) if metric in before - have
    ]


def _worse(changes: Sequence[Change], gate: Gate) -> list[Reason]:
    reasons = []
    for change in changes:
        fall = change.difference if change.metric in LOWER_IS_BETTER else -change.difference
        if change.p_adjusted < gate.max_worse_p:
            text = f"{change.metric} {change.a:.3f} → {change.b:.3f}: {change.worse} items worse, {change.better} better (p = {change.p_adjusted:.2g})"
            reasons.append(Reason(rule="worse", metric=change.metric, text=text))
        elif fall > gate.max_drop:
            text = f"{change.metric} {change.a:.3f} → {change.b:.3f}: falls by more than {gate.max_drop}"
            reasons.append(Reason(rule="drop", metric=change.metric, text=text))
    return reasons


def _slices(run: Run, baseline: Run, gate: Gate, *, seed: int) -> list[Reason]:
    """Return the slice on which each of :data:`SLICED` got worse most, where it is more than noise."""
    reasons = []
    for metric in SLICED:
        hurt = [change for change in slice_changes(baseline, run, metric=metric, seed=seed) if change.p_adjusted < gate.max_worse_p]
        if hurt:
            worst = min(hurt, key=lambda change: change.p_adjusted)
            text = f"{metric} on {worst.slice} {worst.a:.3f} → {worst.b:.3f}: {worst.worse} of {worst.n} worse (p = {worst.p_adjusted:.2g})"
            reasons.append(Reason(rule="slice", metric=metric, text=text))
    return reasons


def _cost(run: Run, baseline: Run, gate: Gate) -> list[Reason]:
    """Return what became dearer; time is compared on like machines alone, memory also only where each run had its process for itself."""
    reasons = []
    old_tokens, new_tokens = (sum(item.tokens_read + item.tokens_written for item in each.items) for each in (baseline, run))
    if old_tokens and new_tokens > gate.max_tokens_ratio * old_tokens:
        reasons.append(Reason(rule="cost", metric="tokens", text=f"{new_tokens:,} tokens instead of {old_tokens:,}, more than {gate.max_tokens_ratio} times"))
    one, two = baseline.environment, run.environment
    alike = one is not None and two is not None and (one.processor, one.cores, one.system) == (two.processor, two.cores, two.system)
    if not alike or baseline.config.get("jobs", 1) != run.config.get("jobs", 1):
        return reasons
    old_ms, new_ms = (statistics.median(item.milliseconds for item in each.items) for each in (baseline, run))
    if new_ms > FORGIVING_MS and new_ms > gate.max_latency_ratio * old_ms:
        text = f"median answer {new_ms:.0f} ms instead of {old_ms:.0f}, more than {gate.max_latency_ratio} times"
        reasons.append(Reason(rule="cost", metric="latency", text=text))
    alone = baseline.config.get("alone") and run.config.get("alone")
    if alone and baseline.cost and run.cost and baseline.cost.peak_memory_mb and run.cost.peak_memory_mb > gate.max_memory_ratio * baseline.cost.peak_memory_mb:
        text = f"{run.cost.peak_memory_mb:.0f} MB of memory instead of {baseline.cost.peak_memory_mb:.0f}, more than {gate.max_memory_ratio} times"
        reasons.append(Reason(rule="cost", metric="memory", text=text))
    return reasons
