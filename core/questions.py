"""The question bank: what people ask, and which passage answers it (or that none does). Indexed beside the passages.

A user's question resembles another question more than it resembles an article; matching both finds the passage far more
often (Nogueira et al., "Document Expansion by Query Prediction", 2019, expand the text; here questions stay apart, so
that they can also say "this was asked before and nothing here answers it"). A domain without questions loses nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import LibraryError
from core.library_schema import StoredQuestion
from core.question_head import QuestionHead
from core.text import normalize, terms
from core.types import Language

DENSE_SHARE: dict[Language, float] = {"en": 0.75, "zh": 0.0}
"""Weight of the cosine in the likeness of two questions; the rest is the tf-idf cosine of their words. MiniLM's vocabulary lacks most
Chinese characters: measured, it adds nothing there, and half of the bank need not be encoded."""
FORMAT = 2
"""Raised when the banks of older versions must be packed anew."""
NEAREST = 48
"""Questions of the bank that count in a comparison."""
VOTERS = 8
"""The nearest of them, whose votes say which passage people who ask so want."""
VOTE_POWER = 6
"""A vote weighs the likeness to this power: twice as alike counts 64 times."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike a question is to the bank: the best likeness per passage row and per sentence, and to any unanswerable one."""

    passages: dict[int, float]
    unanswerable: float
    sentences: dict[tuple[int, int], float] = field(default_factory=dict)
    """The best likeness by (row, sentence)."""
    support: dict[int, float] = field(default_factory=dict)
    """By row, the mean likeness of the three likest questions that the passage answers; half the last one's when there are fewer."""
    votes: dict[int, float] = field(default_factory=dict)
    """The share of the nearest questions' votes by row."""
    votes_against: float = 0.0
    """The share of the votes of unanswerable questions."""
    learned: Likeness | None = None
    """The same by the domain's question head, where it has one."""

    @property
    def answerable(self) -> float:
        """The best likeness to any question that a passage answers."""
        return max(self.passages.values(), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """How much of a question's wording the bank has seen before, about each of n passages and the likest sentence of each."""

    words: tuple[str, ...]
    """Of the question, w of them."""
    idf: NDArray[np.float32]
    """Of each word in the bank, (w,)."""
    nowhere: NDArray[np.bool_]
    """Whether no question of the bank has the word, (w,)."""
    passages: NDArray[np.bool_]
    """Whether a question that the passage answers has the word, (w, n)."""
    sentences: NDArray[np.bool_]
    """Whether a question that the sentence answers has the word, (w, n)."""
    contained: NDArray[np.float32]
    """The largest share of the words, by idf, that one question has which the passage answers, (n,) in [0, 1]."""
    contained_unanswerable: float
    """The same of the questions that nothing answers."""


EMPTY = Likeness(passages={}, unanswerable=0.0)


def question_terms(text: str, lang: Language) -> list[str]:
    """Return the terms by which questions are compared: content words; in Chinese also character pairs, which need no dictionary."""
    found = terms(text, keep_stopwords=False)
    if lang == "zh":
        characters = [c for c in normalize(text) if c.isalnum()]
        found += [a + b for a, b in zip(characters, characters[1:], strict=False)]
    return found


def pack(questions: Sequence[StoredQuestion], *, head: QuestionHead | None = None) -> dict[str, bytes]:
    """Return the bank of one language's questions as named byte strings, which load without parsing a row.

    Args:
        questions: all of one language.
        head: the domain's question head of that language, where it has one.
    """
    bags = [Counter(question.words) for question in questions]
    frequency = Counter(word for bag in bags for word in bag)
    words = sorted(frequency)
    idf = {word: _idf(len(bags), frequency[word]) for word in words}
    postings: dict[str, list[tuple[int, float]]] = {word: [] for word in words}
    for number, bag in enumerate(bags):
        weights = {word: (1 + math.log(n)) * idf[word] for word, n in bag.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        for word, weight in weights.items():
            postings[word].append((number, weight / norm))
    origins = sorted({question.origin for question in questions})
    places = [(number, *place) for number, question in enumerate(questions) for place in question.passages]
    ends = np.cumsum([len(postings[word]) for word in words], dtype="<i4")
    vectors = np.stack([question.vector for question in questions]) if questions else np.zeros((0, 0), dtype=np.float32)
    learned = {}
    if head is not None and questions:
        learned = {"learned": head.vectors([question.text for question in questions], vectors).astype("<f2").tobytes(), "head": head.sha256.encode()}
    return learned | {
        "vectors": vectors.astype("<f2").tobytes(),
        "shape": json.dumps(vectors.shape).encode(),
        "origins": json.dumps(origins, ensure_ascii=False).encode(),
        "origin": np.array([origins.index(question.origin) for question in questions], dtype="<i2").tobytes(),
        "places": np.array(places, dtype="<i4").tobytes(),
        "words": "\n".join(words).encode(),
        "ends": ends.tobytes(),
        "numbers": np.array([number for word in words for number, _ in postings[word]], dtype="<i4").tobytes(),
        "weights": np.array([weight for word in words for _, weight in postings[word]], dtype="<f4").tobytes(),
    }


def _idf(total: int, frequency: int) -> float:
    return math.log((1 + total) / (1 + frequency)) + 0.3


class QuestionBank:
    """The questions of one library in one language, held in memory: vectors, and an inverted index of weighted words.

    Args:
        parts: as :func:`pack` makes them; empty means no questions.
        lang: their language.
        head: the domain's question head; what was packed with another one is not compared by heads.

    Raises:
        LibraryError: the parts do not fit together; they were damaged.
    """

    def __init__(self, parts: Mapping[str, bytes], lang: Language, *, head: QuestionHead | None = None) -> None:
        self._lang = lang
        self._head = head
        self._learned: NDArray[np.float32] | None = None
        self._count = 0
        if not parts:
            return
        try:
            self._count, width = (int(size) for size in json.loads(parts["shape"]))
            if not self._count:
                return
            self._vectors = np.frombuffer(parts["vectors"], "<f2").reshape(self._count, width).astype(np.float32)
            self._origins: list[str] = json.loads(parts["origins"])
            self._origin = np.frombuffer(parts["origin"], "<i2")
            self._places = np.frombuffer(parts["places"], "<i4").reshape(-1, 4)
            if head is not None and parts.get("head", b"").decode() == head.sha256:
                self._learned = np.frombuffer(parts["learned"], "<f2").reshape(self._count, -1).astype(np.float32)
            words = parts["words"].decode().split("\n") if parts["words"] else []
            ends = np.frombuffer(parts["ends"], "<i4")
            self._numbers = np.frombuffer(parts["numbers"], "<i4")
            self._weights = np.frombuffer(parts["weights"], "<f4")
        except (KeyError, ValueError, TypeError) as error:
            raise LibraryError("the question bank is damaged; run `domainkit reindex`") from error
        everything = [array for array in (self._vectors, self._weights, self._learned) if array is not None]
        fits = (
            len(self._origin) == self._count
            and len(ends) == len(words)
            and len(self._numbers) == len(self._weights) == (ends[-1] if len(ends) else 0)
            and (not len(ends) or (ends[0] >= 0 and bool((np.diff(ends) >= 0).all())))
            and (not len(self._numbers) or (self._numbers.min() >= 0 and self._numbers.max() < self._count))
            and (self._learned is None or head is None or self._learned.shape[1] == head.dimension)
            and (not len(self._origin) or (self._origin.min() >= 0 and self._origin.max() < len(self._origins)))
            and all(np.isfinite(array).all() for array in everything)
        )
        if not fits:
            raise LibraryError("the question bank is damaged; run `domainkit reindex`")
        self._slices = dict(zip(words, zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True), strict=True))
        self._firsts = np.searchsorted(self._places[:, 0], np.arange(self._count + 1))

    def __len__(self) -> int:
        """Number of questions."""
        return self._count

    def compare(self, text: str, vector: NDArray[np.float32], *, without: str = "", learned_vector: NDArray[np.float32] | None = None) -> Likeness:
        """Compare a question with the bank.

        Args:
            text: the question.
            vector: its encoding (d,), unit norm.
            without: leave out the questions of this origin (for fitting on them).
            learned_vector: its vector by the head (d,), where the caller has it already.
        """
        if not self._count:
            return EMPTY
        left_out = self._origin == self._origins.index(without) if without in self._origins else None
        found = self._nearest(self._likeness(text, vector), left_out)
        if self._learned is None or self._head is None:
            return found
        if learned_vector is None:
            learned_vector = self._head.vectors([text], vector[None])[0]
        return replace(found, learned=self._nearest(np.clip(self._learned @ learned_vector, 0.0, 1.0), left_out))

    def familiar(self, text: str, places: Sequence[tuple[int, int]], *, without: str = "") -> Familiar:
        """Return how familiar the wording of a question is.

        Args:
            text: the question.
            places: (row, number of the likest sentence) of n passages.
            without: leave out the questions of this origin (for fitting on them).
        """
        words = tuple(sorted(set(question_terms(text, self._lang))))
        by_passage = np.zeros((len(words), len(places)), dtype=np.bool_)
        by_sentence = by_passage.copy()
        idf = np.ones(len(words), dtype=np.float32)
        contained = np.zeros(len(places), dtype=np.float32)
        unanswerable = 0.0
        known = self._slices if self._count else {}
        if self._count and words:
            of_passage = np.zeros((len(places), self._count), dtype=np.bool_)
            of_sentence = of_passage.copy()
            for n, (row, sentence) in enumerate(places):
                there = self._places[self._places[:, 1] == row]
                of_passage[n, there[:, 0]] = True
                of_sentence[n, there[(there[:, 2] <= sentence) & (sentence <= there[:, 3]), 0]] = True
            of_nothing = self._firsts[1:] == self._firsts[:-1]
            if without in self._origins:
                others = self._origin != self._origins.index(without)
                of_passage, of_sentence, of_nothing = of_passage & others, of_sentence & others, of_nothing & others
            shared = np.zeros(self._count, dtype=np.float32)
            for n, word in enumerate(words):
                first, last = self._slices.get(word, (0, 0))
                numbers = self._numbers[first:last]
                idf[n] = _idf(self._count, last - first)
                by_passage[n] = of_passage[:, numbers].any(axis=1)
                by_sentence[n] = of_sentence[:, numbers].any(axis=1)
                # A question has each word once in its postings, so no number repeats within a slice.
                shared[numbers] += idf[n]
            shared /= idf.sum()
            contained = np.array([shared[mine].max(initial=0.0) for mine in of_passage], dtype=np.float32)
            unanswerable = float(shared[of_nothing].max(initial=0.0))
        return Familiar(
            words=words, idf=idf, nowhere=np.array([word not in known for word in words], dtype=np.bool_), passages=by_passage, sentences=by_sentence,
            contained=contained, contained_unanswerable=unanswerable,
        )  # fmt: skip

    def _nearest(self, likeness: NDArray[np.float32], left_out: NDArray[np.bool_] | None) -> Likeness:
        if left_out is not None:
            likeness[left_out] = 0.0
        size = min(NEAREST, self._count)
        nearest = np.argpartition(-likeness, size - 1)[:size]
        nearest = nearest[np.argsort(-likeness[nearest], kind="stable")]
        by_row: dict[int, list[float]] = {}
        sentences: dict[tuple[int, int], float] = {}
        votes: dict[int, float] = {}
        unanswerable = against = total = 0.0
        for rank, number in enumerate(nearest.tolist()):
            value = float(likeness[number])
            places = self._places[self._firsts[number] : self._firsts[number + 1], 1:].tolist()
            vote = value**VOTE_POWER if rank < VOTERS else 0.0
            total += vote
            if not places:
                unanswerable, against = max(unanswerable, value), against + vote
            for row in {row for row, _, _ in places}:
                by_row.setdefault(row, []).append(value)
                votes[row] = votes.get(row, 0.0) + vote
            for row, first, last in places:
                for sentence in range(first, last + 1):
                    sentences[row, sentence] = max(sentences.get((row, sentence), 0.0), value)
        if not unanswerable and (rest := likeness[self._firsts[1:] == self._firsts[:-1]]).size:
            unanswerable = float(rest.max())
        return Likeness(
            passages={row: values[0] for row, values in by_row.items()},
            unanswerable=unanswerable,
            sentences=sentences,
            support={row: sum(values[:3]) / 3 if len(values) >= 3 else values[-1] / 2 for row, values in by_row.items()},
            votes={row: vote / total for row, vote in votes.items() if vote} if total else {},
            votes_against=against / total if total else 0.0,
        )

    def _likeness(self, text: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the likeness of the question to each of the bank's, (n,) float32 in [0, 1]."""
        share = DENSE_SHARE[self._lang]
        likeness: NDArray[np.float32] = np.zeros(self._count, dtype=np.float32)
        if share:
            likeness = share * np.clip(self._vectors @ vector, 0.0, 1.0)
        bag = Counter(question_terms(text, self._lang))
        weights = {}
        for word, n in bag.items():
            first, last = self._slices.get(word, (0, 0))
            weights[word] = (1 + math.log(n)) * _idf(self._count, last - first)
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        for word, weight in weights.items():
            first, last = self._slices.get(word, (0, 0))
            # A question has each word once in its postings, so no index repeats within a slice.
            likeness[self._numbers[first:last]] += self._weights[first:last] * ((1 - share) * weight / norm)
        return likeness
