"""Candidate passages of a question → features → the probability that the passage answers it. Knows no threshold and no domain.

A logistic regression per language, in three variants by what a library can tell: ``learned`` (a question bank and a fitted head),
``asked`` (a bank alone) and ``plain`` (neither). The probability ranks the passages and is the answer's confidence. Weights are JSON
(``ranking.json``), fitted by the evals on questions that the bank compared with did not hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.questions import Familiar, Likeness
from core.text import normalize, overlap, term_set
from core.types import Language

WEIGHTS = Path(__file__).parent / "ranking.json"
Variant = Literal["plain", "asked", "learned"]
PLAIN = ("cosine", "tuned", "tuned_lead", "keyword", "fused", "lead", "sentence", "covered", "covered_sentence", "number", "number_missing", "name", "length")
ASKED = (
    *PLAIN,
    "asked",
    "asked_behind",
    "asked_unanswered",
    "known",
    "known_asked",
    "unknown_word",
    "known_sentence",
    "unknown_in_sentence",
    "contained",
    "contained_unanswered",
    "strange",
    "known_behind",
    "contained_behind",
)
LEARNED = (
    *ASKED, "likeness", "likeness_support", "likeness_behind", "likeness_next", "likeness_unanswered", "likeness_margin", "votes", "votes_against", "likeness_sentence",
)  # fmt: skip
FEATURES: dict[Variant, tuple[str, ...]] = {"plain": PLAIN, "asked": ASKED, "learned": LEARNED}
"""What each variant reads, by name."""

_EN_NUMBER = re.compile(r"\bhow (?:many|much|long|often|old|far|fast|high|low|big|large)\b|\bwhat (?:percent\w*|dose|age|year|rate|number|share|proportion)\b")
_EN_NAME = re.compile(r"\bwhen (?:was|did|were)\b|\b(?:what|which) year\b|\bwho (?:was|is|invented|discovered|created|wrote|founded|won|first)\b|\bwhose\b")
_ZH_NUMBER = re.compile(r"多少|几[个次天年月岁种分倍]|多久|多长|多高|多大|百分之|比例|概率|率是")
_ZH_NAME = re.compile(r"哪一?年|什么时候.*(?:发明|提出|成立)|何时|谁|哪位|哪个人|哪家")
_DIGIT = re.compile(
    r"\d|[一二三四五六七八九十百千万]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|half|twice|once|third|quarter|dozen|hundred|thousand)\b"
)


class LogisticModel(BaseModel):
    """A logistic regression on standardised features, cut off at :data:`REACH`, and on their products where ``pairs`` holds weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    pairs: tuple[float, ...] = ()
    """Of the products of each feature with itself and those behind it, row by row; empty for a model without products."""
    intercept: float

    def confidence(self, features: dict[str, float]) -> float:
        """Return the probability in [0, 1] that the passage answers the question."""
        return self.confidences([features])[0]

    def confidences(self, candidates: Sequence[dict[str, float]]) -> list[float]:
        """Return the probability of each candidate."""
        if not candidates:
            return []
        x = standardised(np.array([[features[name] for name in self.names] for features in candidates]), self.mean, self.scale)
        z = self.intercept + x @ np.asarray(self.weights)
        if self.pairs:
            z = z + products(x) @ np.asarray(self.pairs)
        return [float(p) for p in 1 / (1 + np.exp(-np.clip(z, -30.0, 30.0)))]


REACH = 3.0
"""Standard deviations from the mean at which a feature stops to count for more, so that no odd question is judged by extrapolation."""


def standardised(x: NDArray[np.float64], mean: Sequence[float], scale: Sequence[float]) -> NDArray[np.float64]:
    """Return features (n, f) in standard deviations from their means, within :data:`REACH`."""
    return np.asarray(np.clip((x - np.asarray(mean)) / np.asarray(scale), -REACH, REACH))


def products(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products (n, f(f+1)/2) of each feature with itself and those behind it."""
    first, second = _upper_triangle(x.shape[1])
    return np.asarray(x[:, first] * x[:, second])


@cache
def _upper_triangle(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.triu_indices(size)
    return first, second


@dataclass(frozen=True, kw_only=True)
class CandidateFacts:
    """What ranking needs to know of a candidate passage."""

    row: int
    heading: str
    text: str
    sentences: tuple[str, ...]
    vectors: NDArray[np.float32]
    """Of its sentences, (n, e)."""
    learned: NDArray[np.float32] | None
    """Of its sentences by the question head, (n, d); None where there is no head."""
    cosine: float
    """With the question's encoding by the base."""
    tuned: float
    """With its encoding by the domain's query encoder; :attr:`cosine` where there is none."""
    keyword: float
    fused: float


@cache
def shipped_model(lang: Language, variant: Variant) -> LogisticModel:
    """Return the shipped model of a language and variant."""
    return LogisticModel.model_validate(json.loads(WEIGHTS.read_text("utf-8"))[lang][variant])


def variant_of(likeness: Likeness) -> Variant:
    """Return which model fits what a library could tell of a question."""
    if likeness.learned is not None:
        return "learned"
    return "asked" if likeness.passages or likeness.unanswerable else "plain"


def likest_sentence(candidate: CandidateFacts, vector: NDArray[np.float32], learned_vector: NDArray[np.float32] | None) -> int:
    """Return the number of a candidate's sentence most alike to the question: by the head where there is one, else by the encoding."""
    alike = _alike(candidate, vector, learned_vector)
    return int(np.argmax(alike)) if len(alike) else 0


def _alike(candidate: CandidateFacts, vector: NDArray[np.float32], learned_vector: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return candidate.vectors @ vector if candidate.learned is None or learned_vector is None else candidate.learned @ learned_vector


def _standing(words: Sequence[str], has: frozenset[str] | set[str], text: str) -> NDArray[np.bool_]:
    """Return which words stand in a text (w,); those of Chinese, pairs of characters among them, also within its words."""
    folded = normalize(text)
    return np.array([word in has or (not word.isascii() and word in folded) for word in words], dtype=np.bool_)


def candidate_features(
    question: str,
    candidates: Sequence[CandidateFacts],
    *,
    idf: dict[str, float],
    words: int,
    vector: NDArray[np.float32],
    learned_vector: NDArray[np.float32] | None,
    likeness: Likeness,
    familiar: Familiar,
) -> list[dict[str, float]]:
    """Return the features of each candidate, all in about [-1, 2].

    Args:
        question: as asked.
        candidates: the passages to rank, best fused score first.
        idf: of the question's content words.
        words: their number.
        vector: the question's encoding (e,).
        learned_vector: its vector by the question head (d,), where there is one.
        likeness: how alike it is to the question bank.
        familiar: how familiar its wording is to the bank, about each candidate and its :func:`likest_sentence`.
    """
    folded = normalize(question)
    number = bool(_EN_NUMBER.search(folded) or _ZH_NUMBER.search(folded))
    name = bool(_EN_NAME.search(folded) or _ZH_NAME.search(folded))
    learned = likeness.learned or Likeness(passages={}, unanswerable=0.0)
    found = []
    total, rarest = float(familiar.idf.sum()) or 1.0, float(familiar.idf.max(initial=0.0)) or 1.0
    standing = [_standing(familiar.words, term_set(c.text) | term_set(c.heading), f"{c.heading} {c.text}") for c in candidates]
    known = [stands | familiar.passages[:, place] for place, stands in enumerate(standing)]
    shares = [float(familiar.idf[words].sum()) / total for words in known]
    strange = familiar.nowhere & ~np.logical_or.reduce(standing) if standing else familiar.nowhere
    for place, candidate in enumerate(candidates):
        row = candidate.row
        heading = term_set(candidate.heading)
        has = term_set(candidate.text) | heading
        alike = _alike(candidate, vector, learned_vector)
        likest = int(np.argmax(alike)) if len(alike) else 0
        best = candidate.sentences[likest] if candidate.sentences else ""
        known_there = _standing(familiar.words, term_set(best) | heading, f"{candidate.heading} {best}") | familiar.sentences[:, place]
        cosines = candidate.vectors @ vector
        mine, same = likeness.passages.get(row, 0.0), learned.passages.get(row, 0.0)
        others = [learned.passages.get(other.row, 0.0) for other in candidates if other.row != row]
        found.append(
            {
                "cosine": candidate.cosine,
                "tuned": candidate.tuned,
                "tuned_lead": candidate.tuned - max((other.tuned for other in candidates if other.row != row), default=0.0),
                "keyword": candidate.keyword,
                "fused": candidate.fused,
                "lead": candidate.fused - max((other.fused for other in candidates if other.row != row), default=0.0),
                "sentence": float(cosines.max()) if len(cosines) else 0.0,
                "covered": overlap(has, idf),
                "covered_sentence": overlap(term_set(best) | heading, idf),
                "number": float(number),
                "number_missing": float(number and not _DIGIT.search(normalize(best))),
                "name": float(name),
                "length": min(1.0, words / 16),
                "asked": mine,
                "asked_behind": max(likeness.passages.values(), default=0.0) - mine,
                "asked_unanswered": likeness.unanswerable,
                "known": shares[place],
                "known_asked": float(familiar.idf[familiar.passages[:, place]].sum()) / total,
                "unknown_word": float(familiar.idf[~known[place]].max(initial=0.0)) / rarest,
                "known_sentence": float(familiar.idf[known_there].sum()) / total,
                "unknown_in_sentence": float(familiar.idf[~known_there].max(initial=0.0)) / rarest,
                "contained": float(familiar.contained[place]),
                "contained_unanswered": familiar.contained_unanswerable,
                "strange": float(familiar.idf[strange].sum()) / total,
                "known_behind": max(shares) - shares[place],
                "contained_behind": float(familiar.contained.max()) - float(familiar.contained[place]),
                "likeness": same,
                "likeness_support": learned.support.get(row, 0.0),
                "likeness_behind": learned.answerable - same,
                "likeness_next": max(others, default=0.0),
                "likeness_unanswered": learned.unanswerable,
                "likeness_margin": same - learned.unanswerable,
                "votes": learned.votes.get(row, 0.0),
                "votes_against": learned.votes_against,
                "likeness_sentence": float(alike.max()) if learned_vector is not None and len(alike) else 0.0,
            }
        )
    return found


@cache
def weights_sha256() -> str:
    """Return the hash of the shipped ranking model, read once."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
