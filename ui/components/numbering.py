"""How citations are numbered and named, on the page and in exports. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

from core.types import Citation, Claim, Language
from ui.i18n import text


def numbered(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    """Return the citations of an answer in reading order, each place once; number ``n`` is at index ``n - 1``."""
    places: dict[tuple[str, int | None, int, int], Citation] = {}
    for claim in claims:
        for citation in claim.citations:
            places.setdefault((citation.document_id, citation.page, citation.start, citation.end), citation)
    return tuple(places.values())


def numbers_of(claim: Claim, citations: Sequence[Citation]) -> list[int]:
    """Return the numbers of a claim's citations."""
    return [citations.index(citation) + 1 for citation in claim.citations]


def support_label(claim: Claim, lang: Language) -> str:
    """Return how well a claim stands: verbatim, or the share of its content found in the evidence."""
    if all(" ".join(citation.quote.split()) == claim.text for citation in claim.citations):
        return text("ask.verbatim", lang)
    return text("ask.support", lang, percent=round(claim.support * 100))


def page_label(citation: Citation, lang: Language) -> str:
    """Return the page as people read it, empty where there are no pages."""
    return text("source.page", lang, page=citation.page) if citation.page is not None else ""
