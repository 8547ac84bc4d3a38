"""The one loop that every training task runs in: steps, validation, early stopping, the best checkpoint kept, resumable at any step.

Killed at any moment and started again, a run ends with the same weights as an undisturbed one: a checkpoint holds parameters and
optimiser, and what a step sees (data, dropout) follows from the seed and its number alone. Knows no task, no model and no data.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from core.errors import CheckFailed
from core.training.checkpoint import Point, RunState, Tensors, checked_progress, read_tensors, write_checkpoint
from core.training.schedule import LoopRecipe, schedule

TRACED = 200
"""Points of the curve of the loss over a whole run."""
SAVE_EVERY = 60.0
"""Seconds after which a checkpoint is written between validations too."""
Progress = Callable[[str, int, int], None]
"""Told what validation said last, the step and how many there are."""


class Diverged(CheckFailed):
    """A loss or metric is no longer a number: what was learned is worthless, and a checkpoint of it could not be read back."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"training diverged: the {what} is not finite at step {step}; lower learning_rate or clip in the recipe, and train in a new folder")


class Task(Protocol):
    """What the loop trains."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The trainable ones, by name."""

    @property
    def accelerator(self) -> Any:
        """Of accelerate: device and backward pass."""

    @property
    def goal(self) -> str:
        """The metric by which a checkpoint is better; see :func:`smaller_is_better`."""

    @property
    def epoch(self) -> int:
        """Backward passes of one epoch."""

    def loss(self, number: int) -> Any:
        """Return the loss of one backward pass; ``number`` counts them from the start of the run."""

    def validate(self) -> dict[str, float]:
        """Return the metrics on the validation set."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a run ended: the parameters that validated best, and how it went."""

    tensors: Tensors
    best: Point
    history: tuple[Point, ...]
    finished: bool
    """False when it was stopped on the way; started again it goes on."""
    seconds: float


def fingerprint(recipe: BaseModel, *parts: bytes | str) -> str:
    """Return a hash of all that a run's result follows from."""
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    for part in parts:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return digest.hexdigest()


def run(
    task: Task, recipe: LoopRecipe, *, folder: Path, stated: str, progress: Progress | None = None, stop: Callable[[], bool] = lambda: False
) -> Trained | None:
    """Train until the steps are done, validation no longer gains, or it is stopped; resumes what the folder holds of the same run.

    Args:
        task: what to train.
        recipe: hyperparameters.
        folder: where checkpoints go.
        stated: the run's :func:`fingerprint`.
        progress: told how far the run is.
        stop: asked before each step whether to stop; what was done is checkpointed first.

    Returns:
        The best checkpoint; None when it was stopped before the first validation.

    Raises:
        UsageError: the folder holds another run. IntegrityError: it holds a checkpoint that was changed on disk.
        Diverged: the loss or a metric is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    walk = _Walk(task, recipe, folder, stated)
    every = recipe.validate_every or max(1, task.epoch // recipe.accumulate)
    while walk.step < recipe.steps and not stalled(walk.history, task.goal, recipe.patience):
        if stop():
            walk.save()
            break
        walk.advance()
        if walk.step % every == 0 or walk.step == recipe.steps:
            walk.validate()
        elif time.monotonic() - walk.saved_at > SAVE_EVERY:
            walk.save()
        if progress is not None:
            progress(_said(walk.history, task.goal), walk.step, recipe.steps)
    return walk.ended()


def ended_run(folder: Path, stated: str, *, goal: str) -> Trained | None:
    """Return the result of a run towards a goal that has ended in this folder, None where there is none or it is still on its way.

    Raises:
        UsageError: the folder holds another run. IntegrityError: it holds a checkpoint that was changed on disk.
    """
    state = checked_progress(folder, stated)
    if state is None or not state.finished or not state.best_sha256:
        return None
    tensors = read_tensors(folder, "best", state.best_sha256)
    return Trained(tensors=tensors, best=best_of(state.history, goal), history=state.history, finished=True, seconds=state.seconds)


def put(parameters: Mapping[str, Any], tensors: Tensors) -> None:
    """Set parameters to tensors of the same names."""
    import torch

    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(tensors[name]))


class _Walk:
    """A run on its way."""

    def __init__(self, task: Task, recipe: LoopRecipe, folder: Path, stated: str) -> None:
        import torch

        self.task, self.recipe, self.folder, self.stated = task, recipe, folder, stated
        self.optimizer = torch.optim.AdamW(list(task.parameters.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        state = checked_progress(folder, stated)
        self.step = state.step if state else 0
        self.losses = list(state.losses) if state else []
        self.trace = list(state.trace) if state else []
        self.history = list(state.history) if state else []
        self.seconds = state.seconds if state else 0.0
        self.saved_at = time.monotonic()
        self.best: Tensors = {}
        if state is not None:
            self._restore(state)

    def _restore(self, state: RunState) -> None:
        import torch

        tensors = read_tensors(self.folder, "state", state.state_sha256)
        put(self.task.parameters, {name: tensors[f"parameter/{name}"] for name in self.task.parameters})
        for name, parameter in self.task.parameters.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": torch.from_numpy(tensors[f"first/{name}"]).to(parameter.device),
                "exp_avg_sq": torch.from_numpy(tensors[f"second/{name}"]).to(parameter.device),
            }
        if state.best_sha256:
            self.best = read_tensors(self.folder, "best", state.best_sha256)

    def advance(self) -> None:
        """Take one step: so many backward passes, then the optimiser."""
        import torch

        begun = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(self.step, self.recipe)
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(self.recipe.accumulate):
            number = self.step * self.recipe.accumulate + part
            torch.manual_seed((self.recipe.seed * 1_000_003 + number) % 2**63)  # dropout follows from the number, not from what ran before
            loss = self.task.loss(number) / self.recipe.accumulate
            self.task.accelerator.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise Diverged(self.step + 1, "loss")
        torch.nn.utils.clip_grad_norm_(list(self.task.parameters.values()), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        self.losses.append(total)
        every = max(1, self.recipe.steps // TRACED)
        if self.step % every == 0:
            recent = self.losses[-every:]
            self.trace.append((self.step, round(math.fsum(recent) / len(recent), 6)))
        self.seconds += time.monotonic() - begun

    def validate(self) -> None:
        """Validate, remember the best parameters, and checkpoint."""
        begun = time.monotonic()
        point = Point(step=self.step, loss=math.fsum(self.losses) / len(self.losses), metrics=self.task.validate())
        if strange := next((name for name, value in point.metrics.items() if not math.isfinite(value)), None):
            raise Diverged(self.step, strange)
        if not self.history or better(point, best_of(self.history, self.task.goal), self.task.goal):
            self.best = {name: _array(parameter) for name, parameter in self.task.parameters.items()}
        self.history.append(point)
        self.losses = []
        self.seconds += time.monotonic() - begun
        self.save()

    def save(self) -> None:
        """Checkpoint what is in memory."""
        tensors: dict[str, NDArray[np.float32]] = {}
        for name, parameter in self.task.parameters.items():
            moments = self.optimizer.state[parameter]
            if not moments:
                return  # stopped before the first step: there is nothing to keep
            tensors |= {f"parameter/{name}": _array(parameter), f"first/{name}": _array(moments["exp_avg"]), f"second/{name}": _array(moments["exp_avg_sq"])}
        state = RunState(
            fingerprint=self.stated, step=self.step, steps=self.recipe.steps, losses=tuple(self.losses), trace=tuple(self.trace), seconds=round(self.seconds, 2),
            state_sha256="", best_sha256="", history=tuple(self.history), goal=self.task.goal, finished=self._finished(),
        )  # fmt: skip
        write_checkpoint(self.folder, state, tensors=tensors, best=self.best)
        self.saved_at = time.monotonic()

    def _finished(self) -> bool:
        return self.step >= self.recipe.steps or stalled(self.history, self.task.goal, self.recipe.patience)

    def ended(self) -> Trained | None:
        """Return how the run ended."""
        if not self.history:
            return None
        best = best_of(self.history, self.task.goal)
        return Trained(tensors=self.best, best=best, history=tuple(self.history), finished=self._finished(), seconds=self.seconds)


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy()).copy()


def _said(history: Sequence[Point], goal: str) -> str:
    return f"{goal.replace('_', ' ')} {history[-1].metrics[goal]:.3f}" if history else "training"


def autocast(accelerator: Any, recipe: LoopRecipe) -> Any:
    """Return the context in which a forward pass runs in the recipe's precision.

    Not accelerate's own: its precision is one for the whole process, and the app may train two recipes in turn.
    """
    import torch

    return torch.autocast(accelerator.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


def smaller_is_better(metric: str) -> bool:
    """Whether a metric counts what should be little."""
    return metric.startswith(("loss", "perplexity"))


def better(point: Point, than: Point, goal: str) -> bool:
    """Whether a validation is better than another by the goal's metric."""
    mine, other = point.metrics[goal], than.metrics[goal]
    return mine < other if smaller_is_better(goal) else mine > other


def best_of(history: Sequence[Point], goal: str) -> Point:
    """Return the best validation, the first of equals."""
    best = history[0]
    for point in history[1:]:
        if better(point, best, goal):
            best = point
    return best


def stalled(history: Sequence[Point], goal: str, patience: int) -> bool:
    """Whether the last ``patience`` validations brought nothing better."""
    return bool(history) and len(history) - 1 - history.index(best_of(history, goal)) >= patience
