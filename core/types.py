"""The frozen values that flow between rooms: Document, Passage, Hit, Claim, Answer.

Knows nothing about how any of them is made, stored or shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


class Frozen(BaseModel):
    """Base of every value here: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    ABSTAINED = "abstained"
    ESCALATED = "escalated"
    REFUSED = "refused"


class BlockKind(StrEnum):
    """What a block of extracted text is in its document."""

    HEADING = "heading"
    TEXT = "text"
    LIST_ITEM = "list_item"
    TABLE_ROW = "table_row"


class Block(Frozen):
    """One paragraph, heading, list item or table row, with its place in the page's text.

    ``start``/``end`` are character offsets into :attr:`Page.text`; ``level`` is 1–6 for headings, 0 otherwise.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0


class Page(Frozen):
    """Extracted text of one page. ``number`` is 1-based as a PDF reader prints it, None where there are no pages."""

    number: int | None
    text: str
    blocks: tuple[Block, ...]


class Document(Frozen):
    """A parsed document. ``id`` is the SHA-256 of its identity and text, so the same document twice is one document."""

    id: str
    external_id: str
    title: str
    source: str
    lang: Language
    pages: tuple[Page, ...]
    scope: str = "corpus"
    url: str = ""
    aliases: tuple[str, ...] = ()
    context: str = ""
    """What the first page says the document is (for filings: company, form, period); empty where unknown."""
    file_sha256: str = ""


class Span(Frozen):
    """A half-open character range ``[start, end)`` of a page's text."""

    start: int
    end: int


class Passage(Frozen):
    """A run of whole sentences under one heading, at most one page long: the unit of retrieval.

    ``start``/``end`` index the page's text; ``sentences`` are spans in the same coordinates. ``text == page.text[start:end]``.
    """

    id: str
    document_id: str
    page: int | None
    start: int
    end: int
    text: str
    heading: str
    """``title › section › subsection``: what a reader would see above the passage."""
    lang: Language
    sentences: tuple[Span, ...]


class Hit(Frozen):
    """A retrieved passage. ``score`` is the fused score; ``dense`` is a cosine, ``keyword`` a share of BM25's upper bound."""

    passage: Passage
    external_id: str
    title: str
    source: str
    url: str
    score: float
    dense: float
    keyword: float
    confidence: float = 0.0
    """The probability that the passage answers the query, 0 where it was not judged."""
    row: int = 0
    """The passage's row number in its library."""
    sentence_scores: tuple[float, ...] = ()
    """How well each sentence of the passage answers the query, in the order of ``passage.sentences``; empty when not asked for."""


class Citation(Frozen):
    """Where a claim's words stand. ``quote == text[start:end]`` of the page (of the document where there are no pages)."""

    document_id: str
    external_id: str
    title: str
    source: str
    page: int | None = Field(description="1-based page number, null where the document has no pages")
    start: int = Field(ge=0, description="first character of the quote in the page's (or document's) extracted text")
    end: int = Field(ge=0, description="one past the last character of the quote")
    quote: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the quote in UTF-8")


class Claim(Frozen):
    """One sentence of an answer with the evidence it is locked to."""

    text: str
    support: float = Field(ge=0, le=1)
    citations: Annotated[tuple[Citation, ...], Field(min_length=1)]


class AnswerHit(Frozen):
    """A retrieved passage as an answer reports it."""

    passage_id: str
    document_id: str
    external_id: str
    title: str
    page: int | None
    score: float
    text: str


class Timings(Frozen):
    """Milliseconds of wall time per stage."""

    retrieve: float = Field(ge=0)
    answer: float = Field(ge=0)
    total: float = Field(ge=0)


class Answer(Frozen):
    """The published answer object: what ``domainkit ask --json`` prints."""

    id: str
    domain: str
    question: str
    lang: Language
    status: Status
    text: str
    notice: str = Field(description="disclaimer or emergency text, may be empty")
    claims: tuple[Claim, ...]
    hits: tuple[AnswerHit, ...]
    nearest: tuple[str, ...] = Field(default=(), description="titles of the nearest topics when the assistant abstains")
    confidence: float = Field(ge=0, le=1)
    calibrated: bool = Field(default=True, description="false when no fitted threshold covers this domain and language")
    profile: str
    model: str
    adapter: str
    generation: int = Field(ge=0)
    timings_ms: Timings


class Turn(Frozen):
    """One earlier exchange of a conversation, oldest first when listed."""

    question: str
    answer: str
    title: str = ""
    """Title of the document that the answer cited first, empty when it cited none."""
