"""A search finds the better hyperparameters by validation alone, goes on after a kill, and writes the best into the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from core.errors import CheckFailed, UsageError
from core.settings import Settings
from core.training.checkpoint import Point, RunState, read_progress, write_checkpoint
from core.training.context import RunContext
from core.training.loop import run
from core.training.schedule import LoopRecipe
from core.training.search import RESULT, Limits, SearchReport, search, with_values
from core.training.search_space import Range, read_space
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
    with pytest.raises(CheckFailed, match="no trial of the search could be finished"):
        search(broken, plan(recipe), recipe, context, limits=Limits(trials=2))


def test_minutes_that_are_too_few_for_one_trial_are_a_no(toy: TrainingTask, recipe: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("core.training.search.time.monotonic", lambda: now.__setitem__(0, now[0] + 40.0) or now[0])
    with pytest.raises(CheckFailed, match="give it more minutes"):
        search(toy, plan(recipe), recipe, context, limits=Limits(trials=5, minutes=1))


def test_search_that_goes_on_suggests_nothing_that_was_tried(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    def killed() -> None:
        if len(runs.rates) == 6:
            raise KeyboardInterrupt

    runs.before_end = killed
    with pytest.raises(KeyboardInterrupt):
        search(toy, plan(recipe), recipe, context, limits=Limits(trials=10))
    finished, runs.rates, runs.before_end = runs.rates[:5], [], lambda: None
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=10))
    assert found is not None and len(runs.rates) == 5 and not set(finished) & set(runs.rates)
    assert len({one.values["learning_rate"] for one in found.trials}) == len(found.trials) == 10


def test_stopped_search_of_a_recipe_without_a_space_goes_on(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    from dataclasses import replace

    recipe.write_text(RECIPE.partition("[search]")[0], "utf-8")
    first = search(toy, plan(recipe), recipe, replace(context, stop=lambda: len(runs.rates) >= 5), limits=Limits(trials=8))
    assert first is not None and first.written and len(first.trials) == 4  # the best so far is in the recipe, which moves the default space
    runs.rates = []
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=8))
    assert found is not None and len(found.trials) == 8 and len(runs.rates) == 4 and found.trials[:4] == first.trials


def test_values_that_were_tried_are_not_tried_again(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    recipe.write_text(RECIPE.replace("low = 1e-3, high = 0.1, log = true", "choices = [0.01, 0.05]"), "utf-8")
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=9))
    assert found is not None and sorted(runs.rates) == [0.01, 0.05] and len(found.trials) == 2


def test_other_recipe_in_the_same_folder_has_trials_of_its_own(toy: TrainingTask, recipe: Path, context: RunContext) -> None:
    search(toy, plan(recipe), recipe, context, limits=Limits(trials=1))
    recipe.write_text(RECIPE.replace("steps = 4", "steps = 5"), "utf-8")
    search(toy, plan(recipe), recipe, context, limits=Limits(trials=1))
    assert len(list(context.folder.glob("trial-*"))) == 2


def test_trial_that_diverges_counts_and_the_search_goes_on(recipe: Path, context: RunContext) -> None:
    def run_number(plan: Toy, context: RunContext) -> None:
        import torch

        x = torch.nn.Parameter(torch.zeros(1))
        scale = float("inf") if plan.training.learning_rate > 0.02 else 1.0
        task = SimpleNamespace(
            parameters={"x": x}, accelerator=SimpleNamespace(backward=lambda loss: loss.backward()), goal="loss_of_x", epoch=1,
            loss=lambda number: (x - 3).square().sum() * scale, validate=lambda: {"loss_of_x": float((x.detach() - 3).square().sum())},
        )  # fmt: skip
        run(task, plan.training, folder=context.folder, stated="f", stop=context.stop)

    task = TrainingTask(name="toy", plan=Toy, run=run_number, goal="loss_of_x")  # type: ignore[arg-type]
    found = search(task, plan(recipe), recipe, context, limits=Limits(trials=6))
    assert found is not None and len(found.trials) == 6 and found.trials[0].state == "failed" and found.trials[0].values == {"learning_rate": 0.05}
    assert float(found.best.values["learning_rate"]) <= 0.02 and found.best.state == "complete"


def test_recipe_behind_a_link_stays_there_and_keeps_who_may_read_it(toy: TrainingTask, recipe: Path, context: RunContext, tmp_path: Path) -> None:
    real = recipe.rename(tmp_path / "real.toml")
    real.chmod(0o640)
    recipe.symlink_to(real)
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=8))
    assert found is not None and found.written and recipe.is_symlink() and real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("table", "name", "kind"), [("weight_decay = {low = 0, high = 1}", "weight_decay", float), ("batch = {low = 8.0, high = 64.0}", "batch", int)]
)
def test_interval_is_in_the_numbers_of_its_hyperparameter(toy: TrainingTask, recipe: Path, context: RunContext, table: str, name: str, kind: type) -> None:
    recipe.write_text(RECIPE.partition("[search]")[0] + "[search]\n" + table + "\n", "utf-8")
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=6))
    assert found is not None
    values = [one.values[name] for one in found.trials]
    assert all(type(value) is kind for value in values) and len(set(values)) > 3


def test_switch_is_searched_as_one() -> None:
    from core.training.classifier import ClassifierRecipe

    assert read_space("[search]\nbalance = {choices = [true, false]}\n", ClassifierRecipe())["balance"].choices == (True, False)
    assert all(type(one) is bool for one in read_space("[search]\nbalance = {choices = [true, false]}\n", ClassifierRecipe())["balance"].choices)
    with pytest.raises(UsageError, match="search.balance: is no number; give choices"):
        read_space("[search]\nbalance = {low = 0, high = 1}\n", ClassifierRecipe())
    with pytest.raises(UsageError, match="search.batch: low and high have to be whole numbers"):
        read_space("[search]\nbatch = {low = 0.5, high = 8}\n", ClassifierRecipe())


def test_poor_trials_are_given_up_early(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=20))
    assert found is not None
    given_up = [one for one in found.trials if one.state == "pruned"]
    assert given_up and all(one.number > 4 and one.score is None for one in given_up)
    finished = [state.finished for folder in context.folder.glob("trial-*") if (state := read_progress(folder)) is not None]
    assert finished.count(False) == len(given_up) and found.best.state == "complete"


def test_recipe_that_is_best_as_it_is_stays(toy: TrainingTask, runs: Runs, recipe: Path, context: RunContext) -> None:
    text = RECIPE.replace("low = 1e-3, high = 0.1, log = true", "choices = [0.01, 0.011, 0.1]").replace("0.05", "0.01")
    recipe.write_text(text, "utf-8")
    found = search(toy, plan(recipe), recipe, context, limits=Limits(trials=9))
    assert found is not None and not found.written and found.best.values == {"learning_rate": 0.01} and recipe.read_text("utf-8") == text


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
    assert not list(folder.glob("*.safetensors"))
    assert state is not None and state.goal == "score" and json.loads((folder / "progress.json").read_text())["finished"]
