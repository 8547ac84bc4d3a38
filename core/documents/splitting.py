"""Documents → passages: whole sentences under one heading, on one page, within a token budget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from core.documents.sentences import sentence_spans
from core.types import BlockKind, Document, Page, Passage, Span

TARGET_TOKENS = 150
"""A passage is closed once it holds this many tokens: about one section of an article."""
MAX_TOKENS = 220
"""Never exceeded but by a single longer sentence; the encoder reads 256 tokens, heading included."""
MAX_SENTENCE_CHARS = 1_200
"""A 'sentence' longer than this (a table without full stops) is cut at white space."""


def estimate_tokens(text: str) -> int:
    """Estimate the WordPiece length of ``text`` without a tokenizer: one per Han character, 4.5 Latin characters a token."""
    han = sum("\u3400" <= c <= "\u9fff" for c in text)
    return han + -(-(len(text) - han) * 2 // 9)


def split(document: Document) -> Iterator[Passage]:
    """Cut a document into passages in reading order.

    Raises nothing on odd input: a document of one endless word is cut at :data:`MAX_SENTENCE_CHARS`.
    """
    headings: list[tuple[int, str]] = []
    for page in document.pages:
        yield from _split_page(document, page, headings)


def _split_page(document: Document, page: Page, headings: list[tuple[int, str]]) -> Iterator[Passage]:
    pending: list[Span] = []
    for block in page.blocks:
        if block.kind is BlockKind.HEADING:
            if pending:
                yield _passage(document, page, pending, headings)
                pending = []
            while headings and headings[-1][0] >= block.level:
                headings.pop()
            headings.append((block.level, " ".join(page.text[block.start : block.end].split())))
            continue
        for sentence in _sentences(page.text, block.start, block.end):
            have = sum(estimate_tokens(page.text[s.start : s.end]) for s in pending)
            extra = estimate_tokens(page.text[sentence.start : sentence.end])
            if pending and (have + extra > MAX_TOKENS or (have >= TARGET_TOKENS and block.start == sentence.start)):
                yield _passage(document, page, pending, headings)
                pending = []
            pending.append(sentence)
    if pending:
        yield _passage(document, page, pending, headings)


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    for span in sentence_spans(text, start=start, end=end):
        at = span.start
        while span.end - at > MAX_SENTENCE_CHARS:
            cut = max(text.rfind(" ", at + 1, at + MAX_SENTENCE_CHARS), text.rfind("\n", at + 1, at + MAX_SENTENCE_CHARS))
            cut = cut if cut > at else at + MAX_SENTENCE_CHARS
            yield Span(start=at, end=cut)
            at = cut
            while at < span.end and text[at].isspace():
                at += 1
        if at < span.end:
            yield Span(start=at, end=span.end)


def passage_id(document_id: str, *, page: int | None, start: int, end: int) -> str:
    """Return the SHA-256 of a passage's document and span, in hex."""
    return hashlib.sha256(f"{document_id}\0{page}\0{start}\0{end}".encode()).hexdigest()


def _passage(document: Document, page: Page, sentences: list[Span], headings: list[tuple[int, str]]) -> Passage:
    start, end = sentences[0].start, sentences[-1].end
    names = [document.title, *([document.context] if document.context else [])]
    names += [name for _, name in headings if name != document.title]
    return Passage(
        id=passage_id(document.id, page=page.number, start=start, end=end),
        document_id=document.id,
        page=page.number,
        start=start,
        end=end,
        text=page.text[start:end],
        heading=" › ".join(names),
        lang=document.lang,
        sentences=tuple(sentences),
    )
