"""The question bank: what people ask, and which passage answers it (or that none does). Indexed beside the passages.

A user's question resembles another question more than it resembles an article; matching both finds the passage far more
often (Nogueira et al., "Document Expansion by Query Prediction", 2019, expand the text; here questions stay apart, so
that they can also say "this was asked before and nothing here answers it"). A domain without questions loses nothing else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.library import StoredQuestion
from core.text import normalize, terms
from core.types import Language

DENSE_SHARE: dict[Language, float] = {"en": 0.75, "zh": 0.15}
"""Weight of the cosine in the likeness of two questions; the rest is the tf-idf cosine of their words."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike a question is to the bank: the best likeness per passage row and per sentence, and to any unanswerable one."""

    passages: dict[int, float]
    unanswerable: float
    sentences: dict[tuple[int, int], float] = field(default_factory=dict)
    """The best likeness by (row, sentence)."""

    @property
    def answerable(self) -> float:
        """The best likeness to any question that a passage answers."""
        return max(self.passages.values(), default=0.0)


EMPTY = Likeness(passages={}, unanswerable=0.0)


def question_terms(text: str, lang: Language) -> list[str]:
    """Return the terms by which questions are compared: content words; in Chinese also character pairs, which need no dictionary."""
    found = terms(text, keep_stopwords=False)
    if lang == "zh":
        characters = [c for c in normalize(text) if c.isalnum()]
        found += [a + b for a, b in zip(characters, characters[1:], strict=False)]
    return found


class QuestionBank:
    """The questions of one library in one language, held in memory: vectors, and an inverted index of weighted words."""

    def __init__(self, questions: Sequence[StoredQuestion], lang: Language) -> None:
        self._lang = lang
        self._rows = [question.passages for question in questions]
        self._origins = np.array([question.origin for question in questions])
        self._vectors: NDArray[np.float32] = np.stack([q.vector for q in questions]) if questions else np.zeros((0, 1), dtype=np.float32)
        bags = [Counter(question.words) for question in questions]
        frequency = Counter(word for bag in bags for word in bag)
        self._idf = {word: math.log((1 + len(bags)) / (1 + n)) + 0.3 for word, n in frequency.items()}
        self._unknown = math.log(1 + len(bags)) + 0.3
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, bag in enumerate(bags):
            weights, norm = self._weigh(bag)
            for word, weight in weights.items():
                self._postings[word].append((number, weight / norm))

    def __len__(self) -> int:
        """Number of questions."""
        return len(self._rows)

    def _weigh(self, bag: Counter[str]) -> tuple[dict[str, float], float]:
        weights = {word: (1 + math.log(n)) * self._idf.get(word, self._unknown) for word, n in bag.items()}
        return weights, math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0

    def compare(self, text: str, vector: NDArray[np.float32], *, without: str = "") -> Likeness:
        """Compare a question with the bank.

        Args:
            text: the question.
            vector: its encoding (d,), unit norm.
            without: leave out the questions of this origin (for fitting on them).
        """
        if not self._rows:
            return EMPTY
        share = DENSE_SHARE[self._lang]
        likeness = share * np.clip(self._vectors @ vector, 0.0, 1.0)
        weights, norm = self._weigh(Counter(question_terms(text, self._lang)))
        for word, weight in weights.items():
            for number, other in self._postings.get(word, ()):
                likeness[number] += (1 - share) * other * weight / norm
        if without:
            likeness[self._origins == without] = 0.0
        best: dict[int, float] = {}
        sentences: dict[tuple[int, int], float] = {}
        unanswerable = 0.0
        for number in np.argsort(-likeness)[:40]:
            value = float(likeness[number])
            if not self._rows[number]:
                unanswerable = max(unanswerable, value)
            for row, first, last in self._rows[number]:
                best[row] = max(best.get(row, 0.0), value)
                for sentence in range(first, last + 1):
                    sentences[row, sentence] = max(sentences.get((row, sentence), 0.0), value)
        return Likeness(passages=best, unanswerable=unanswerable, sentences=sentences)
