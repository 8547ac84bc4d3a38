"""Saves what a run made as transformers or peft saves it, with a card that names the hash of the weights. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.encoder import sha256_file
from core.models.adapters import CARD
from core.training.checkpoint import write_whole
from core.training.quiet import quiet


def save_model(model: Any, tokenizer: Any, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Save a model, or the adapter of a model that has one, and its tokenizer; returns the file of weights.

    Args:
        model: of transformers or peft.
        tokenizer: of transformers.
        folder: made where it is missing.
        facts: what the card says beside the hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = next(path for path in sorted(folder.glob("*.safetensors")))
    write_card(folder, [weights], facts)
    return weights


def write_card(folder: Path, files: list[Path], facts: Mapping[str, Any]) -> None:
    """Write ``card.json``, last of a folder's files: the hash of each file, and the facts."""
    card = {"files": {path.name: sha256_file(path) for path in files}, **facts}
    write_whole(folder / CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
