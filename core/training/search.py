"""Searches the hyperparameters of a recipe: so many trials within so many minutes, judged by validation alone; the best is written back into the recipe.

A trial is a run in a folder of its own, named by its hyperparameters: a search that was killed goes on, and no finished trial is repeated. Which
hyperparameters to try is Optuna's to say (Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; TPE), and which
trials to give up: those worse than the median of the others at the same step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import CheckFailed
from core.training.checkpoint import RunState, read_progress, write_whole
from core.training.context import RunContext
from core.training.loop import Diverged, best_of, smaller_is_better
from core.training.plan import SEARCH
from core.training.search_space import Range, Value, read_space, with_hyperparameters
from core.training.tasks import TrainingTask
from core.types import Frozen

JOURNAL, RESULT = "journal.jsonl", "search.json"
STARTUP = 4
"""Finished trials before one is given up early."""


class Tried(Frozen):
    """One trial."""

    number: int
    values: dict[str, Value]
    state: str
    """``complete``, ``pruned`` (given up early) or ``failed`` (diverged)."""
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


def search(task: TrainingTask, plan: Any, recipe: Path, context: RunContext, *, limits: Limits) -> SearchReport | None:
    """Search, and write the best hyperparameters into the recipe.

    Args:
        task: what is trained.
        plan: the recipe as it was read.
        recipe: its file.
        context: of the trials; theirs are folders below its own.
        limits: when to end.

    Returns:
        What was tried; None when it was stopped before any trial was complete.

    Raises:
        UsageError: the recipe's ``[search]`` is not valid. CheckFailed: no trial could be finished in time, or all diverged.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    text = recipe.read_text("utf-8")
    space = read_space(text, plan.training)
    for name, choice in space.items():
        for value in choice.choices or (choice.low, choice.high):
            with_hyperparameters(plan, {name: value})  # a bound that the recipe does not allow is said before an hour is spent
    folder = context.folder
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    goal_direction: Literal["minimize", "maximize"] = "minimize" if smaller_is_better(task.goal) else "maximize"
    study = optuna.create_study(
        storage=storage, study_name=_name(text, space), direction=goal_direction, load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )  # fmt: skip
    space = _kept_space(study, text, space)
    # A sampler that begins anew would suggest again what it suggested first: its seed follows from how far the search is.
    study.sampler = optuna.samplers.TPESampler(seed=plan.training.seed + len(study.trials))
    own = {name: getattr(plan.training, name) for name in space}
    if not study.trials and all(space[name].holds(value) for name, value in own.items()):
        study.enqueue_trial(own)  # what the recipe says now is the first trial: a search should not end with worse
    for cut in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut.params)  # killed on its way: the same values have the same folder, where it goes on
    begun = time.monotonic()

    def over() -> bool:
        return context.stop() or bool(limits.minutes and time.monotonic() - begun > limits.minutes * 60)

    while (done := len(_ended(study))) < limits.trials and not over():
        trial = study.ask()
        values = {name: choice.ask(trial, name, own[name]) for name, choice in space.items()}
        best = f", best {study.best_value:.3f}" if study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) else ""
        context.progress(f"trial {done + 1} of {limits.trials}{best}", done, limits.trials)
        if not _known(study, trial, values):
            _try(study, trial, task, with_hyperparameters(plan, values), context, over)
    if context.stop() and not study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        return None
    return _reported(study, task, plan, recipe, folder)


def _name(text: str, space: Mapping[str, Range]) -> str:
    """Return the name of a recipe's study: another recipe, but for the values that a search writes into it, is another study."""
    data = tomllib.loads(text)
    training = {key: value for key, value in (data.get("training") or {}).items() if key not in space}
    rest = json.dumps({**data, "training": training}, sort_keys=True, default=str)
    return hashlib.sha256(rest.encode()).hexdigest()[:16]


def _kept_space(study: Any, text: str, space: dict[str, Range]) -> dict[str, Range]:
    """Return the space in which a study began: one that the recipe does not state would move with the best that is written into it."""
    if SEARCH in tomllib.loads(text):
        return space
    if SEARCH not in study.user_attrs:
        study.set_user_attr(SEARCH, {name: choice.model_dump(mode="json") for name, choice in space.items()})
    return {name: Range.model_validate(choice) for name, choice in study.user_attrs[SEARCH].items()}


def _ended(study: Any) -> list[Any]:
    """Return the trials that count: complete, given up or diverged, but not those that a kill cut short."""
    import optuna

    return list(study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)))


def _known(study: Any, trial: Any, values: Mapping[str, Any]) -> bool:
    """Tell the study what an earlier trial of the same values came to, where there is one."""
    same = next((one for one in _ended(study) if one.user_attrs.get("values") == dict(values)), None)
    trial.set_user_attr("values", dict(values))
    if same is None:
        return False
    trial.set_user_attr("repeats", same.number)
    study.tell(trial, same.value if same.state.name == "COMPLETE" else None, state=same.state)
    return True


def _try(study: Any, trial: Any, task: TrainingTask, plan: Any, context: RunContext, over: Callable[[], bool]) -> None:
    """Carry out one trial and tell the study how it ended; one that was stopped on the way is left to go on.

    One that diverged counts as given up: TPE learns from those that its values are poor, from failed ones nothing.
    """
    import optuna

    digest = hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:12]  # of the whole plan: another recipe's trials have other folders
    watched = _Watched(context.folder / f"trial-{digest}", trial, over)
    diverged = False
    try:
        task.run(plan, replace(context, folder=watched.folder, trial=True, stop=watched.stop, progress=lambda text, done, total: None))
    except Diverged:
        diverged = True
    state = read_progress(watched.folder)
    if watched.pruned and not diverged:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif not diverged and state is not None and state.finished and state.history:
        study.tell(trial, best_of(state.history, state.goal).metrics[state.goal])
    elif diverged or not over():
        trial.set_user_attr("failed", True)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        return
    for weights in watched.folder.glob("*.safetensors"):
        weights.unlink()  # what it came to is in the journal; a hundred trials would fill a disk


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


def _reported(study: Any, task: TrainingTask, plan: Any, recipe: Path, folder: Path) -> SearchReport:
    trials = tuple(
        Tried(
            number=trial.number + 1, values=trial.user_attrs.get("values", trial.params), score=trial.value if trial.state.name == "COMPLETE" else None,
            state="failed" if trial.user_attrs.get("failed") else "complete" if trial.state.name == "COMPLETE" else "pruned",
            seconds=round(trial.duration.total_seconds(), 1) if trial.duration else 0.0,
        )
        for trial in _ended(study)
        if "repeats" not in trial.user_attrs
    )  # fmt: skip
    complete = [one for one in trials if one.state == "complete" and one.score is not None]
    if not complete:
        raise CheckFailed("no trial of the search could be finished; give it more minutes, fewer steps in the recipe, or a lower learning_rate")
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    best = min(complete, key=lambda one: (sign * (one.score or 0.0), one.number))
    changed = {name: value for name, value in best.values.items() if value != getattr(plan.training, name)}
    if changed:
        target = recipe.resolve()  # a link stays one, and what is replaced keeps who may read it
        mode = stat.S_IMODE(target.stat().st_mode)
        write_whole(target, with_values(target.read_bytes().decode("utf-8"), changed).encode())
        os.chmod(target, mode)
    report = SearchReport(task=task.name, goal=task.goal, trials=trials, best=best, written=bool(changed))
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
