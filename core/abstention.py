"""When to say "I don't know": features of a retrieval → confidence → a threshold fitted per domain and language.

The confidence is a logistic model shared by all domains, fitted on questions that the evals never hold; the threshold is
each domain's own. Knows no domain: its thresholds come from the domain's ``calibration.json``.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.documents.language import detect_language
from core.errors import ManifestError
from core.models import Draft
from core.retrieval import Retrieval, overlap
from core.text import normalize, term_set
from core.types import LANGUAGES, Language

WEIGHTS = Path(__file__).parent / "abstention.json"


class LogisticModel(BaseModel):
    """A logistic regression: feature names, their means and scales, weights and intercept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def confidence(self, features: dict[str, float]) -> float:
        """Return the probability in [0, 1] that the answer answers the question."""
        z = self.intercept
        for name, mean, scale, weight in zip(self.names, self.mean, self.scale, self.weights, strict=True):
            z += weight * (features[name] - mean) / scale
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))


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

_EN_NUMBER = re.compile(r"\bhow (?:many|much|long|often|old|far|fast|high|low|big|large)\b|\bwhat (?:percent\w*|dose|age|year|rate|number|share|proportion)\b")
_EN_WHEN = re.compile(r"\bwhen (?:was|did|were)\b|\bwhat year\b|\bwhich year\b")
_EN_WHO = re.compile(r"\bwho (?:was|is|invented|discovered|created|wrote|founded|won|first)\b|\bwhose\b")
_ZH_NUMBER = re.compile(r"多少|几[个次天年月岁种分倍]|多久|多长|多高|多大|百分之|比例|概率|率是")
_ZH_WHEN = re.compile(r"哪一?年|什么时候.*(?:发明|提出|成立)|何时")
_ZH_WHO = re.compile(r"谁|哪位|哪个人|哪家")
_DIGIT = re.compile(
    r"\d|[一二三四五六七八九十百千万]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|half|twice|once|third|quarter|dozen|hundred|thousand)\b"
)


@cache
def shipped_model(lang: Language) -> LogisticModel:
    """Return the shipped logistic model for a language."""
    data = json.loads(WEIGHTS.read_text("utf-8"))
    return LogisticModel.model_validate(data[lang])


def features(retrieval: Retrieval, draft: Draft) -> dict[str, float]:
    """Return the numbers that tell an answer from a near miss.

    All are in about [0, 1]; a retrieval without hits has zeros.
    """
    names = FEATURES
    if not retrieval.hits:
        return dict.fromkeys(names, 0.0)
    hits = retrieval.hits
    quotes = draft.quotes
    best = hits[quotes[0].hit] if quotes else hits[0]
    passage = best.passage
    quoted = " ".join(passage.text[passage.sentences[q.sentence].start - passage.start : passage.sentences[q.sentence].end - passage.start] for q in quotes)
    in_heading, in_passage, in_quote = term_set(passage.heading), term_set(passage.text), term_set(quoted)
    best_rows = {best.row}
    idf = retrieval.idf
    rarest = max(idf.values(), default=0.0)
    missing = [weight for word, weight in idf.items() if word not in in_passage | in_heading]
    anywhere: set[str] = set()
    for hit in hits:
        anywhere |= term_set(hit.passage.text) | term_set(hit.passage.heading)
    other = next((hit for hit in hits if hit.passage.document_id != passage.document_id), None)
    question = normalize(retrieval.query)
    wants_number = bool(_EN_NUMBER.search(question) or _ZH_NUMBER.search(question))
    wants_name = bool(_EN_WHO.search(question) or _ZH_WHO.search(question) or _EN_WHEN.search(question) or _ZH_WHEN.search(question))
    ranked = sorted(best.sentence_scores, reverse=True)
    return {
        "dense": best.dense,
        "keyword": best.keyword,
        "score": best.score,
        "sentence": ranked[0] if ranked else 0.0,
        "coverage_quote": overlap(in_quote | in_heading, idf),
        "coverage_passage": overlap(in_passage | in_heading, idf),
        "coverage_body": overlap(in_passage, idf),
        "coverage_hits": overlap(anywhere, idf),
        "rarest_missing": (max(missing, default=0.0) / rarest) if rarest else 1.0,
        "missing_count": min(1.0, len(missing) / 8),
        "unknown": min(1.0, sum(1 for word in idf if idf[word] >= max(idf.values()) - 1e-9 and word not in anywhere) / 3),
        "margin_document": best.score - (other.score if other else 0.0),
        "margin_sentence": (ranked[0] - ranked[1]) if len(ranked) > 1 else 0.0,
        "lone_number": float(wants_number and not _DIGIT.search(normalize(quoted))),
        "wants_number": float(wants_number),
        "wants_name": float(wants_name),
        "length": min(1.0, len(retrieval.words) / 16),
        "asked_here": max((retrieval.likeness.passages.get(row, 0.0) for row in best_rows), default=0.0),
        "asked_unanswered": retrieval.likeness.unanswerable,
        "asked_margin": max((retrieval.likeness.passages.get(row, 0.0) for row in best_rows), default=0.0) - retrieval.likeness.unanswerable,
        "asked_elsewhere": max((value for row, value in retrieval.likeness.passages.items() if row not in best_rows), default=0.0),
    }


FEATURES = (
    "score",
    "sentence",
    "coverage_passage",
    "unknown",
    "margin_document",
    "lone_number",
    "asked_here",
    "asked_unanswered",
    "asked_margin",
)
"""What the confidence is made of. More features fit the dev items better and unseen questions worse."""


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
