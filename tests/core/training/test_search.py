"""A search finds the better hyperparameters by validation alone, goes on after a kill, and writes the best into the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from core.errors import CheckFailed, UsageError
from core.settings import Settings
from core.training.checkpoint import Point, RunState, read_progress, write_checkpoint
from core.training.context import RunContext
from core.training.loop import LoopRecipe
from core.training.search import RESULT, Limits, Range, SearchReport, read_space, search, with_values
from core.training.tasks import TASKS, TrainingTask, training_task

RECIPE = """# Kept.
task = "toy"

[training]
learning_rate = 0.05  # kept too
steps = 4
seed = 3

[search]
learning_rate = {low = 1e-3, high = 0.1, log = true}
"""


class Toy(BaseModel):
    """A plan whose runs take no time: the score is how near the learning rate is to 0.01."""

    task: str
    training: LoopRecipe = Field(default_factory=LoopRecipe)


class Runs:
    """Carries out toy runs, notes which, and can be made to stop or break."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.before_end: Callable[[], None] = lambda: None

    def __call__(self, plan: Toy, context: RunContext) -> None:
        assert context.trial
        rate = plan.training.learning_rate
        self.rates.append(rate)
        history: list[Point] = []
        for step in range(1, plan.training.steps + 1):
            if context.stop():
                return
            score = step / plan.training.steps - abs(rate - 0.01)
            history.append(Point(step=step, loss=1.0, metrics={"score": score}))
            state = RunState(
                fingerprint="f", step=step, steps=plan.training.steps, state_sha256="", best_sha256="", history=tuple(history), goal="score",
                finished=step == plan.training.steps,
            )  # fmt: skip
            context.folder.mkdir(parents=True, exist_ok=True)
            write_checkpoint(context.folder, state, tensors={}, best={})
            self.before_end()


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def toy(runs: Runs) -> TrainingTask:
    return TrainingTask(name="toy", plan=Toy, run=runs, goal="score")  # type: ignore[arg-type]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE, "utf-8")
    return tmp_path / "recipe.toml"


@pytest.fixture
def context(settings: Settings, tmp_path: Path) -> RunContext:
    return RunContext(
        domain=None,
        folder=tmp_path / "search",
        sources=tmp_path,
        data=tmp_path,
        settings=settings,
        items=(),
        command="",
        progress=lambda text, done, total: None,
    )


def plan(recipe: Path) -> Toy:
    import tomllib

    return Toy.model_validate({key: value for key, value in tomllib.loads(recipe.read_text("utf-8")).items() if key != "search"})


def test_best_is_written_into_the_recipe_and_comments_stay(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=12))
    assert found is not None and found.written and len(found.trials) == 12 and runs.rates[0] == 0.05
    best = found.best.values["learning_rate"]
    assert isinstance(best, float) and abs(best - 0.01) < 0.04 and found.best.score == max(one.score for one in found.trials if one.score is not None)
    text = recipe.read_text("utf-8")
    assert "# Kept." in text and "# kept too" in text and plan(recipe).training.learning_rate == best
    assert SearchReport.model_validate_json((context.folder / RESULT).read_text()) == found


def test_killed_search_goes_on_and_repeats_no_finished_trial(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    def killed() -> None:
        if len(runs.rates) == 3:
            raise KeyboardInterrupt

    runs.before_end = killed
    with pytest.raises(KeyboardInterrupt):
        search(toy, plan(recipe), recipe, context, limits=Limits(trials=5))
    assert "0.05" in recipe.read_text("utf-8")
    runs.before_end = lambda: None
    third, runs.rates = runs.rates[2], []
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=5))
    assert found is not None and runs.rates[0] == third and len(runs.rates) == 3
    assert sum(one.state in {"complete", "pruned"} for one in found.trials) == 5
    runs.rates = []
    assert search(toy, plan(recipe), recipe, context, limits=Limits(trials=5)) is not None and runs.rates == []


def test_search_that_is_stopped_keeps_what_is_finished(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    from dataclasses import replace

    stopped = replace(context, stop=lambda: len(runs.rates) >= 3)
    found = search(toy, plan(recipe), recipe, stopped, limits=Limits(trials=50))
    assert found is not None and len(found.trials) == 2
    assert search(toy, plan(recipe), recipe, replace(context, folder=context.folder / "other", stop=lambda: True), limits=Limits(trials=5)) is None


def test_minutes_end_a_search(toy: TrainingTask, recipe: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("core.training.search.time.monotonic", lambda: now.__setitem__(0, now[0] + 1.0) or now[0])
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=1_000, minutes=1))
    assert found is not None and 1 < len(found.trials) < 60


def test_trials_that_all_break_are_a_no(recipe: Path, context: RunContext) -> None:
    broken = TrainingTask(name="toy", plan=Toy, run=lambda plan, context: None, goal="score")
    calls = [0]

    def enough() -> bool:
        calls[0] += 1
        return calls[0] > 6

    from dataclasses import replace

    with pytest.raises(CheckFailed, match="no trial of the search could be finished"):
        search(broken, plan(recipe), recipe, replace(context, stop=enough), limits=Limits(trials=2))


def test_poor_trials_are_given_up_early(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    recipe.write_text(RECIPE.replace("low = 1e-3, high = 0.1, log = true", "choices = [0.01, 0.011, 0.012, 0.013, 0.1]").replace("0.05", "0.01"))
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=25))
    assert found is not None and not found.written and found.best.values == {"learning_rate": 0.01}
    late = [one for one in found.trials if one.number > 5 and one.values["learning_rate"] == 0.1]
    assert all(one.state == "pruned" or one.score is not None for one in late)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("lerning_rate = {low = 1, high = 2}", "did you mean 'learning_rate'"),
        ("learning_rate = {low = 2, high = 1}", "low has to be below high"),
        ("learning_rate = {low = 1}", "give either choices, or low and high"),
        ("learning_rate = {low = 0, high = 1, log = true}", "a log range begins above 0"),
        ("learning_rate = {low = 0.01, high = 7}", r"search.learning_rate: Input should be less than or equal to 0.1"),
        ("batch = {choices = [8, 0]}", r"search.batch: Input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_space_that_is_wrong_says_why_before_a_trial(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext, table: str, words: str) -> None:
    recipe.write_text(RECIPE.partition("[search]")[0] + "[search]\n" + table + "\n", "utf-8")
    with pytest.raises(UsageError, match=words):
        search(toy, plan(recipe), recipe, context, limits=Limits(trials=2))
    assert runs.rates == []


def test_recipe_without_a_space_searches_the_learning_rate_and_the_rank() -> None:
    from core.training.lora import TuningRecipe

    space = read_space('task = "x"\n', TuningRecipe(learning_rate=0.05))
    assert space == {"learning_rate": Range(low=0.01, high=0.1, log=True), "rank": Range(choices=(8, 16, 32))}
    assert set(read_space("", LoopRecipe())) == {"learning_rate"}


@given(st.dictionaries(st.sampled_from(["steps", "batch", "seed", "rank"]), st.integers(1, 999), min_size=1))
def test_values_are_written_where_they_belong_and_nothing_else_changes(values: dict[str, Any]) -> None:
    import tomllib

    before = tomllib.loads(RECIPE)
    after = tomllib.loads(with_values(RECIPE, values))
    assert after == before | {"training": before["training"] | values}
    assert tomllib.loads(with_values("# only a remark\n", values)) == {"training": values}


def test_every_task_names_the_goal_that_its_loop_has() -> None:
    from importlib import import_module

    found = {}
    for name in TASKS:
        module = import_module(f"core.training.{name}")
        task = next(value for key, value in vars(module).items() if key.endswith("Task") and hasattr(value, "goal"))
        found[name] = task.goal
    assert found == {name: training_task(name).goal for name in TASKS}


def test_checkpoint_says_by_which_metric_it_is_judged(toy: TrainingTask, recipe: Path, context: RunContext) -> None:
    search(toy, plan(recipe), recipe, context, limits=Limits(trials=1))
    (folder,) = context.folder.glob("trial-*")
    state = read_progress(folder)
    assert state is not None and state.goal == "score" and json.loads((folder / "progress.json").read_text())["finished"]
