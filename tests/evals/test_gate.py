"""What the gate lets through and what it refuses."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from run_samples import ENVIRONMENT, LOCK, item, run_of

from core.errors import UsageError
from core.manifest import Gate
from evals.gate import check_gate
from evals.items import ItemResult
from evals.runs import Run

GATE = Gate(floors={"source_right": 0.5})


def sample(count: int = 120, *, wrong: frozenset[int] = frozenset(), **more: object) -> list[ItemResult]:
    """Items, every fourth without an answer; the numbers in ``wrong`` are wrong."""
    return [item(f"i{n}", right=n not in wrong, answerable=n % 4 != 3, lang="zh" if n % 3 == 0 else "en", **more) for n in range(count)]


def rules(run: Run, baseline: Run | None, gate: Gate = GATE) -> set[str]:
    return {reason.rule for reason in check_gate(run, gate, baseline=baseline).reasons}


@given(st.integers(0, 10_000), st.integers(0, 60))
@examples(max_examples=20, deadline=None)
def test_run_passes_against_itself_whatever_the_seed_and_the_order(seed: int, number: int) -> None:
    wrong = frozenset(random.Random(seed).sample(range(120), number))
    items = sample(wrong=wrong)
    shuffled = random.Random(seed + 1).sample(items, len(items))
    assert check_gate(run_of(shuffled, "b"), Gate(), baseline=run_of(items, "a"), seed=seed).passed


def test_few_flips_all_to_the_worse_are_refused() -> None:
    verdict = check_gate(run_of(sample(wrong=frozenset(range(8)))), GATE, baseline=run_of(sample()))
    assert not verdict.passed
    assert any(reason.rule == "worse" and reason.metric == "right" for reason in verdict.reasons)


def test_as_many_flips_to_the_better_pass() -> None:
    assert rules(run_of(sample(wrong=frozenset({0, 1, 2}))), run_of(sample(wrong=frozenset({4, 5, 6})))) == set()


def test_large_fall_is_refused_even_where_it_may_be_noise() -> None:
    few = sample(24)
    fallen = sample(24, wrong=frozenset({0, 1}))
    assert "drop" in rules(run_of(fallen), run_of(few))
    assert "drop" not in rules(run_of(fallen), run_of(few), Gate(max_drop=0.5))


def test_fall_that_hits_one_language_alone_names_it() -> None:
    hit = frozenset(n for n in range(0, 120, 3) if n % 4 != 3)
    better = frozenset(n for n in range(1, 60) if n % 3 and n % 4 != 3)
    before, after = sample(wrong=better), sample(wrong=hit)
    reasons = [reason for reason in check_gate(run_of(after), Gate(max_drop=1.0), baseline=run_of(before)).reasons if reason.rule == "slice"]
    assert reasons and "on zh" in reasons[0].text


def test_floor_and_ceiling_are_kept_and_a_missing_metric_fails() -> None:
    bad = run_of(sample(wrong=frozenset(range(80))))
    assert rules(bad, None) == {"floor"}
    assert rules(run_of(sample()), None, Gate(floors={"wrong": 0.1})) == set()
    assert rules(bad, None, Gate(floors={"wrong": 0.1})) == {"floor"}
    assert rules(run_of(sample()), None, Gate(floors={"macro_f1": 0.1})) == {"missing"}


def test_metric_that_the_baseline_has_and_the_run_has_not_is_refused() -> None:
    run = run_of(sample())
    without = run.model_copy(update={"scores": tuple(score for score in run.scores if score.metric != "abstention")})
    assert rules(without, run) == {"missing"}


def test_other_items_or_other_scoring_code_are_not_compared_as_if_they_were_the_same() -> None:
    assert rules(run_of(sample(), config={"items_sha256": "y", "jobs": 1}), run_of(sample())) == {"items"}
    assert rules(run_of(sample(), lock=LOCK.model_copy(update={"scorers": "b"})), run_of(sample())) == {"items"}
    with pytest.raises(UsageError, match="no item in common"):
        check_gate(run_of([item("other")]), GATE, baseline=run_of(sample()))


def test_cost_is_compared_on_like_machines() -> None:
    slow = run_of(sample(milliseconds=400.0))
    assert rules(slow, run_of(sample(milliseconds=100.0))) == {"cost"}
    elsewhere = slow.model_copy(update={"environment": ENVIRONMENT.model_copy(update={"cores": 64})})
    assert rules(elsewhere, run_of(sample(milliseconds=100.0))) == set()
    assert rules(run_of(sample(milliseconds=40.0)), run_of(sample(milliseconds=2.0))) == set()
    assert rules(run_of(sample(tokens_read=1_000)), run_of(sample())) == {"cost"}


def test_memory_is_compared_where_each_run_had_its_process_for_itself() -> None:
    run = run_of(sample())
    assert run.cost is not None
    large = run.model_copy(update={"cost": run.cost.model_copy(update={"peak_memory_mb": 400.0})})
    assert rules(large, run) == {"cost"}
    assert rules(large.model_copy(update={"config": large.config | {"alone": False}}), run) == set()
