"""Question → ranked passages: dense and keyword search fused, sentences scored. Knows nothing of answers or thresholds.

Fusion is a convex combination of the cosine and BM25's share of its upper bound, not rank fusion: ranks forget by how
much the first beats the second (Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023).
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.encoder import Encoder
from core.errors import IntegrityError, LibraryError
from core.index.faiss import FaissIndex
from core.library import KEYWORD_WEIGHTS, Candidate, Generation, Library, StoredPassage
from core.questions import EMPTY, Likeness, QuestionBank
from core.text import content_terms, match_query, term_set
from core.types import Hit, Language

POOL = 60
"""Candidates taken from each side before fusion."""
DENSE_WEIGHT: dict[Language, float] = {"en": 0.70, "zh": 0.10}
"""Share of the cosine in the fused score; the rest is BM25's share. MiniLM reads little Chinese (its vocabulary lacks most
characters), so Chinese leans on words. Fitted on the shipped training questions and a MedQuAD sample; see ARCHITECTURE.md."""
BANK_WEIGHT: dict[Language, float] = {"en": 0.6, "zh": 0.8}
BANK_FLOOR = 0.2
"""A passage gains this weight times how far the likest question that it answers lies above the floor."""
SENTENCE_BANK_WEIGHT = 0.5
"""A sentence gains likewise when it is the one that answers the likest question."""
SENTENCE_OVERLAP_WEIGHT = 0.45
_BM25_K1, _BM25_B = 1.2, 0.75


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """The ranked hits of one question and the statistics that abstention reads."""

    query: str
    lang: Language
    hits: tuple[Hit, ...]
    words: tuple[str, ...]
    idf: dict[str, float]
    generation: int
    likeness: Likeness = EMPTY


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """What a reader holds while the library moves on: an open index and the rows it may return per language."""

    generation: Generation
    index: FaissIndex
    rows: dict[str, NDArray[np.int64]]
    average_words: float
    banks: dict[Language, QuestionBank] = field(default_factory=dict)
    """Filled per language when first asked in it: building a bank costs some 20 ms."""


def inverse_document_frequency(total: int, frequency: int) -> float:
    """Return BM25's idf as FTS5 computes it: ln((N - n + 0.5) / (n + 0.5)), at least 1e-6."""
    return max(math.log((total - frequency + 0.5) / (frequency + 0.5)), 1e-6)


class Retriever:
    """Searches one library. Thread-safe; a new generation is picked up at the next search.

    Args:
        library: where passages live.
        encoder: encodes queries; must share the library's base encoder.
    """

    def __init__(self, library: Library, encoder: Encoder) -> None:
        self._library = library
        self._encoder = encoder
        self._lock = threading.Lock()
        self._held: _Snapshot | None = None

    def _snapshot(self) -> _Snapshot | None:
        generation = self._library.generation()
        held = self._held
        if generation is None or (held is not None and held.generation.number == generation.number):
            return held
        with self._lock:
            path = self._library.folder / "generations" / generation.file
            try:
                index = FaissIndex.load(path, sha256=generation.sha256)
            except IntegrityError:
                # The file is only a cache: rebuild from the vectors in SQLite rather than fail the reader.
                index = FaissIndex.build(*self._library.vectors())
            self._held = _Snapshot(generation=generation, index=index, rows=self._library.rows_by_language(), average_words=self._library.average_words())
        return self._held

    def search(self, query: str, *, k: int, lang: Language, sentences: bool = True, scopes: Sequence[str] = (), without_questions: str = "") -> Retrieval:
        """Return the best ``k`` passages for ``query``.

        Passages in the question's language are searched; all of them when there are none in it.

        Args:
            query: what is searched for; one line.
            k: number of hits, at least 1.
            lang: language of the question.
            sentences: whether to score the sentences of each hit too.
            scopes: collections to search; empty means all.
            without_questions: leave out the bank's questions of this origin (for fitting on them).
        """
        words = tuple(content_terms(query))
        snapshot = self._snapshot()
        if snapshot is None or not len(snapshot.index):
            return Retrieval(query=query, lang=lang, hits=(), words=words, idf={}, generation=0)
        allowed = snapshot.rows.get(lang)
        if scopes:
            in_scope = self._library.rows_in_scopes(scopes)
            allowed = in_scope if allowed is None else np.intersect1d(allowed, in_scope)
        total, frequencies = self._library.document_frequencies(words)
        idf = {word: inverse_document_frequency(total, n) for word, n in frequencies.items()}
        vector = self._encoder.encode([query])[0]
        rows, _ = snapshot.index.search(vector, POOL, allowed=allowed)
        matched = np.array(self._library.keyword(match_query(_selective(frequencies, total)), limit=4 * POOL), dtype=np.int64)
        if allowed is not None:
            matched = matched[np.isin(matched, allowed)]
        bank = snapshot.banks.get(lang)
        if bank is None:
            bank = snapshot.banks[lang] = QuestionBank(self._library.questions(lang), lang)
        likeness = bank.compare(query, vector, without=without_questions)
        asked = np.array([row for row in likeness.passages if allowed is None or row in allowed], dtype=np.int64)
        weight = DENSE_WEIGHT[lang]
        ranked = []
        with np.errstate(invalid="ignore"):
            for candidate in self._library.candidates(np.unique(np.concatenate([rows, matched[:POOL], asked])).tolist()):
                cosine = float(candidate.vector @ vector)
                if not math.isfinite(cosine):
                    raise LibraryError(f"library '{self._library.folder.name}' holds a damaged vector; move its folder away and build it again")
                share = keyword_share(candidate, idf, snapshot.average_words)
                bonus = BANK_WEIGHT[lang] * max(0.0, likeness.passages.get(candidate.row, 0.0) - BANK_FLOOR)
                ranked.append((weight * cosine + (1 - weight) * share + bonus, cosine, share, candidate.row))
        ranked.sort(key=lambda entry: (-entry[0], entry[3]))
        stored = self._library.passages([row for *_, row in ranked[:k]])
        hits = []
        for score, cosine, share, row in ranked[:k]:
            if row in stored:
                item, _, vectors = stored[row]
                hits.append(_hit(item, score, cosine, share, _sentence_scores(item, vectors, vector, idf, lang, likeness) if sentences else ()))
        return Retrieval(query=query, lang=lang, hits=tuple(hits), words=words, idf=idf, generation=snapshot.generation.number, likeness=likeness)


def _selective(frequencies: dict[str, int], total: int) -> list[str]:
    """Return the words worth fetching postings for: those in at most a twentieth of the passages, all when there are none.

    A word of every second passage finds nothing that the others do not, and costs most of the search; it still counts in
    the score of every candidate.
    """
    known = {word: n for word, n in frequencies.items() if n}
    rare = [word for word, n in known.items() if n <= max(50, total // 20)]
    return rare or sorted(known, key=known.__getitem__)[:3]


def keyword_share(candidate: Candidate, idf: dict[str, float], average_words: float) -> float:
    """Return a candidate's BM25 as a share of the highest that any passage could have, in [0, 1].

    BM25 with k1 = 1.2 and b = 0.75 as SQLite's FTS5 computes it (sqlite.org/fts5.html, "The bm25() function"), heading
    terms weighted by ``KEYWORD_WEIGHTS``; the bound is (k1 + 1) times the sum of the query's idf.
    """
    bound = (_BM25_K1 + 1) * sum(idf.values())
    if bound <= 0:
        return 0.0
    in_heading = Counter(word for word in candidate.heading if word in idf)
    in_body = Counter(word for word in candidate.body if word in idf)
    norm = _BM25_K1 * (1 - _BM25_B + _BM25_B * candidate.words / average_words)
    score = 0.0
    for word, weight in idf.items():
        frequency = KEYWORD_WEIGHTS[0] * in_heading[word] + KEYWORD_WEIGHTS[1] * in_body[word]
        score += weight * frequency * (_BM25_K1 + 1) / (frequency + norm)
    return score / bound


def _hit(item: StoredPassage, score: float, cosine: float, share: float, sentence_scores: tuple[float, ...]) -> Hit:
    return Hit(
        passage=item.passage,
        external_id=item.external_id,
        title=item.title,
        source=item.source,
        url=item.url,
        score=round(score, 6),
        dense=round(cosine, 6),
        keyword=round(share, 6),
        row=item.row,
        sentence_scores=sentence_scores,
    )


def overlap(words: Set[str], idf: dict[str, float]) -> float:
    """Return the idf-weighted share of the question's words that occur in ``words``; 0 for a question without words."""
    total = sum(idf.values())
    return sum(weight for word, weight in idf.items() if word in words) / total if total else 0.0


def _sentence_scores(
    item: StoredPassage, vectors: NDArray[np.float32], query: NDArray[np.float32], idf: dict[str, float], lang: Language, likeness: Likeness
) -> tuple[float, ...]:
    weight = SENTENCE_OVERLAP_WEIGHT if lang == "en" else 0.9
    offset = item.passage.start
    scores = []
    for number, (span, vector) in enumerate(zip(item.passage.sentences, vectors, strict=True)):
        shared = overlap(term_set(item.passage.text[span.start - offset : span.end - offset]), idf)
        bonus = SENTENCE_BANK_WEIGHT * max(0.0, likeness.sentences.get((item.row, number), 0.0) - BANK_FLOOR)
        scores.append(round((1 - weight) * float(vector @ query) + weight * shared + bonus, 6))
    return tuple(scores)


def as_langchain_retriever(retriever: Retriever, *, k: int = 6) -> Any:
    """Return the retriever as a LangChain ``BaseRetriever``: documents carry ids, titles, pages, spans and scores as metadata."""
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document as LangChainDocument
    from langchain_core.retrievers import BaseRetriever

    from core.documents.language import detect_language

    class DomainkitRetriever(BaseRetriever):
        """Hybrid search of one domain library."""

        k: int

        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[LangChainDocument]:
            found = retriever.search(query, k=self.k, lang=detect_language(query), sentences=False)
            return [
                LangChainDocument(
                    page_content=hit.passage.text,
                    id=hit.passage.id,
                    metadata={
                        "document_id": hit.passage.document_id,
                        "external_id": hit.external_id,
                        "title": hit.title,
                        "source": hit.source,
                        "heading": hit.passage.heading,
                        "page": hit.passage.page,
                        "start": hit.passage.start,
                        "end": hit.passage.end,
                        "score": hit.score,
                    },
                )
                for hit in found.hits
            ]

    return DomainkitRetriever(k=k)
