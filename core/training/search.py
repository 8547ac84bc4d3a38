"""Searches the hyperparameters of a recipe: so many trials within so many minutes, judged by validation alone; the best is written back into the recipe.

A trial is a run in a folder of its own, named by its hyperparameters: a search that was killed goes on, and no finished trial is repeated. Which
hyperparameters to try is Optuna's to say (Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; TPE), and which
trials to give up: those worse than the median of the others at the same step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from core.errors import CheckFailed, UsageError, unknown
from core.training.checkpoint import RunState, read_progress, write_whole
from core.training.context import RunContext
from core.training.loop import best_of, smaller_is_better
from core.training.plan import SEARCH
from core.training.tasks import TrainingTask
from core.types import Frozen

JOURNAL, RESULT = "journal.jsonl", "search.json"
WIDTH = 5.0
"""A recipe that names no space is searched from a fifth of its learning rate to five times that."""
RANKS = (8, 16, 32)
STARTUP = 4
"""Finished trials before one is given up early."""
P = TypeVar("P", bound=BaseModel)


class Range(Frozen):
    """Values of one hyperparameter: some choices, or an interval."""

    choices: tuple[float | int | str, ...] = ()
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    """Whether ratios matter rather than differences."""

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        interval = self.low is not None and self.high is not None
        if bool(self.choices) == interval or (self.low is None) != (self.high is None):
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low has to be below high")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("a log range begins above 0")
        return self


class Tried(Frozen):
    """One trial."""

    number: int
    values: dict[str, float | int | str]
    state: str
    """``complete``, ``pruned`` (given up early) or ``failed``."""
    score: float | None
    """The best validation; None where there was none."""
    seconds: float = 0.0


class SearchReport(Frozen):
    """``search.json``."""

    task: str
    goal: str
    trials: tuple[Tried, ...]
    best: Tried
    written: bool
    """Whether the best was written into the recipe; not where the recipe's own values are as good."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search ends: after so many finished trials, or so many minutes."""

    trials: int
    minutes: float = 0.0
    """0: no limit."""


def read_space(text: str, training: BaseModel) -> dict[str, Range]:
    """Return what a recipe's ``[search]`` table lets a search change; without one, the learning rate, and the rank where there is one.

    Args:
        text: the recipe.
        training: its hyperparameters.

    Raises:
        UsageError: a name that is no hyperparameter, or values that are no range.
    """
    stated = tomllib.loads(text).get(SEARCH)
    if stated is None:
        rate = float(getattr(training, "learning_rate"))  # noqa: B009 - every recipe of the loop has one; BaseModel does not say so
        space = {"learning_rate": Range(low=rate / WIDTH, high=min(0.1, rate * WIDTH), log=True)}
        return space | ({"rank": Range(choices=RANKS)} if "rank" in type(training).model_fields else {})
    if not isinstance(stated, dict) or not stated:
        raise UsageError("the recipe's [search] names no hyperparameter; write for instance `learning_rate = {low = 1e-4, high = 1e-2, log = true}`")
    space = {}
    for name, value in stated.items():
        if name not in type(training).model_fields:
            raise unknown("hyperparameter", name, type(training).model_fields)
        try:
            space[name] = Range.model_validate(value)
        except ValidationError as error:
            raise UsageError(f"the recipe's search.{name}: {error.errors(include_url=False)[0]['msg']}") from error
    return space


def search(task: TrainingTask, plan: Any, recipe: Path, context: RunContext, *, limits: Limits) -> SearchReport | None:
    """Search, and write the best hyperparameters into the recipe.

    Args:
        task: what is trained.
        plan: the recipe as it was read.
        recipe: its file.
        context: of the trials; theirs are folders below its own.
        limits: when to end.

    Returns:
        What was tried; None when it was stopped before any trial had ended.

    Raises:
        UsageError: the recipe's ``[search]`` is not valid. CheckFailed: no trial could be finished.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    text = recipe.read_text("utf-8")
    space = read_space(text, plan.training)
    for name, choice in space.items():
        for value in choice.choices or (choice.low, choice.high):
            _with(plan, {name: value})  # a bound that the recipe does not allow is said before an hour is spent
    folder = context.folder
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    goal_direction: Literal["minimize", "maximize"] = "minimize" if smaller_is_better(task.goal) else "maximize"
    study = optuna.create_study(
        storage=storage, study_name=_name(text), direction=goal_direction, load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=plan.training.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )  # fmt: skip
    if not study.trials:
        own = {name: getattr(plan.training, name) for name in space}
        if all(_within(space[name], value) for name, value in own.items()):
            study.enqueue_trial(own)  # what the recipe says now is the first trial: a search should not end with worse
    for cut in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut.params)  # killed on its way: the same values have the same folder, where it goes on
    begun = time.monotonic()
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

    def over() -> bool:
        return context.stop() or bool(limits.minutes and time.monotonic() - begun > limits.minutes * 60)

    while len(study.get_trials(states=ended)) < limits.trials and not over():
        trial = study.ask()
        values = {name: _suggested(trial, name, choice) for name, choice in space.items()}
        done = len(study.get_trials(states=ended))
        best = f", best {study.best_value:.3f}" if study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) else ""
        context.progress(f"trial {done + 1} of {limits.trials}{best}", done, limits.trials)
        _try(study, trial, task, _with(plan, values), context, values, over)
    return _reported(study, task, plan, recipe, space, folder)


def _name(text: str) -> str:
    """Return the name of a recipe's study: another recipe, but for the values that a search writes into it, is another study."""
    data = tomllib.loads(text)
    searched = data.get(SEARCH) or {}
    training = {key: value for key, value in (data.get("training") or {}).items() if key not in searched}
    rest = json.dumps({**data, "training": training}, sort_keys=True, default=str)
    return hashlib.sha256(rest.encode()).hexdigest()[:16]


def _within(choice: Range, value: Any) -> bool:
    if choice.choices:
        return value in choice.choices
    return choice.low is not None and choice.high is not None and choice.low <= value <= choice.high


def _suggested(trial: Any, name: str, choice: Range) -> Any:
    if choice.choices:
        return trial.suggest_categorical(name, list(choice.choices))
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    return float(f"{trial.suggest_float(name, choice.low, choice.high, log=choice.log):.3g}")


def _with(plan: P, values: Mapping[str, Any]) -> P:
    """Return a plan with other hyperparameters.

    Raises:
        UsageError: a value is out of the bounds of its hyperparameter.
    """
    training = getattr(plan, "training")  # noqa: B009 - every plan has one; BaseModel does not say so
    try:
        return plan.model_copy(update={"training": type(training).model_validate(training.model_dump() | dict(values))})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"the recipe's search.{'.'.join(map(str, first['loc']))}: {first['msg']}; got {str(first['input'])[:40]}") from error


def _try(study: Any, trial: Any, task: TrainingTask, plan: Any, context: RunContext, values: Mapping[str, Any], over: Callable[[], bool]) -> None:
    """Carry out one trial and tell the study how it ended; one that was stopped on the way is left to go on."""
    import optuna

    digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:12]
    watched = _Watched(context.folder / f"trial-{digest}", trial, over)
    task.run(plan, replace(context, folder=watched.folder, trial=True, stop=watched.stop, progress=lambda text, done, total: None))
    state = read_progress(watched.folder)
    if watched.pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif state is not None and state.finished and state.history:
        study.tell(trial, best_of(state.history, state.goal).metrics[state.goal])
    elif not over():
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


class _Watched:
    """A trial on its way: its validations are reported as they come."""

    def __init__(self, folder: Path, trial: Any, over: Callable[[], bool]) -> None:
        self.folder, self._trial, self._over = folder, trial, over
        self.pruned = False
        self._told = 0

    def stop(self) -> bool:
        """Whether the search is over or the trial is worse than its peers."""
        state = read_progress(self.folder)
        if state is not None and len(state.history) > self._told:
            self._report(state)
            self.pruned = self.pruned or self._trial.should_prune()
        return self.pruned or self._over()

    def _report(self, state: RunState) -> None:
        for point in state.history[self._told :]:
            self._trial.report(point.metrics[state.goal], point.step)
        self._told = len(state.history)


def _reported(study: Any, task: TrainingTask, plan: Any, recipe: Path, space: Mapping[str, Range], folder: Path) -> SearchReport | None:
    trials = tuple(
        Tried(
            number=trial.number + 1, values=trial.params, state={"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed"), score=trial.value,
            seconds=round(trial.duration.total_seconds(), 1) if trial.duration else 0.0,
        )
        for trial in study.trials
        if trial.state.is_finished() and trial.params
    )  # fmt: skip
    complete = [one for one in trials if one.state == "complete" and one.score is not None]
    if not complete:
        if trials:
            raise CheckFailed("no trial of the search could be finished; give it more minutes, or fewer steps in the recipe")
        return None
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    best = min(complete, key=lambda one: (sign * (one.score or 0.0), one.number))
    values = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in best.values.items()}
    changed = {name: value for name, value in values.items() if value != getattr(plan.training, name)}
    if changed:
        write_whole(recipe, with_values(recipe.read_text("utf-8"), changed).encode())
    report = SearchReport(task=task.name, goal=task.goal, trials=trials, best=best.model_copy(update={"values": values}), written=bool(changed))
    write_whole(folder / RESULT, (report.model_dump_json(indent=1) + "\n").encode())
    return report


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return a recipe with other hyperparameters in its ``[training]`` table; comments and order stay."""
    import tomlkit

    document = tomlkit.parse(text)
    if "training" not in document:
        document["training"] = tomlkit.table()
    table: Any = document["training"]
    for name, value in values.items():
        table[name] = value
    return tomlkit.dumps(document)
