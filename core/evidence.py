"""The evidence lock: draft + hits → claims with citations. Code attaches citations, never the model.

A sentence stays when some sentence of the hits supports it and every number in it stands there (or in a logged tool
call). What is not supported is removed; the caller abstains when nothing is left. Knows no model and no threshold of a domain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from core.documents.sentences import sentence_spans
from core.models import Draft
from core.text import normalize, terms
from core.types import Citation, Claim, Hit, Span

MIN_SUPPORT = 0.6
"""Least share of a drafted sentence's content that must stand in its evidence."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MARKER = re.compile(r"\s*[\[【]\d{1,3}(?:\s*,\s*\d{1,3})*[\]】]")


def numbers(text: str) -> set[str]:
    """Return the numbers of ``text`` in one spelling: no thousands separators, no trailing zeros after the point."""
    found = set()
    for match in _NUMBER.finditer(normalize(text)):
        digits = match.group().rstrip(".,")
        digits = digits.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", digits) else digits.replace(",", ".")
        found.add(digits.rstrip("0").rstrip(".") if "." in digits else digits.lstrip("0") or "0")
    return found


def cite(hit: Hit, span: Span) -> Citation:
    """Return the citation of a span of a hit's page.

    Raises:
        ValueError: the span lies outside the passage.
    """
    passage = hit.passage
    if not passage.start <= span.start < span.end <= passage.end:
        raise ValueError(f"span {span.start}..{span.end} is not in passage {passage.start}..{passage.end}")
    quote = passage.text[span.start - passage.start : span.end - passage.start]
    return Citation(
        document_id=passage.document_id,
        external_id=hit.external_id,
        title=hit.title,
        source=hit.source,
        page=passage.page,
        start=span.start,
        end=span.end,
        quote=quote,
        sha256=hashlib.sha256(quote.encode()).hexdigest(),
    )


def shown(text: str) -> str:
    """Return a quote as a reader sees it: line breaks of the page become spaces."""
    return " ".join(text.split())


def lock(draft: Draft, hits: Sequence[Hit], *, tool_numbers: frozenset[str] = frozenset()) -> tuple[Claim, ...]:
    """Lock a draft to its evidence.

    Args:
        draft: quotes by place, or free text.
        hits: the passages that the draft was made from.
        tool_numbers: numbers that logged tool calls returned, as :func:`numbers` spells them.

    Returns:
        One claim per sentence that is supported, in order; empty when nothing is.
    """
    if draft.quotes:
        claims = []
        for quote in draft.quotes:
            hit = hits[quote.hit]
            citation = cite(hit, hit.passage.sentences[quote.sentence])
            claims.append(Claim(text=shown(citation.quote), support=1.0, citations=(citation,)))
        return tuple(claims)
    locked = (_lock_sentence(draft.text[span.start : span.end], hits, tool_numbers) for span in sentence_spans(draft.text))
    return tuple(claim for claim in locked if claim is not None)


def _lock_sentence(sentence: str, hits: Sequence[Hit], tool_numbers: frozenset[str]) -> Claim | None:
    text = shown(_MARKER.sub("", sentence))
    words = set(terms(text, keep_stopwords=False))
    if not words:
        return None
    wanted = numbers(text) - tool_numbers
    best: tuple[float, Hit, Span] | None = None
    for hit in hits:
        passage = hit.passage
        heading = set(terms(passage.heading))
        for n, first in enumerate(passage.sentences):
            # A drafted sentence often joins two neighbours, so spans of one and of two sentences compete.
            for last in passage.sentences[n : n + 2]:
                quote = passage.text[first.start - passage.start : last.end - passage.start]
                if not wanted <= numbers(quote):
                    continue
                stands = set(terms(quote))
                share = (len(words & stands) + 0.5 * len((words - stands) & heading)) / len(words)
                if best is None or share > best[0] + 1e-9:
                    best = (share, hit, Span(start=first.start, end=last.end))
    if best is None or best[0] < MIN_SUPPORT:
        return None
    support, hit, span = best
    return Claim(text=text, support=min(1.0, round(support, 4)), citations=(cite(hit, span),))
