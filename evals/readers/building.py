"""What readers make: eval items and documents, cut to the bounds of their schemas, their ids kept apart. Knows no format."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from core.documents.jsonl import Record
from core.documents.language import detect_language
from core.documents.sentences import sentence_spans
from core.errors import UsageError
from core.eval_items import EvalItem, EvalSource
from core.manifest import explain
from core.types import Frozen, Language

MAX_QUOTE, MAX_ID, MAX_QUESTION = 4_000, 120, 20_000


class Converted(Frozen):
    """An eval set of another format as this kit has it."""

    format: str
    items: tuple[EvalItem, ...]
    documents: tuple[Record, ...]
    """As ``domainkit add`` reads them; their ``id`` is what sources of items name."""
    notes: tuple[str, ...] = ()
    """What was left out or cut, in words."""


class Builder:
    """Gathers items and documents of one set.

    Args:
        format: name of the format.
    """

    def __init__(self, format: str) -> None:  # noqa: A002 - the word of the field
        self.format = format
        self._items: list[EvalItem] = []
        self._documents: dict[tuple[str, int | None], Record] = {}
        self._ids: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def document(self, text: str, *, id: str = "", title: str = "", url: str = "", page: int | None = None, lang: Language | None = None) -> str:  # noqa: A002
        """Add a document, once, and return its id: by default the hash of its text."""
        name = (id or hashlib.sha256(text.encode()).hexdigest()[:16])[:400]
        if text.strip():
            self._documents.setdefault((name, page), Record(id=name, text=text, title=title[:300], url=url[:2_000], page=page, lang=lang))
        return name

    def leave(self, why: str) -> None:
        """Count a row that is left out."""
        self._left[why] += 1

    def item(self, where: str, *, id: str, question: str, **more: Any) -> None:  # noqa: A002
        """Add an item; an id that occurs again is numbered.

        Raises:
            UsageError: it is not of the schema of eval items; the message names the row.
        """
        text = " ".join(question.split())
        if not text or len(text) > MAX_QUESTION:
            self.leave("without a question" if not text else f"with more than {MAX_QUESTION:,} characters of question")
            return
        name = id.strip()[:MAX_ID] or f"{self.format}-{len(self._items) + 1}"
        self._ids[name] += 1
        if self._ids[name] > 1:
            name = f"{name[: MAX_ID - 8]}~{self._ids[name]}"
        try:
            self._items.append(EvalItem(id=name, question=text, lang=more.pop("lang", None) or detect_language(text), **more))
        except ValidationError as error:
            raise UsageError(explain(error, file=where)) from error

    def converted(self) -> Converted:
        """Return what was gathered."""
        notes = tuple(f"{count:,} {'row' if count == 1 else 'rows'} {why} left out" for why, count in self._left.items())
        return Converted(format=self.format, items=tuple(self._items), documents=tuple(self._documents.values()), notes=notes)


def source(document: str, *, quote: str = "", page: int | None = None) -> EvalSource:
    """Return a source with its quote cut to the schema's bound."""
    return EvalSource(document=document[:400] or "?", quote=quote.strip()[:MAX_QUOTE].strip(), page=page)


def sentence_around(text: str, start: int, end: int) -> str:
    """Return the sentences of a text that hold the characters from ``start`` to ``end``."""
    held = [span for span in sentence_spans(text) if span.start < end and span.end > start]
    return text[held[0].start : held[-1].end] if held else text[start:end]


def around(text: str, answers: Sequence[str]) -> str:
    """Return the sentence of a text that holds the first of some answers found in it, empty where none is."""
    for answer in answers:
        at = text.find(answer) if answer.strip() else -1
        if at >= 0:
            return sentence_around(text, at, at + len(answer))
    return ""
