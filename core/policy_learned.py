"""The fitted half of the gate: recognises dangers that no list of terms foresaw, from examples a domain brings.

A linear model per label over the words of a question and, in English, its encoding. Weights are JSON (``policy/gate.json``); fitting them
is the evals' business. Deterministic: the same question gets the same score in every run.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ManifestError
from core.text import normalize, terms
from core.types import Language

FILE = "gate.json"
VECTOR_SCALE = 2.0
"""What the unit vector of the encoding is multiplied by."""
WORD_SCALE = 0.06
"""What a word's idf is multiplied by: a typical message then has words of about unit length beside the encoding."""


class LearnedLabel(BaseModel):
    """One label's weights: by word, by dimension of the encoding (empty: not used), intercept, and the score at which it acts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: dict[str, float]
    vector: tuple[float, ...]
    intercept: float
    threshold: float


class LearnedLanguage(BaseModel):
    """The labels of one language, with the idf of the words they share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idf: dict[str, float]
    labels: dict[str, LearnedLabel]


class LearnedGate(BaseModel):
    """``gate.json``: by language, and the hash of the examples it was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples_sha256: str
    encoder: str
    languages: dict[Language, LearnedLanguage]

    def scores(self, text: str, lang: Language, vector: NDArray[np.float32] | None) -> dict[str, float]:
        """Return each label's score in [0, 1]; empty for a language that was not fitted.

        Args:
            text: the question.
            lang: its language.
            vector: its encoding (d,), unit norm; None counts as zeros.
        """
        model = self.languages.get(lang)
        if model is None:
            return {}
        weights = word_weights(text, lang, model.idf)
        found = {}
        for name, label in model.labels.items():
            score = label.intercept + sum(weight * label.words.get(word, 0.0) for word, weight in weights.items())
            if vector is not None and label.vector:
                score += VECTOR_SCALE * float(np.dot(np.asarray(label.vector, dtype=np.float32), vector))
            found[name] = 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))
        return found

    def labels(self, scores: dict[str, float], lang: Language) -> list[str]:
        """Return the labels whose score reaches their threshold, highest excess first."""
        model = self.languages.get(lang)
        excess = {name: score - model.labels[name].threshold for name, score in scores.items()} if model else {}
        return sorted((name for name, value in excess.items() if value >= 0), key=lambda name: -excess[name])


def gate_terms(text: str, lang: Language) -> list[str]:
    """Return the features of a text: words and word pairs in English (stop words kept: "my", "can't" matter), character 1–3-grams in Chinese."""
    if lang == "zh":
        characters = [c for c in normalize(text[:2_000]) if c.isalnum()]
        return ["".join(characters[n : n + size]) for size in (1, 2, 3) for n in range(len(characters) - size + 1)]
    words = terms(text[:2_000])
    return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]


def word_weights(text: str, lang: Language, idf: dict[str, float]) -> dict[str, float]:
    """Return the scaled idf of the known words of a text, each counted once.

    Not scaled to unit length, on purpose: what is said around a danger then takes nothing from its score.
    """
    return {word: WORD_SCALE * idf[word] for word in set(gate_terms(text, lang)) if word in idf}


def load_learned_gate(folder: Path) -> LearnedGate | None:
    """Read ``gate.json`` of a policy folder; None when there is none.

    Raises:
        ManifestError: not valid; ``domainkit calibrate`` writes it.
    """
    try:
        return LearnedGate.model_validate_json((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ManifestError(f"{folder.parent.name}/{folder.name}/{FILE}: not a valid gate; run `domainkit calibrate {folder.parent.name}`") from error
