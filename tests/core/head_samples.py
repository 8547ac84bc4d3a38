"""Question heads made by hand: their numbers are made up, their shape is a fitted head's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from passage_samples import DIMENSION
from safetensors.numpy import save

from core.question_head import QuestionHead, feature_hash, head_features
from core.types import Language

TABLE = 97
Tensors = dict[str, NDArray[np.generic]]


def head_tensors(
    texts: Sequence[str], lang: Language = "en", *, encoded: int = DIMENSION, dimension: int = DIMENSION, dense: float = 1.0, seed: int = 0
) -> Tensors:
    """Return the tensors of a head that knows the words of ``texts``; ``dense`` scales what it reads of the encoding."""
    chance = np.random.default_rng(seed)
    known = np.array(sorted({feature_hash(feature) for text in texts for feature in head_features(text, lang)}), dtype=np.int64)
    return {
        "known": known,
        "weight": chance.uniform(0.5, 3, len(known)).astype(np.float16),
        "rows": chance.integers(-127, 128, (TABLE, dimension)).astype(np.int8),
        "scale": chance.uniform(0.01, 0.02, TABLE).astype(np.float16),
        "dense": (dense * np.eye(dimension, encoded)).astype(np.float16),
    }


def sample_head(texts: Sequence[str], lang: Language = "en", *, encoded: int = DIMENSION, dense: float = 1.0, seed: int = 0) -> QuestionHead:
    """Return a head that knows the words of ``texts``."""
    return QuestionHead(save(head_tensors(texts, lang, encoded=encoded, dense=dense, seed=seed)), lang)


def write_heads(folder: Path, heads: dict[Language, bytes], *, encoder_id: str) -> Path:
    """Write heads into a domain's training folder as ``domainkit calibrate`` does; returns ``heads.json``."""
    entries = {}
    for lang, data in heads.items():
        (folder / f"head-{lang}.safetensors").write_bytes(data)
        entries[lang] = {"file": f"head-{lang}.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "questions_sha256": "0" * 64}
    path = folder / "heads.json"
    path.write_text(json.dumps({"encoder": encoder_id, "heads": entries}), "utf-8")
    return path
