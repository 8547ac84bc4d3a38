"""Reads Word documents in document order: headings by style, list items, tables row by row. Knows no layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.documents.archive import check_archive
from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.types import BlockKind

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"^heading\s*([1-9])$", re.I)
_SKIPPED = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}pPr", f"{_W}rPr", f"{_W}instrText", _FALLBACK})


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a .docx file; text of tracked deletions is left out, that of insertions kept.

    Raises:
        DocumentError: hostile or damaged zip, or the output limit is spent.
    """
    check_archive(path, limits)
    import docx

    document = docx.Document(str(path))
    builder = PageBuilder(OutputBudget(limits))
    styles = _Styles(document)
    _add_body(document.element.body, styles, builder)
    page = builder.build()
    heading = next((page.text[b.start : b.end] for b in page.blocks if b.kind is BlockKind.HEADING and b.level == 1), "")
    properties = document.core_properties
    title = one_line(properties.title or "") or heading or one_line(path.stem)
    return ParsedDocument(title=title, lang=as_language(properties.language), pages=(page,))


class _Styles:
    """Answers what a paragraph's style makes of it: a heading's level, a list item."""

    def __init__(self, document: Any) -> None:
        self._named: dict[str, tuple[int, bool]] = {}
        for style in document.styles:
            if getattr(style, "element", None) is not None and style.type is not None:
                self._named[style.style_id] = self._meaning(style)

    @staticmethod
    def _meaning(style: Any) -> tuple[int, bool]:
        level, listed, seen = 0, False, 0
        while style is not None and seen < 12:
            name = (style.name or "").strip()
            if not level and (found := _HEADING.match(name)):
                level = int(found.group(1))
            elif not level and name.lower() == "title":
                level = 1
            elif not level and name.lower() == "subtitle":
                level = 2
            outline = style.element.find(f"{_W}pPr/{_W}outlineLvl")
            if not level and outline is not None and (value := outline.get(f"{_W}val", "9")).isdigit() and int(value) < 9:
                level = int(value) + 1
            listed = listed or name.lower().startswith("list") or style.element.find(f"{_W}pPr/{_W}numPr") is not None
            style, seen = getattr(style, "base_style", None), seen + 1
        return level, listed

    def kind(self, paragraph: Any) -> tuple[BlockKind, int]:
        """Return the block kind of a ``w:p`` element and its heading level."""
        found = paragraph.find(f"{_W}pPr/{_W}pStyle")
        level, listed = self._named.get(found.get(f"{_W}val", ""), (0, False)) if found is not None else (0, False)
        outline = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if outline is not None and (value := outline.get(f"{_W}val", "9")).isdigit():
            level = int(value) + 1 if int(value) < 9 else 0
        if level:
            return BlockKind.HEADING, level
        listed = listed or paragraph.find(f"{_W}pPr/{_W}numPr") is not None
        return (BlockKind.LIST_ITEM if listed else BlockKind.TEXT), 0


def _add_body(body: Any, styles: _Styles, builder: PageBuilder) -> None:
    for element in _flow(body):
        if element.tag == f"{_W}tbl":
            for row in element.iter(f"{_W}tr"):
                if _nearest(row, f"{_W}tbl") is element:
                    builder.add(BlockKind.TABLE_ROW, " | ".join(_cells(row)))
        else:
            kind, level = styles.kind(element)
            builder.add(kind, _text(element), level=level)
            for box in element.iter(f"{_W}txbxContent"):
                if not _within(box, _FALLBACK):
                    _add_body(box, styles, builder)


def _flow(container: Any) -> Iterator[Any]:
    """Yield paragraphs and tables in order, also those inside content controls and tracked insertions."""
    for child in container.iterchildren():
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}moveTo", f"{_W}customXml", f"{_W}smartTag"):
            yield from _flow(child)


def _cells(row: Any) -> list[str]:
    cells = []
    for cell in row.iter(f"{_W}tc"):
        if _nearest(cell, f"{_W}tr") is row:
            merge = cell.find(f"{_W}tcPr/{_W}vMerge")
            continued = merge is not None and merge.get(f"{_W}val", "continue") == "continue"
            text = "" if continued else one_line(" ".join(_text(paragraph) for paragraph in cell.iter(f"{_W}p")))
            cells.append(text)
    return cells if any(cells) else []


def _text(paragraph: Any) -> str:
    parts: list[str] = []
    pending = list(reversed(list(paragraph)))
    while pending:
        node = pending.pop()
        if node.tag in _SKIPPED or node.tag == f"{_W}txbxContent":
            continue
        if node.tag == f"{_W}t":
            parts.append(node.text or "")
        elif node.tag == f"{_W}tab":
            parts.append("\t")
        elif node.tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif node.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        else:
            pending.extend(reversed(list(node)))
    return "".join(parts)


def _nearest(element: Any, tag: str) -> Any:
    return next(element.iterancestors(tag), None)


def _within(element: Any, tag: str) -> bool:
    return _nearest(element, tag) is not None
