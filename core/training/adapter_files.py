"""Writes a trained query adapter as the kit reads it: config, weights, and a card that names every hash. Trains nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UsageError
from core.models.adapters import CARD, CONFIG, WEIGHTS
from core.training.checkpoint import write_whole
from core.training.loop import Trained
from core.training.retrieval import RetrievalRecipe

MAX_BYTES = 4 * 1024**2
"""An adapter larger than this is not shipped with a domain."""


def save_adapter(
    folder: Path, trained: Trained, *, recipe: RetrievalRecipe, base: str, base_sha256: str, tokenizer_sha256: str, facts: Mapping[str, Any]
) -> str:
    """Write ``adapter_config.json``, ``adapter_model.safetensors`` (float16) and, last, ``card.json``; returns the hash of the weights.

    Args:
        folder: made where it is missing; an adapter in it is replaced.
        trained: what training returned.
        recipe: its hyperparameters.
        base: name of the base encoder.
        base_sha256: hash of its weights.
        tokenizer_sha256: hash of its ``tokenizer.json``.
        facts: what the card also says: data sets with licence and attribution, command, measured gain.

    Raises:
        UsageError: the weights are larger than :data:`MAX_BYTES`; lower the rank.
    """
    from safetensors.numpy import save

    tensors = {name.replace(".default.weight", ".weight"): np.ascontiguousarray(value.astype(np.float16)) for name, value in trained.tensors.items()}
    weights = bytes(save(tensors))
    if len(weights) > MAX_BYTES:
        raise UsageError(f"the adapter has {len(weights):,} bytes, more than {MAX_BYTES:,}; train it with a lower rank")
    config = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "target_modules": sorted(recipe.targets),
        "base_model_name_or_path": base,
    }
    files = {CONFIG: (json.dumps(config, indent=1) + "\n").encode(), WEIGHTS: weights}
    card = {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "base": base,
        "base_sha256": base_sha256,
        "tokenizer_sha256": tokenizer_sha256,
        "recipe": recipe.model_dump(),
        "validation": [one.model_dump() for one in trained.history],
        "best_step": trained.best.step,
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    # The card comes last: without it the folder is not complete.
    for name, data in [*files.items(), (CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())]:
        write_whole(folder / name, data)
    return str(card["files"][WEIGHTS])


def install_adapter(source: Path, target: Path, *, former: Path | None = None) -> None:
    """Copy a trained adapter into a domain's folder, its card last.

    Args:
        source: the adapter's folder.
        target: of the domain.
        former: where the adapter that it replaces is kept, so that it can be put back; None keeps none.
    """
    if former is not None and (target / CARD).is_file():
        install_adapter(target, former)
    target.mkdir(parents=True, exist_ok=True)
    (target / CARD).unlink(missing_ok=True)
    for name in (CONFIG, WEIGHTS, CARD):
        write_whole(target / name, (source / name).read_bytes())
