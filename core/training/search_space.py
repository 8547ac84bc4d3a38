"""What a search may change: the ranges of a recipe's ``[search]`` table, checked against its hyperparameters. Tries nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from core.errors import UsageError, unknown
from core.training.plan import SEARCH
from core.types import Frozen

WIDTH = 5.0
"""A recipe that names no space is searched from a fifth of its learning rate to five times that."""
RANKS = (8, 16, 32)
Value = bool | int | float | str
P = TypeVar("P", bound=BaseModel)


class Range(Frozen):
    """Values of one hyperparameter: some choices, or an interval."""

    choices: tuple[Value, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
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

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        if self.choices:
            return value in self.choices
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def ask(self, trial: Any, name: str, own: Any) -> Any:
        """Return what Optuna suggests, to three digits; what the recipe says itself is tried as it stands."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        value = float(trial.suggest_float(name, self.low, self.high, log=self.log))
        rounded = float(f"{value:.3g}")
        return rounded if value != own and self.holds(rounded) else value


def read_space(text: str, training: BaseModel) -> dict[str, Range]:
    """Return what a recipe's ``[search]`` table lets a search change; without one, the learning rate, and the rank where there is one.

    Args:
        text: the recipe.
        training: its hyperparameters.

    Raises:
        UsageError: a name that is no hyperparameter, or values that are no range of it.
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
            space[name] = _typed(name, Range.model_validate(value), type(training).model_fields[name].annotation)
        except ValidationError as error:
            raise UsageError(f"the recipe's search.{name}: {error.errors(include_url=False)[0]['msg']}") from error
    return space


def _typed(name: str, found: Range, kind: Any) -> Range:
    """Return an interval in the numbers of its hyperparameter, whichever way its bounds are written: ``{low = 0, high = 1}`` of a float is not 0 or 1."""
    if found.choices or found.low is None or found.high is None:
        return found
    if kind is float:
        return found.model_copy(update={"low": float(found.low), "high": float(found.high)})
    if kind is int and float(found.low).is_integer() and float(found.high).is_integer():
        return found.model_copy(update={"low": int(found.low), "high": int(found.high)})
    raise UsageError(f"the recipe's search.{name}: {'low and high have to be whole numbers' if kind is int else 'is no number; give choices'}")


def with_hyperparameters(plan: P, values: Mapping[str, Any]) -> P:
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
