"""Chooses the reader of a file by its format and runs it, without a sandbox. Knows the formats' names, not their insides."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from core.documents.blocks import has_text
from core.documents.detect import Format, detect_format
from core.documents.filings import filing_context
from core.documents.parsed import Limits, ParsedDocument
from core.errors import DocumentError

Reader = Callable[[Path, Limits], ParsedDocument]

_MODULES: dict[Format, str] = {
    Format.CSV: "core.documents.csv",
    Format.DOCX: "core.documents.docx",
    Format.EPUB: "core.documents.epub",
    Format.HTML: "core.documents.html",
    Format.MARKDOWN: "core.documents.markdown",
    Format.PDF: "core.documents.pdf",
    Format.PPTX: "core.documents.pptx",
    Format.TEXT: "core.documents.text",
    Format.XLSX: "core.documents.xlsx",
}


def read_here(path: Path, limits: Limits) -> ParsedDocument:
    """Read one file in this process: only the sandboxed worker may call this on files from outside.

    Raises:
        DocumentError: mislabelled, damaged, empty or too large. The message does not name the file.
    """
    kind = detect_format(path)
    if kind not in _MODULES:
        raise DocumentError("a jsonl file holds many documents; it is streamed, not read as one")
    read = cast(Reader, import_module(_MODULES[kind]).read)
    parsed = read(path, limits)
    if not has_text(parsed.pages):
        raise DocumentError("holds no text; nothing to add")
    return parsed if parsed.context else parsed.model_copy(update={"context": filing_context(parsed.pages)})
