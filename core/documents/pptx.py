"""Reads slides: one page per slide with its title, bullets, tables and speaker notes. Knows no layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from core.documents.archive import check_archive
from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.types import BlockKind, Page

_MAX_DEPTH = 20


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a .pptx file; page numbers are slide numbers, from 1.

    Raises:
        DocumentError: hostile or damaged zip, or the output limit is spent.
    """
    check_archive(path, limits)
    from pptx import Presentation

    presentation = Presentation(str(path))
    budget = OutputBudget(limits)
    pages = tuple(_page(slide, number, budget) for number, slide in enumerate(presentation.slides, start=1))
    heading = next((page.text[b.start : b.end] for page in pages for b in page.blocks if b.kind is BlockKind.HEADING), "")
    properties = presentation.core_properties
    title = one_line(properties.title or "")
    # The title that the usual template carries says nothing.
    title = heading if title in ("", "PowerPoint Presentation") else title
    return ParsedDocument(title=title or one_line(path.stem), lang=as_language(properties.language), pages=pages)


def _page(slide: Any, number: int, budget: OutputBudget) -> Page:
    builder = PageBuilder(budget)
    heading = slide.shapes.title
    if heading is not None:
        builder.add(BlockKind.HEADING, heading.text_frame.text.replace("\v", " "), level=1)
    for shape in _shapes(slide.shapes):
        if heading is not None and shape.shape_id == heading.shape_id:
            continue
        if getattr(shape, "has_table", False):
            for row in shape.table.rows:
                cells = ["" if cell.is_spanned else one_line(cell.text_frame.text) for cell in row.cells]
                builder.add(BlockKind.TABLE_ROW, " | ".join(cells) if any(cells) else "")
        elif shape.has_text_frame:
            kind = BlockKind.LIST_ITEM if _is_bulleted(shape) else BlockKind.TEXT
            for paragraph in shape.text_frame.paragraphs:
                builder.add(kind, paragraph.text)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        builder.add(BlockKind.TEXT, slide.notes_slide.notes_text_frame.text)
    return builder.build(number=number)


def _shapes(shapes: Iterable[Any], depth: int = 0) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes") and depth < _MAX_DEPTH:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _is_bulleted(shape: Any) -> bool:
    """Body and object placeholders show their paragraphs as bullets; text boxes and subtitles do not."""
    from pptx.enum.shapes import PP_PLACEHOLDER

    return bool(shape.is_placeholder and shape.placeholder_format.type in (PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT))
