"""What a step of a training run sees and by how much it may move: hyperparameters that all tasks share, learning rate, batches. Runs nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class LoopRecipe(BaseModel):
    """The hyperparameters that all tasks share, as a recipe's TOML file holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-3, gt=0, le=0.1)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    batch: int = Field(default=128, ge=1, le=4_096)
    """Examples of one backward pass."""
    accumulate: int = Field(default=1, ge=1, le=1_024)
    """Backward passes of one step."""
    clip: float = Field(default=1.0, gt=0, le=1_000)
    """Largest norm of the gradient."""
    steps: int = Field(default=600, ge=1, le=10_000_000)
    warmup: int = Field(default=30, ge=0, le=1_000_000)
    """Steps of linear warm-up; linear decay to nothing follows."""
    validate_every: int = Field(default=0, ge=0, le=1_000_000)
    """Steps; 0 validates after each epoch."""
    patience: int = Field(default=5, ge=1, le=1_000)
    """Validations without a better one after which the run ends."""
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0, le=2**31)


def schedule(step: int, recipe: LoopRecipe) -> float:
    """Return the share of the learning rate: linear warm-up, then linear decay to nothing."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return max(0.0, (recipe.steps - step) / max(1, recipe.steps - recipe.warmup))


def batch(count: int, recipe: LoopRecipe, number: int) -> NDArray[np.int64]:
    """Return the examples (b,) of a backward pass: each epoch is a permutation that follows from seed and number alone."""
    size = min(recipe.batch, count)
    epoch, place = divmod(number, passes(count, recipe))
    order = np.random.default_rng((recipe.seed, epoch)).permutation(count)
    return np.asarray(order[place * size : (place + 1) * size], dtype=np.int64)


def passes(count: int, recipe: LoopRecipe) -> int:
    """Return how many backward passes an epoch of ``count`` examples has; what does not fill a batch waits for another epoch."""
    return max(1, count // min(recipe.batch, count))
