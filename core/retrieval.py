"""Question → ranked passages: dense and keyword search fused, sentences scored. Knows nothing of answers or thresholds.

Fusion is a convex combination of the cosine and BM25's share of its upper bound, not rank fusion: ranks forget by how
much the first beats the second (Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.encoder import Encoder
from core.errors import IntegrityError, LibraryError
from core.index.faiss import FaissIndex
from core.library import Library
from core.library_schema import KEYWORD_WEIGHTS, Candidate, Generation, StoredPassage
from core.question_head import QuestionHead
from core.questions import EMPTY, Likeness, QuestionBank
from core.ranking import CandidateFacts, candidate_features, likest_sentence, shipped_model, variant_of
from core.text import content_terms, match_query, overlap, term_set
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
RERANKED = 8
"""Passages that are ranked by the probability that they answer."""
REMEMBERED = 20_000
"""Passages whose sentences' vectors by the question head are kept in memory."""
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


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The best passages of a question by fused score, with what ranking and abstention read of each."""

    query: str
    words: tuple[str, ...]
    idf: dict[str, float]
    vector: NDArray[np.float32]
    likeness: Likeness
    facts: tuple[CandidateFacts, ...]
    stored: tuple[StoredPassage, ...]
    features: tuple[dict[str, float], ...]
    """Of the first :data:`RERANKED`; see :func:`core.ranking.candidate_features`."""


class Retriever:
    """Searches one library. Thread-safe; a new generation is picked up at the next search.

    Args:
        library: where passages live.
        encoder: encodes queries; must share the library's base encoder.
        heads: the domain's question heads by language.
        tuned: the domain's query encoder (base and adapter), which passages are sought by; by default the base.
    """

    def __init__(self, library: Library, encoder: Encoder, *, heads: Mapping[Language, QuestionHead] | None = None, tuned: Encoder | None = None) -> None:
        self._library = library
        self._encoder = encoder
        self._tuned = tuned
        self._heads = dict(heads or {})
        self._sentence_vectors: dict[tuple[int, str, str], NDArray[np.float32]] = {}
        self._candidates: tuple[int, dict[int, Candidate | None]] = (-1, {})
        self._lock = threading.Lock()
        self._held: _Snapshot | None = None

    def query_vectors(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors (n, d), unit norm, by which passages are sought: the adapter's where there is one, else the base's."""
        return (self._tuned or self._encoder).encode(queries)

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

    def _known(self, rows: Sequence[int]) -> list[Candidate]:
        """Return what ranking needs of live passages; remembered until the library changes, since the same ones are found again and again."""
        revision = self._library.revision()
        if self._candidates[0] != revision or len(self._candidates[1]) > REMEMBERED:
            self._candidates = (revision, {})
        known = self._candidates[1]
        missing = [row for row in rows if row not in known]
        if missing:
            # In one step, so that no other thread takes a passage for removed that is only being read.
            read = {candidate.row: candidate for candidate in self._library.candidates(missing)}
            known.update({row: read.get(row) for row in missing})
        return [candidate for row in rows if (candidate := known.get(row)) is not None]

    def bank(self, lang: Language) -> QuestionBank:
        """Return the question bank of the present generation in one language, loaded once."""
        snapshot = self._snapshot()
        if snapshot is None:
            return QuestionBank({}, lang)
        found = snapshot.banks.get(lang)
        if found is None:
            found = snapshot.banks[lang] = QuestionBank(self._library.question_bank(lang), lang, head=self._heads.get(lang))
        return found

    def search(
        self, query: str, *, k: int, lang: Language, sentences: bool = True, scopes: Sequence[str] = (), vector: NDArray[np.float32] | None = None
    ) -> Retrieval:
        """Return the best ``k`` passages for ``query``.

        Passages in the question's language are searched; all of them when there are none in it. Where the library has a question bank,
        and wherever an answer is wanted (``sentences``), the best are ranked by the probability that they answer.

        Args:
            query: what is searched for; one line.
            k: number of hits, at least 1.
            lang: language of the question.
            sentences: whether to score the sentences of each hit too.
            scopes: collections to search; empty means all.
            vector: the query's encoding (d,), unit norm, where the caller has it already.
        """
        snapshot = self._snapshot()
        if snapshot is None or not len(snapshot.index):
            return Retrieval(query=query, lang=lang, hits=(), words=tuple(content_terms(query)), idf={}, generation=0)
        bank = self.bank(lang)
        found = self.candidates(query, k=max(k, RERANKED), lang=lang, bank=bank, head=self._heads.get(lang), scopes=scopes, vector=vector)
        order = [(facts.fused, 0.0, n) for n, facts in enumerate(found.facts)]
        if sentences or len(bank):
            model = shipped_model(lang, variant_of(found.likeness))
            judged = model.confidences(found.features)
            first = sorted(range(len(judged)), key=lambda n: (-judged[n], n))
            floor = min(judged, default=0.0)
            # Those behind the judged ones keep their order, with scores below theirs.
            rest = [(min(found.facts[n].fused, floor) * 0.999, 0.0, n) for n in range(len(judged), len(found.facts))]
            order = [(judged[n], judged[n], n) for n in first] + rest
        hits = []
        for score, confidence, n in order[:k]:
            facts, item = found.facts[n], found.stored[n]
            scored = _sentence_scores(facts, found.vector, found.idf, lang, found.likeness) if sentences else ()
            hits.append(_hit(item, score, facts.cosine, facts.keyword, confidence, scored))
        return Retrieval(
            query=query, lang=lang, hits=tuple(hits), words=found.words, idf=found.idf, generation=snapshot.generation.number, likeness=found.likeness
        )

    def candidates(
        self,
        query: str,
        *,
        k: int,
        lang: Language,
        bank: QuestionBank,
        head: QuestionHead | None = None,
        scopes: Sequence[str] = (),
        without_questions: str = "",
        vector: NDArray[np.float32] | None = None,
    ) -> Candidates:
        """Return the best ``k`` passages by fused score with the features of each.

        Args:
            query: what is searched for.
            k: how many.
            lang: its language.
            bank: the question bank to compare with.
            head: the question head that the bank was packed with.
            scopes: collections to search; empty means all.
            without_questions: leave out the bank's questions of this origin (for fitting on them).
            vector: the query's encoding (d,), unit norm, where the caller has it already.

        Raises:
            LibraryError: there is no index yet, or a stored vector is damaged.
        """
        words = tuple(content_terms(query))
        snapshot = self._snapshot()
        if snapshot is None:
            raise LibraryError(f"library '{self._library.folder.name}' has no index yet; run `domainkit reindex {self._library.folder.name}`")
        allowed = snapshot.rows.get(lang)
        if scopes:
            in_scope = self._library.rows_in_scopes(scopes)
            allowed = in_scope if allowed is None else np.intersect1d(allowed, in_scope)
        total, frequencies = self._library.document_frequencies(words)
        idf = {word: inverse_document_frequency(total, n) for word, n in frequencies.items()}
        if vector is None:
            vector = self._encoder.encode([query])[0]
        sought = self._tuned.encode([query])[0] if self._tuned is not None else vector
        rows, _ = snapshot.index.search(sought, POOL, allowed=allowed)
        matched = np.array(self._library.keyword(match_query(_selective(frequencies, total)), limit=4 * POOL), dtype=np.int64)
        if allowed is not None:
            matched = matched[np.isin(matched, allowed)]
        learned = head.vectors([query], vector[None])[0] if head is not None else None
        likeness = bank.compare(query, vector, without=without_questions, learned_vector=learned)
        asked_about = (likeness.learned or likeness).passages
        asked = np.fromiter(asked_about, dtype=np.int64, count=len(asked_about))
        if allowed is not None:
            asked = asked[np.isin(asked, allowed)]
        weight = DENSE_WEIGHT[lang]
        ranked = []
        with np.errstate(invalid="ignore"):
            for candidate in self._known(np.unique(np.concatenate([rows, matched[:POOL], asked])).tolist()):
                cosine, tuned = float(candidate.vector @ vector), float(candidate.vector @ sought)
                if not math.isfinite(cosine):
                    raise LibraryError(f"library '{self._library.folder.name}' holds a damaged vector; move its folder away and build it again")
                share = keyword_share(candidate, idf, snapshot.average_words)
                bonus = BANK_WEIGHT[lang] * max(0.0, asked_about.get(candidate.row, 0.0) - BANK_FLOOR)
                ranked.append((weight * tuned + (1 - weight) * share + bonus, cosine, tuned, share, candidate.row))
        ranked.sort(key=lambda entry: (-entry[0], entry[4]))
        kept = ranked[:k]
        stored = self._library.passages([row for *_, row in kept])
        facts: list[CandidateFacts] = []
        for fused, cosine, tuned, share, row in kept:
            if row in stored:
                item, _, vectors = stored[row]
                facts.append(self._facts(item, vectors, cosine, tuned, share, fused, head if len(facts) < RERANKED else None))
        first = facts[:RERANKED]
        familiar = bank.familiar(query, [(fact.row, likest_sentence(fact, vector, learned)) for fact in first], without=without_questions)
        features = candidate_features(query, first, idf=idf, words=len(words), vector=vector, learned_vector=learned, likeness=likeness, familiar=familiar)
        return Candidates(
            query=query, words=words, idf=idf, vector=vector, likeness=likeness, facts=tuple(facts), stored=tuple(stored[f.row][0] for f in facts),
            features=tuple(features),
        )  # fmt: skip

    def _facts(
        self, item: StoredPassage, vectors: NDArray[np.float32], cosine: float, tuned: float, share: float, fused: float, head: QuestionHead | None
    ) -> CandidateFacts:
        passage = item.passage
        sentences = tuple(passage.text[span.start - passage.start : span.end - passage.start] for span in passage.sentences)
        return CandidateFacts(
            row=item.row, heading=passage.heading, text=passage.text, sentences=sentences, vectors=vectors, cosine=cosine, tuned=tuned, keyword=share, fused=fused,
            learned=self._learned_sentences(item, sentences, vectors, head) if head is not None else None,
        )  # fmt: skip

    def _learned_sentences(self, item: StoredPassage, sentences: Sequence[str], vectors: NDArray[np.float32], head: QuestionHead) -> NDArray[np.float32]:
        """Return the head's vectors of a passage's sentences; remembered, since the same passages are found again and again."""
        key = (item.row, item.passage.id, head.sha256)
        found = self._sentence_vectors.get(key)
        if found is None:
            found = head.vectors([titled(item.title, sentence) for sentence in sentences], vectors)
            if len(self._sentence_vectors) >= REMEMBERED:
                self._sentence_vectors.clear()
            self._sentence_vectors[key] = found
        return found


def titled(title: str, sentence: str) -> str:
    """Return what a question head reads of a sentence: its document's title before it."""
    return f"{title} {sentence}"


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
    norm = _BM25_K1 * (1 - _BM25_B + _BM25_B * candidate.words / average_words)
    score = 0.0
    for word, weight in idf.items():
        frequency = KEYWORD_WEIGHTS[0] * candidate.heading.get(word, 0) + KEYWORD_WEIGHTS[1] * candidate.body.get(word, 0)
        score += weight * frequency * (_BM25_K1 + 1) / (frequency + norm)
    return score / bound


def _hit(item: StoredPassage, score: float, cosine: float, share: float, confidence: float, sentence_scores: tuple[float, ...]) -> Hit:
    return Hit(
        passage=item.passage,
        external_id=item.external_id,
        title=item.title,
        source=item.source,
        url=item.url,
        score=round(score, 6),
        dense=round(cosine, 6),
        keyword=round(share, 6),
        confidence=round(confidence, 6),
        row=item.row,
        sentence_scores=sentence_scores,
    )


def _sentence_scores(facts: CandidateFacts, query: NDArray[np.float32], idf: dict[str, float], lang: Language, likeness: Likeness) -> tuple[float, ...]:
    weight = SENTENCE_OVERLAP_WEIGHT if lang == "en" else 0.9
    asked = (likeness.learned or likeness).sentences
    scores = []
    for number, (sentence, vector) in enumerate(zip(facts.sentences, facts.vectors, strict=True)):
        bonus = SENTENCE_BANK_WEIGHT * max(0.0, asked.get((facts.row, number), 0.0) - BANK_FLOOR)
        scores.append(round((1 - weight) * float(vector @ query) + weight * overlap(term_set(sentence), idf) + bonus, 6))
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
