"""Streams jsonl records into parsed documents, one line in memory at a time. Knows no other format and no sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.documents.blocks import has_text, one_line, verbatim_page
from core.documents.filings import filing_context
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.documents.sentences import sentence_spans
from core.errors import DocumentError
from core.types import Frozen, Language, Page

MAX_LINE_BYTES = 16 * 1_048_576
_BOM = b"\xef\xbb\xbf"
MAX_HEADLINE = 100
"""Characters of a headline made from a record's own text."""


class Record(Frozen):
    """One line: ``page`` is 1-based, None where the record has no pages."""

    id: str
    text: str
    title: str = ""
    url: str = ""
    page: int | None = None
    lang: Language | None = None


def read(path: Path, limits: Limits) -> Iterator[ParsedDocument]:
    """Yield one document per line; neighbouring lines with the same ``id`` and different ``page`` are pages of one document.

    Raises:
        DocumentError: a line is not an object with the strings ``id`` and ``text``, is too long, or its document is too large;
            the message names the line. Documents before it have been yielded.
    """
    group: list[Record] = []
    numbers: set[int] = set()
    size = line = 0
    records = _records(path)
    while True:
        try:
            line, record = next(records)
        except StopIteration:
            break
        except DocumentError:
            if group and not numbers:
                yield _document(group, limits, line)
            raise
        if group and not (record.id == group[0].id and record.page is not None and numbers and record.page not in numbers):
            yield _document(group, limits, line - 1)
            group, numbers, size = [], set(), 0
        group.append(record)
        if record.page is not None:
            numbers.add(record.page)
        size += len(record.text)
        if size > limits.output_mb * 1_048_576:
            raise DocumentError(f"line {line}: holds more than {limits.output_mb} MB of text; split it or raise DOMAINKIT_PARSE_OUTPUT_MB")
    if group:
        yield _document(group, limits, line)


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise DocumentError(f"line {number}: longer than {MAX_LINE_BYTES // 1_048_576} MB; split the record into pages")
            raw = raw.removeprefix(_BOM) if number == 1 else raw
            if raw.strip():
                yield number, _record(raw, number)


def _record(raw: bytes, line: int) -> Record:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentError(f"line {line}: not UTF-8 at byte {error.start}; save the file again as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"line {line}: not valid JSON ({str(error)[:80]}); write one object per line") from error
    if not isinstance(value, dict):
        raise DocumentError(f"line {line}: not an object; write {{'id': …, 'text': …}} with double quotes")
    page = value.get("page")
    if page is not None and (not isinstance(page, int) or isinstance(page, bool) or not 1 <= page <= 10_000_000):
        raise DocumentError(f"line {line}: 'page' must be an integer from 1, got {str(page)[:40]!r}")
    identity = value.get("id")
    identity = one_line(str(identity)) if isinstance(identity, str | int) and not isinstance(identity, bool) else ""
    if not identity:
        raise DocumentError(f"line {line}: 'id' is missing; give every record a string that names it")
    if not isinstance(value.get("text"), str):
        raise DocumentError(f"line {line}: 'text' is missing or no string; give the record's text")
    lang = value.get("lang")
    if lang not in (None, "") and as_language(lang) is None:
        raise DocumentError(f"line {line}: unknown 'lang' {str(lang)[:20]!r}; known: en, zh, or leave it out")
    return Record(
        id=identity,
        text=value["text"],
        title=_optional(value, "title", line),
        url=_optional(value, "url", line),
        page=page,
        lang=as_language(lang),
    )


def _optional(value: dict[str, Any], key: str, line: int) -> str:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise DocumentError(f"line {line}: '{key}' must be a string, got {str(found)[:40]!r}")
    return one_line(found or "")


def _headline(text: str) -> str:
    """Return the opening words of an untitled record: what it is about, where its id would say nothing."""
    opening = next((line.strip() for line in text.splitlines() if line.strip()), "")
    sentence = sentence_spans(opening[:400])[:1]
    head = opening[sentence[0].start : sentence[0].end] if sentence else ""
    return one_line(head if len(head) <= MAX_HEADLINE else head[:MAX_HEADLINE].rsplit(" ", 1)[0] + " …")


def _document(group: list[Record], limits: Limits, line: int) -> ParsedDocument:
    budget = OutputBudget(limits)
    try:
        pages: tuple[Page, ...] = tuple(verbatim_page(record.text, budget, number=record.page) for record in group)
    except DocumentError as error:
        raise DocumentError(f"line {line}: '{group[0].id[:60]}' {error}") from error
    if not has_text(pages):
        raise DocumentError(f"line {line}: '{group[0].id[:60]}' has no text; remove the record")
    first = group[0]
    return ParsedDocument(
        title=next((r.title for r in group if r.title), "") or (first.id if first.page else _headline(first.text) or first.id),
        lang=next((r.lang for r in group if r.lang), None),
        url=next((r.url for r in group if r.url), ""),
        external_id=first.id,
        context=filing_context(pages),
        pages=pages,
    )
