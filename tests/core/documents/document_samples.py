"""Writes small files of every format with the usual writers, for the tests beside this file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.types import BlockKind, Document

ReadOne = Callable[[Path], Document]

HAN = "高血压是指血压持续升高。成年人血压达到 140/90 mmHg 可诊断为高血压。"
ENGLISH = "Hypertension is high blood pressure. It rarely has symptoms."


def check_spans(document: Document) -> None:
    """Every span is in order, holds no surrounding white space and is not empty."""
    for page in document.pages:
        at = 0
        for block in page.blocks:
            words = page.text[block.start : block.end]
            assert words and words == words.strip() and block.start >= at
            at = block.end


def blocks_of(document: Document) -> list[tuple[BlockKind, str]]:
    """Return (kind, text) of every block."""
    return [(block.kind, page.text[block.start : block.end]) for page in document.pages for block in page.blocks]


def make_pdf(path: Path, pages: list[list[str]], *, title: str = "", password: str | None = None) -> Path:
    """Write a PDF with one line of text per string; a font for Chinese is used where needed."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    encryption = None if password is None else StandardEncryption(password, ownerPassword="owner", strength=128)
    canvas = Canvas(str(path), encrypt=encryption, invariant=1)
    if title:
        canvas.setTitle(title)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.setFont("Helvetica" if line.isascii() else "STSong-Light", 11)
            canvas.drawString(72, 760 - 16 * number, line)
        canvas.showPage()
    canvas.save()
    return path


def make_docx(path: Path) -> Path:
    """Write a Word file with headings, text, list and table in English and Chinese."""
    import docx

    document = docx.Document()
    document.core_properties.title = "Blood pressure"
    document.add_heading("Blood pressure", level=1)
    document.add_paragraph(ENGLISH)
    document.add_heading("诊断", level=2)
    document.add_paragraph(HAN)
    document.add_paragraph("Rest for five minutes.", style="List Bullet")
    document.add_paragraph("Measure twice.", style="List Number")
    table = document.add_table(rows=2, cols=3)
    for row, values in zip(table.rows, (("Stage", "Systolic", "Diastolic"), ("1", "130–139", "80–89")), strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    document.add_paragraph("After the table.")
    document.save(str(path))
    return path


def make_epub(path: Path, chapters: list[str], *, title: str = "A book", lang: str = "en") -> Path:
    """Write an EPUB whose chapters are the given XHTML bodies."""
    items = "".join(f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters)))
    refs = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title><dc:language>{lang}</dc:language></metadata>'
        f"<manifest>{items}</manifest><spine>{refs}</spine></package>"
    )
    container = (
        '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OPS/book.opf", package)
        for number, body in enumerate(chapters):
            page = f'<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
            archive.writestr(f"OPS/text/c {number}.xhtml", page)
    return path


def replace_part(path: Path, name: str, content: bytes) -> Path:
    """Rewrite one entry of a zip file (or add it)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, content)
    path.write_bytes(buffer.getvalue())
    return path
