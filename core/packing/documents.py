"""The documents that people added to a library, as jsonl that ``domainkit add`` reads as well: written with their passages, brought back unchanged.

A document keeps its id, its passages and so its citations; what is read back is checked against that id. Vectors are made anew: as they depend,
in the last digits, on what is encoded beside them, confidences may differ in the third decimal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pydantic import Field, ValidationError, model_validator

from core.checking import Elsewhere
from core.documents.loading import document_id
from core.documents.splitting import passage_id
from core.encoder import Encoder
from core.errors import IntegrityError, LibraryError, UsageError
from core.ingest import BATCH_PASSAGES, encode_passages
from core.library import Library
from core.packing.layout import Digest, Progress, first_reason
from core.settings import Settings
from core.types import Document, Frozen, Language, Page, Passage, Span

CORPUS = "corpus"
"""Scope of a domain's own articles, which no document that people added may take."""
MAX_LINE_BYTES = 128 * 1024**2


class PackedPassage(Frozen):
    """A passage of the line's page: its span, what is read above it, and the spans of its sentences."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    heading: str
    sentences: tuple[tuple[int, int], ...]


class PackedPage(Frozen):
    """One line: a page of a document. The first six fields are those of ``domainkit add``; the lines of a document follow each other."""

    id: str = Field(min_length=1)
    title: str
    url: str
    lang: Language
    page: int | None = Field(ge=1, le=10_000_000)
    text: str
    document: Digest
    scope: str = Field(min_length=1, max_length=80)
    source: str = Field(min_length=1)
    aliases: tuple[str, ...]
    context: str
    file_sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")
    passages: tuple[PackedPassage, ...]

    @model_validator(mode="after")
    def _within(self) -> PackedPage:
        if self.scope == CORPUS:
            raise ValueError("the corpus is part of the domain, not of the added documents")
        for passage in self.passages:
            if not 0 <= passage.start < passage.end <= len(self.text):
                raise ValueError("a passage leaves its page")
            if not all(passage.start <= start < end <= passage.end for start, end in passage.sentences):
                raise ValueError("a sentence leaves its passage")
        return self


def write_documents(library: Library, file: IO[bytes], *, progress: Progress | None = None) -> int:
    """Write the live documents that people added, a line per page; returns how many documents.

    Raises:
        LibraryError: the library cannot be read. UsageError: a page is too long to be packed.
    """
    ids = library.added_documents()
    for number, one in enumerate(ids):
        document = library.document(one)
        if progress is not None:
            progress(document.source, number, len(ids))
        left = library.passages_of(one)
        for page in document.pages:
            mine: list[Passage] = []
            others: list[Passage] = []
            for passage in left:
                fits = passage.page == page.number and page.text[passage.start : passage.end] == passage.text
                (mine if fits else others).append(passage)
            left = others
            line = _line(document, page, mine).model_dump_json().encode() + b"\n"
            if len(line) > MAX_LINE_BYTES:
                raise UsageError(f"'{document.source[:80]}' has a page of {len(line) // 1024**2} MB, too long to be packed; move its file instead")
            file.write(line)
        if left:
            raise LibraryError(f"library '{library.folder.name}': '{document.source[:80]}' and its passages do not agree; add the file again")
    return len(ids)


def _line(document: Document, page: Page, passages: Sequence[Passage]) -> PackedPage:
    return PackedPage(
        id=document.external_id, title=document.title, url=document.url, lang=document.lang, page=page.number, text=page.text, document=document.id,
        scope=document.scope, source=document.source, aliases=document.aliases, context=document.context, file_sha256=document.file_sha256,
        passages=tuple(
            PackedPassage(start=one.start, end=one.end, heading=one.heading, sentences=tuple((s.start, s.end) for s in one.sentences)) for one in passages
        ),
    )  # fmt: skip


def read_documents(path: Path) -> Iterator[tuple[Document, tuple[Passage, ...]]]:
    """Yield documents with their passages, whose bytes the caller has checked.

    Raises:
        IntegrityError: a line is not what :func:`write_documents` writes, or a document does not have the id that its text gives.
    """
    seen: set[str] = set()
    for one, lines in itertools.groupby(_lines(path), key=lambda line: line.document):
        pages = list(lines)
        document = _document(pages)
        if document.id != one or one in seen:
            raise IntegrityError(f"the packed document '{_shown(document.source)}' does not have the id that its text gives; get the pack again")
        seen.add(one)
        passages = tuple(itertools.chain.from_iterable(_passages(document, line) for line in pages))
        if len({passage.id for passage in passages}) != len(passages):
            raise IntegrityError(f"the packed document '{_shown(document.source)}' has a passage twice; get the pack again")
        yield document, passages


def _lines(path: Path) -> Iterator[PackedPage]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            try:
                if len(raw) > MAX_LINE_BYTES:
                    raise IntegrityError(f"line {number} of the packed documents is too long; get the pack again")
                yield PackedPage.model_validate_json(raw)
            except ValidationError as error:
                raise IntegrityError(f"line {number} of the packed documents is not valid ({first_reason(error)}); get the pack again") from error


def _document(lines: Sequence[PackedPage]) -> Document:
    first = lines[0]
    pages = tuple(Page(number=line.page, text=line.text, blocks=()) for line in lines)
    return Document(
        id=document_id(external_id=first.id, title=first.title, lang=first.lang, pages=pages), external_id=first.id, title=first.title,
        source=first.source, lang=first.lang, pages=pages, scope=first.scope, url=first.url, aliases=first.aliases, context=first.context,
        file_sha256=first.file_sha256,
    )  # fmt: skip


def _passages(document: Document, line: PackedPage) -> Iterator[Passage]:
    for one in line.passages:
        yield Passage(
            id=passage_id(document.id, page=line.page, start=one.start, end=one.end), document_id=document.id, page=line.page, start=one.start,
            end=one.end, text=line.text[one.start : one.end], heading=one.heading, lang=document.lang,
            sentences=tuple(Span(start=start, end=end) for start, end in one.sentences),
        )  # fmt: skip


def _shown(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name[:80])


def look_up(path: Path, *, otherwise: Elsewhere) -> Elsewhere:
    """Return a look-up of the documents in a packed file, for the check of eval items that name them; ``otherwise`` knows others."""
    found: dict[str, list[tuple[int | None, str]]] = {}
    for document, _ in read_documents(path):
        for name in {document.id, document.external_id, document.source}:
            found.setdefault(name, []).extend((page.number, page.text) for page in document.pages)

    def look(document: str, page: int | None) -> str | None:
        if document not in found:
            return otherwise(document, page)
        return "\n".join(text for number, text in found[document] if number == page)

    return look


def restore_documents(path: Path, *, library: Library, encoder: Encoder, settings: Settings, progress: Progress | None = None) -> tuple[int, int]:
    """Store packed documents in a library; one that it has already costs nothing, an older version of one goes.

    Args:
        path: what :func:`write_documents` wrote, its bytes checked by the caller.
        library: where they go.
        encoder: encodes their passages.
        settings: state the size of a batch.
        progress: told how far the work is.

    Returns:
        How many documents were stored, and how many were there.

    Raises:
        IntegrityError: as :func:`read_documents`; what came before is stored. LibraryError: another process is writing, or the disk is full.
    """
    added = there = 0
    batch: list[tuple[Document, tuple[Passage, ...]]] = []

    def flush() -> None:
        items = [(passage, document.aliases) for document, passages in batch for passage in passages]
        vectors = iter(encode_passages(encoder, items, batch_tokens=settings.batch_tokens))
        library.add([(document, passages, [next(vectors) for _ in passages]) for document, passages in batch])
        batch.clear()

    with library.writing():
        for document, passages in read_documents(path):
            if library.has(document.id):
                there += 1
                continue
            batch.append((document, passages))
            added += 1
            if progress is not None:
                progress(document.source, added + there, added + there)
            if sum(len(held) for _, held in batch) >= BATCH_PASSAGES:
                flush()
        if batch:
            flush()
    return added, there
