"""Reads PDF files page by page with pypdf; page text stays as extracted. Knows no layout and no OCR."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from core.documents.blocks import has_text, one_line, verbatim_page
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.errors import DocumentError
from core.types import Page

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PAGES = 20_000
_POOR_TITLE = re.compile(r"^(?:microsoft \w+ - |untitled|document\d*$|\S+$|.*\.(?:docx?|pptx?|xlsx?|pdf|indd|qxd)$)", re.I)


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a PDF. Page numbers count from 1, as a PDF reader prints them.

    Raises:
        DocumentError: damaged, encrypted with a password, without any text, too many pages, or the output limit is spent.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(path, strict=False)
        _decrypt(reader)
        count = len(reader.pages)
        if count == 0:
            raise DocumentError("has no pages; it may be damaged: open it in its program and save it again")
        if count > MAX_PAGES:
            raise DocumentError(f"has {count} pages, more than {MAX_PAGES}; split it")
        pages = _pages(reader, OutputBudget(limits))
        title = _title(reader) or one_line(path.stem)
        lang = as_language(reader.root_object.get("/Lang"))
    except DependencyError as error:
        raise DocumentError("is encrypted with AES; install the reader's part for it: pip install cryptography") from error
    except PyPdfError as error:
        raise DocumentError(f"is damaged and cannot be read as a PDF ({one_line(str(error))[:120]}); save it again") from error
    if not has_text(pages):
        raise DocumentError(f"no text on any of its {count} pages: run OCR (for example ocrmypdf) first")
    return ParsedDocument(title=title, lang=lang, pages=pages)


def _decrypt(reader: PdfReader) -> None:
    from pypdf import PasswordType

    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise DocumentError("is encrypted with a password; save a copy without password")


def _pages(reader: PdfReader, budget: OutputBudget) -> tuple[Page, ...]:
    pages: list[Page] = []
    for number, page in enumerate(reader.pages, start=1):
        try:
            text = page.extract_text()
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # pypdf raises many kinds on damaged streams; a page silently lost would be worse
            reason = one_line(f"{type(error).__name__}: {error}")[:120]
            raise DocumentError(f"page {number} is damaged and cannot be read ({reason}); save the file again") from error
        pages.append(verbatim_page(text, budget, number=number))
    return tuple(pages)


def _title(reader: PdfReader) -> str:
    try:
        metadata = reader.metadata
        title = one_line(str(metadata.get("/Title") or "")) if metadata is not None else ""
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""
    # File names, accession numbers and single words name no document; Chinese titles have no spaces.
    return title if 3 <= len(title) <= 200 and (not title.isascii() or not _POOR_TITLE.match(title)) else ""
