"""Small documents, passages and vectors made by hand, for tests of rooms that need no encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.documents.sentences import sentence_spans
from core.encoder import PassageVectors
from core.library import Library
from core.types import Block, BlockKind, Document, Hit, Language, Page, Passage, Span

DIMENSION = 8
ENCODER = "sample@0"
Entry = tuple[Document, list[Passage], list[PassageVectors]]


def unit_vectors(seed: str, count: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Return ``count`` unit vectors that depend on ``seed`` only."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    vectors = np.random.default_rng(number).standard_normal((count, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def entry(
    external_id: str,
    texts: Sequence[str],
    *,
    lang: Language = "en",
    scope: str = "corpus",
    source: str = "",
    file_sha256: str = "f0",
    title: str = "",
    aliases: tuple[str, ...] = (),
) -> Entry:
    """Return a document of one page whose passages are ``texts``, ready for :meth:`Library.add`."""
    page = Page(number=None, text="\n\n".join(texts), blocks=_blocks(texts))
    document = Document(
        id=hashlib.sha256(f"{external_id}\0{lang}\0{page.text}".encode()).hexdigest(), external_id=external_id, title=title or external_id.title(),
        source=source or f"{external_id}.md", lang=lang, pages=(page,), scope=scope, aliases=aliases, file_sha256=file_sha256,
    )  # fmt: skip
    passages = []
    for block in page.blocks:
        spans = tuple(sentence_spans(page.text, start=block.start, end=block.end))
        passages.append(
            Passage(
                id=hashlib.sha256(f"{document.id}\0{block.start}".encode()).hexdigest(), document_id=document.id, page=None, start=spans[0].start,
                end=spans[-1].end, text=page.text[spans[0].start : spans[-1].end], heading=document.title, lang=lang, sentences=spans,
            )
        )  # fmt: skip
    return document, passages, vectors_of(passages)


def vectors_of(passages: Sequence[Passage]) -> list[PassageVectors]:
    """Return made-up vectors of passages."""
    return [PassageVectors(passage=unit_vectors(p.id, 1)[0], sentences=unit_vectors(p.id + "s", len(p.sentences))) for p in passages]


def _blocks(texts: Sequence[str]) -> tuple[Block, ...]:
    blocks, at = [], 0
    for text in texts:
        blocks.append(Block(kind=BlockKind.TEXT, start=at, end=at + len(text)))
        at += len(text) + 2
    return tuple(blocks)


def hit(text: str, *, title: str = "Tulips", heading: str = "", start: int = 0, lang: Language = "en", document: str = "d1", score: float = 0.5) -> Hit:
    """Return a hit whose passage stands at ``start`` of its page."""
    spans = tuple(Span(start=span.start + start, end=span.end + start) for span in sentence_spans(text))
    passage = Passage(
        id=hashlib.sha256(f"{document}{start}{text}".encode("utf-8", "replace")).hexdigest(), document_id=document, page=None, start=start,
        end=start + len(text), text=text, heading=heading or title, lang=lang, sentences=spans,
    )  # fmt: skip
    return Hit(
        passage=passage, external_id=document, title=title, source=f"{document}.md", url="", score=score, dense=score, keyword=score,
        sentence_scores=tuple(score - 0.1 * n for n in range(len(spans))),
    )  # fmt: skip


def index_bytes(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> bytes:
    """Return a stand-in for an index: publishing cares about bytes, not about what they mean."""
    return ids.tobytes() + vectors.tobytes()


def sample_library(folder: Path, *, encoder_id: str = ENCODER) -> Library:
    """Return a library whose vectors are made up."""
    return Library(folder, encoder_id=encoder_id)
