"""When to say "I don't know": the confidence of a draft against a threshold fitted per domain and language.

The confidence is the probability of :mod:`core.ranking`, shared by all domains; the threshold is each domain's own.
Knows no domain: its thresholds come from the domain's ``calibration.json``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.documents.language import detect_language
from core.errors import ManifestError
from core.models import Draft
from core.retrieval import Retrieval
from core.types import LANGUAGES, Language


class Threshold(BaseModel):
    """A fitted threshold and what it was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(ge=0, le=1)
    items: int
    coverage: float
    wrong_rate: float


class Calibration(BaseModel):
    """``calibration.json`` of a domain: thresholds by language, and the hash of the corpus they were fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus_sha256: str
    model_sha256: str
    thresholds: dict[Language, Threshold]


DEFAULT_THRESHOLD = 0.5
"""Used where a domain has no fitted threshold; the answer then says ``calibrated: false``."""


def draft_confidence(retrieval: Retrieval, draft: Draft) -> float:
    """Return the confidence of a draft: that of the passage it quotes first, of the best hit when it was written freely; 0 without hits."""
    if not retrieval.hits:
        return 0.0
    return retrieval.hits[draft.quotes[0].hit if draft.quotes else 0].confidence


def load_calibration(path: Path) -> Calibration | None:
    """Read a domain's ``calibration.json``; None when there is none.

    Raises:
        ManifestError: the file is not valid; run ``domainkit calibrate``.
    """
    try:
        return Calibration.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ManifestError(f"{path.parent.name}/{path.name}: not a valid calibration; run `domainkit calibrate {path.parent.name}`") from error


def question_language(text: str, wanted: str = "") -> Language:
    """Return the language to answer in: ``wanted`` when it is one of ours, else the question's own."""
    if wanted in LANGUAGES:
        return "zh" if wanted == "zh" else "en"
    return detect_language(text)
