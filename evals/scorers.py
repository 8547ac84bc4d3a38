"""Scores of one answer against one item: short pure functions, deterministic, no judge."""

from __future__ import annotations

import re
from collections import Counter

from core.manifest import EvalItem
from core.text import normalize, terms
from core.types import Answer, Citation, Status


def cites_document(citation: Citation, document: str) -> bool:
    """Whether a citation is of the document called ``document``: external id, file stem, file name or title."""
    stem = citation.source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return document in {citation.external_id, citation.source, stem, citation.title, citation.document_id}


def source_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the answer was given and cites an expected document (on the expected page where the item names one)."""
    return answer.status is Status.ANSWERED and any(
        cites_document(citation, source.document) and (source.page is None or source.page == citation.page)
        for claim in answer.claims
        for citation in claim.citations
        for source in item.sources
    )


def _squeezed(text: str) -> str:
    return re.sub(r"\W+", "", normalize(text))


def passage_right(item: EvalItem, answer: Answer) -> bool:
    """Whether a passage that the answer quotes holds an expected quote, or most of its words; items without quotes: the source.

    Stricter than :func:`source_right`: the right article but the wrong section does not count.
    """
    if answer.status is not Status.ANSWERED:
        return False
    passages = {hit.passage_id: hit for hit in answer.hits}
    for claim in answer.claims:
        for citation in claim.citations:
            for source in item.sources:
                if not cites_document(citation, source.document):
                    continue
                if not source.quote:
                    return True
                quote = _squeezed(source.quote)
                held = [hit.text for hit in passages.values() if hit.document_id == citation.document_id and citation.quote in hit.text]
                if any(quote in _squeezed(text) or share_of(source.quote, text) >= 0.8 for text in held):
                    return True
    return False


def quote_right(item: EvalItem, answer: Answer) -> bool:
    """Whether a quoted sentence itself overlaps an expected quote: one holds the other, or they share most words."""
    return answer.status is Status.ANSWERED and any(
        _squeezed(citation.quote) in _squeezed(source.quote)
        or _squeezed(source.quote) in _squeezed(citation.quote)
        or share_of(source.quote, citation.quote) >= 0.6
        for claim in answer.claims
        for citation in claim.citations
        for source in item.sources
        if source.quote and cites_document(citation, source.document)
    )


def share_of(expected: str, text: str) -> float:
    """Return the share of the expected words, repeats counted, that occur in ``text``."""
    want, have = Counter(terms(expected)), Counter(terms(text))
    total = sum(want.values())
    return sum((want & have).values()) / total if total else 0.0


def token_f1(expected: str, text: str) -> float:
    """Return the harmonic mean of word precision and recall (Rajpurkar et al., SQuAD, 2016), on the kit's index terms."""
    want, have = Counter(terms(expected)), Counter(terms(text))
    shared = sum((want & have).values())
    if not shared:
        return 0.0
    precision, recall = shared / sum(have.values()), shared / sum(want.values())
    return 2 * precision * recall / (precision + recall)


def expected_status(item: EvalItem) -> Status:
    """Return the status an item expects: its own, else answered when answerable and abstained when not."""
    if item.expect_status is not None:
        return item.expect_status
    return Status.ANSWERED if item.answerable else Status.ABSTAINED


def status_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the answer has the status that the item expects."""
    return answer.status is expected_status(item)


def spans_hold(answer: Answer) -> bool:
    """Whether every claim is cited and every quote has the length its offsets state."""
    return all(citation.end - citation.start == len(citation.quote) for claim in answer.claims for citation in claim.citations)


def item_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the assistant did what it should: the right status and, where an answer is due, a passage that answers."""
    if not status_right(item, answer):
        return False
    if answer.status is Status.ANSWERED and item.sources:
        return passage_right(item, answer)
    return True
