"""Two runs side by side."""

from __future__ import annotations

import pytest
from run_samples import LOCK, item, run_of

from core.errors import UsageError
from evals.comparison import compare


def test_flips_are_named_with_their_reasons_both_ways() -> None:
    a = run_of([item("x"), item("y", right=False), item("z")], "a")
    b = run_of([item("x", right=False), item("y"), item("z")], "b")
    found = compare(a, b)
    assert [(flip.id, flip.better, flip.before, flip.after) for flip in found.flips] == [
        ("x", False, "", "cites another document"),
        ("y", True, "cites another document", ""),
    ]
    (change,) = [change for change in found.changes if change.metric == "passage_right"]
    assert (change.a, change.b, change.better, change.worse, change.p) == (pytest.approx(0.6667, abs=1e-3), pytest.approx(0.6667, abs=1e-3), 1, 1, 1.0)


def test_metric_where_lower_is_better_counts_a_rise_as_worse() -> None:
    a, b = run_of([item(f"i{n}") for n in range(12)], "a"), run_of([item(f"i{n}", right=n > 7) for n in range(12)], "b")
    (change,) = compare(a, b, metrics=("wrong",), alternative="less").changes
    assert change.difference > 0 and (change.better, change.worse) == (0, 8) and change.p < 0.01


def test_items_that_only_one_run_asked_are_left_out_and_counted() -> None:
    found = compare(run_of([item("x"), item("y")], "a"), run_of([item("y"), item("z")], "b"))
    assert (found.items, found.only_a, found.only_b) == (1, 1, 1)
    assert "only the 1 items that both runs asked" in found.notes[0]
    with pytest.raises(UsageError, match="no item in common"):
        compare(run_of([item("x")], "a"), run_of([item("y")], "b"))


def test_item_whose_question_changed_is_another_item() -> None:
    found = compare(run_of([item("x"), item("y")], "a"), run_of([item("x", question="another"), item("y")], "b"))
    assert found.items == 1


def test_parts_of_the_lock_that_changed_are_named() -> None:
    b = run_of([item("x")], "b", lock=LOCK.model_copy(update={"corpus": "c", "scorers": "s"}))
    found = compare(run_of([item("x")], "a"), b)
    assert found.changed == ("corpus", "scorers") and "different code" in found.notes[0]
