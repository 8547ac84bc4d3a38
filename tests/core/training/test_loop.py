"""The loop that all tasks run in, on a task of one number: find 3 by gradient descent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.training.checkpoint import Point, read_progress
from core.training.loop import Diverged, Trained, best_of, better, run, stalled
from core.training.schedule import LoopRecipe, batch, passes, schedule

RECIPE = LoopRecipe(learning_rate=0.1, weight_decay=0.0, batch=4, steps=30, warmup=0, validate_every=10, patience=100)


class Number:
    """A task whose loss is (x − 3)² with noise that follows from torch's seed alone."""

    goal = "loss_of_x"
    epoch = 5

    def __init__(self) -> None:
        import torch

        self.x = torch.nn.Parameter(torch.zeros(1))
        self.parameters = {"x": self.x}
        self.accelerator = SimpleNamespace(backward=lambda loss: loss.backward())
        self.numbers: list[int] = []

    def loss(self, number: int) -> Any:
        import torch

        self.numbers.append(number)
        return (self.x - 3 + 0.1 * torch.randn(1)).square().sum()

    def validate(self) -> dict[str, float]:
        return {"loss_of_x": float((self.x.detach() - 3).square().sum())}


def ran(folder: Path, *, recipe: LoopRecipe = RECIPE, stop_after: int = 10**6) -> tuple[Trained | None, Number]:
    task = Number()
    return run(task, recipe, folder=folder, stated="number", stop=lambda: len(task.numbers) >= stop_after), task


def test_run_finds_the_number(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, recipe=RECIPE.model_copy(update={"steps": 120}))
    assert found is not None and found.finished
    assert abs(float(found.tensors["x"][0]) - 3) < 0.2


@pytest.mark.parametrize("stops", [(1,), (9,), (10,), (3, 4, 13)])
def test_stopped_run_goes_on_at_the_same_step_to_the_same_end(tmp_path: Path, stops: tuple[int, ...]) -> None:
    undisturbed, _ = ran(tmp_path / "whole")
    seen: list[int] = []
    for stop in stops:
        _, task = ran(tmp_path / "stopped", stop_after=stop)
        seen += task.numbers
    again, task = ran(tmp_path / "stopped")
    assert undisturbed is not None and again is not None
    assert again.history == undisturbed.history and np.array_equal(again.tensors["x"], undisturbed.tensors["x"])
    assert seen + task.numbers == list(range(30))


def test_run_stopped_before_the_first_validation_returns_nothing_and_says_how_far_it_is(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, stop_after=4)
    state = read_progress(tmp_path)
    assert found is None and state is not None
    assert (state.step, state.steps, len(state.losses), state.finished) == (4, 30, 4, False)


def test_accumulated_passes_make_one_step(tmp_path: Path) -> None:
    found, task = ran(tmp_path, recipe=RECIPE.model_copy(update={"accumulate": 3, "steps": 10}))
    assert found is not None and found.history[-1].step == 10 and task.numbers == list(range(30))


def test_epoch_is_validated_where_the_recipe_names_no_number_of_steps(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, recipe=RECIPE.model_copy(update={"validate_every": 0}))
    assert found is not None and [point.step for point in found.history] == [5, 10, 15, 20, 25, 30]


def test_loss_of_a_point_is_the_mean_since_the_one_before(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, recipe=RECIPE.model_copy(update={"learning_rate": 1e-9}))
    assert found is not None and all(point.loss == pytest.approx(9.0, abs=0.6) for point in found.history)


def point(value: float) -> Point:
    return Point(step=1, loss=0.0, metrics={"f1": value, "perplexity": value})


def test_more_is_better_but_for_losses_and_perplexity() -> None:
    assert better(point(2), point(1), "f1") and better(point(1), point(2), "perplexity") and not better(point(1), point(1), "f1")
    assert best_of([point(1), point(3), point(2)], "f1").metrics["f1"] == 3


def test_run_has_stalled_when_the_best_lies_as_far_back_as_its_patience() -> None:
    history = [point(1), point(3), point(2), point(3)]
    assert stalled(history, "f1", 2) and not stalled(history, "f1", 3) and not stalled([], "f1", 1)


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 50), st.integers(0, 5))
@examples(max_examples=60, deadline=None)
def test_batches_of_an_epoch_share_no_example(count: int, size: int, epoch: int, seed: int) -> None:
    recipe = RECIPE.model_copy(update={"batch": size, "seed": seed})
    number = passes(count, recipe)
    drawn = np.concatenate([batch(count, recipe, epoch * number + n) for n in range(number)])
    assert len(set(drawn.tolist())) == len(drawn) == number * min(size, count) and drawn.min() >= 0 and drawn.max() < count


@given(st.integers(1, 1_000), st.integers(0, 200))
@examples(max_examples=60, deadline=None)
def test_schedule_rises_then_falls_within_0_and_1(steps: int, warmup: int) -> None:
    recipe = RECIPE.model_copy(update={"steps": steps, "warmup": warmup})
    shares = [schedule(step, recipe) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    assert shares[:warmup] == sorted(shares[:warmup]) and shares[warmup:] == sorted(shares[warmup:], reverse=True)


@pytest.mark.parametrize("where", ["loss", "metric"])
def test_run_that_diverges_says_so_and_its_last_checkpoint_is_whole(tmp_path: Path, where: str) -> None:
    task = Number()
    calm, measured = task.loss, task.validate
    if where == "loss":
        task.loss = lambda number: calm(number) * (float("nan") if number == 15 else 1.0)  # type: ignore[method-assign]
    else:
        task.validate = lambda: measured() | ({"other": float("inf")} if len(task.numbers) == 20 else {})  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="is not finite at step (16|20); lower learning_rate"):
        run(task, RECIPE, folder=tmp_path, stated="number")
    state = read_progress(tmp_path)
    assert state is not None and (state.step, len(state.history)) == (10, 1)
