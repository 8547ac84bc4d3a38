"""What the tasks of the loop have in common: a model that knows its parameters, device and recipe, and examples that an epoch goes through once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.training.schedule import batch, passes


@dataclass(frozen=True, kw_only=True)
class ModelTask:
    """A task but for its loss and its validation; see :class:`core.training.loop.Task`."""

    model: Any
    """Has ``parameters``, ``accelerator`` and ``recipe``."""
    train: Any
    """A sequence, or an array of rows."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The model's trainable ones."""
        found: Mapping[str, Any] = self.model.parameters
        return found

    @property
    def accelerator(self) -> Any:
        """The model's."""
        return self.model.accelerator

    @property
    def epoch(self) -> int:
        """Batches of all examples."""
        return passes(len(self.train), self.model.recipe)

    def rows(self, number: int) -> Any:
        """Return the examples (b,) of a backward pass, by place."""
        return batch(len(self.train), self.model.recipe, number)
