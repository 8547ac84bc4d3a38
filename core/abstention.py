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
    promised: bool = True
    """Whether the domain's promise holds at it with the stated probability; false where there were too few items to tell."""


class Promise(BaseModel):
    """What the thresholds of a domain keep: at most ``risk`` of the answers wrong, but for a probability of ``delta`` over the items fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    risk: float
    delta: float
    items: int
    answered: int
    wrong: int
    p: float
    """Probability of so few wrong answers if the promise were broken."""


class Calibration(BaseModel):
    """``calibration.json`` of a domain: thresholds by language, and what they were fitted on: another corpus, adapter or ranking makes them void."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus_sha256: str
    model_sha256: str
    """Of the ranking model."""
    adapter: str = ""
    """Id of the query adapter, empty without one."""
    promise: Promise | None = None
    thresholds: dict[Language, Threshold]


DEFAULT_THRESHOLD = 0.5
"""Used where a domain has no fitted threshold; the answer then says ``calibrated: false``."""


def void_reasons(calibration: Calibration, *, corpus_sha256: str, model_sha256: str, adapter: str) -> list[str]:
    """Return what changed since thresholds were fitted: ``corpus``, ``ranking model`` or ``adapter``; nothing while they stand."""
    pairs = (
        ("corpus", calibration.corpus_sha256, corpus_sha256),
        ("ranking model", calibration.model_sha256, model_sha256),
        ("adapter", calibration.adapter, adapter),
    )
    return [name for name, fitted, now in pairs if fitted != now]


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
