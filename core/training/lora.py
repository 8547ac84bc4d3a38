"""LoRA or full fine-tuning of a transformers model: which parameters learn, how they are saved. Knows no task.

LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field

from core.training.schedule import LoopRecipe


class TuningRecipe(LoopRecipe):
    """Hyperparameters of a task that tunes a pretrained model."""

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=16, ge=1, le=64)
    alpha: int = Field(default=32, ge=1, le=1_024)
    targets: tuple[Literal["query", "key", "value", "dense", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj"], ...] = (
        "query", "key", "value", "dense",
    )  # fmt: skip
    """Modules that get an adapter, by the last part of their name."""
    max_tokens: int = Field(default=64, ge=8, le=4_096)
    """Longer inputs are cut while it learns and validates, though not where it is used: let it hold nearly all of them."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of inputs that are dropped while it learns; see :func:`dropping`."""


@contextmanager
def dropping(model: Any, recipe: TuningRecipe) -> Iterator[None]:
    """Drop inputs within this context: a LoRA adapter's alone, or wherever the model does when it is tuned in full."""
    import torch

    layers = []
    if recipe.dropout:
        full = recipe.method == "full"
        layers = [one for name, one in model.named_modules() if isinstance(one, torch.nn.Dropout) and (full or name.endswith("lora_dropout.default"))]
    for layer in layers:
        layer.p = recipe.dropout
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


def tuned(model: Any, recipe: TuningRecipe, *, device: Any, heads: Sequence[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Return a model ready to train on a device, and its trainable parameters by name.

    Args:
        model: a transformers model.
        recipe: method, rank, targets.
        device: where it trains.
        heads: names of modules that are new and learn whole beside a LoRA adapter, such as a classifier.

    Raises:
        UsageError: the model has none of the targets.
    """
    from core.errors import UsageError

    if recipe.method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules=list(recipe.targets),
            lora_dropout=recipe.dropout,
            bias="none",
            modules_to_save=list(heads) or None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft still reads an attribute that transformers renamed
            try:
                model = get_peft_model(model, config)
            except ValueError as error:
                raise UsageError(f"the base model has no modules called {', '.join(recipe.targets)}; name its own in the recipe's `targets`") from error
    model = model.to(device)
    # Dropout is on in `dropping` alone, so that no validation depends on the mode that the model was left in.
    model.eval()
    return model, {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
