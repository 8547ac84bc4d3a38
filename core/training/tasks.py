"""The training tasks by name: the schema of each one's recipe and what carries it out. Imports a task when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from core.errors import unknown
from core.training.context import RunContext
from core.training.report import TrainingReport

TASKS = {
    "classifier": ("core.training.classifier_run:ClassifierPlan", "core.training.classifier_run:run_classifier", "macro_f1"),
    "generator": ("core.training.generator_run:GeneratorPlan", "core.training.generator_run:run_generator", "perplexity"),
    "pretraining": ("core.training.pretraining_run:PretrainingPlan", "core.training.pretraining_run:run_pretraining", "perplexity"),
    "reader": ("core.training.reader_run:ReaderPlan", "core.training.reader_run:run_reader", "f1"),
    "retrieval": ("core.training.plan:RetrievalPlan", "core.training.retrieval_run:run_retrieval", "mrr_at_10"),
}
"""Where each task's recipe schema and its runner are, and the metric by which a validation is better."""


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """A task: ``run(plan, context)`` returns its report, None when it was stopped on the way."""

    name: str
    plan: type[BaseModel]
    run: Callable[[Any, RunContext], TrainingReport | None]
    goal: str


def training_task(name: str) -> TrainingTask:
    """Return a task by name.

    Raises:
        UsageError: unknown; the message lists the known ones.
    """
    if name not in TASKS:
        raise unknown("training task", name, TASKS)
    schema, runner, goal = TASKS[name]
    return TrainingTask(name=name, plan=_found(schema), run=_found(runner), goal=goal)


def _found(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
