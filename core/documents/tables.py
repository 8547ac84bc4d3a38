"""Writes the rows of a table as sentences of the form "header: value; header: value". Knows no file format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from core.documents.blocks import PageBuilder, one_line
from core.types import BlockKind

_NUMBER = re.compile(r"^[\s$€£¥+\-()]*[\d.,]+\s*%?\)?$")
_HEADER_SEARCH_ROWS = 20


def add_rows(rows: Iterable[Sequence[str]], builder: PageBuilder) -> None:
    """Add each data row as one table row block.

    The header is the first row with two or more cells of which none is a number, within the first rows; what stands above it
    is a text block each. Without such a row the columns are called ``column 1``, ``column 2`` …

    Raises:
        DocumentError: the document's output limit is spent.
    """
    head: list[list[str]] = []
    iterator = iter(rows)
    for row in iterator:
        cells = [one_line(cell) for cell in row]
        if any(cells):
            head.append(cells)
        if len(head) >= _HEADER_SEARCH_ROWS:
            break
    at = next((number for number, cells in enumerate(head) if _is_header(cells)), None)
    header = head[at] if at is not None else []
    single = at is None and all(sum(map(bool, cells)) <= 1 for cells in head)
    for cells in head[: at or 0]:
        builder.add(BlockKind.TEXT, " ".join(filter(None, cells)))
    for cells in head[at + 1 if at is not None else 0 :]:
        _add_row(cells, header, builder, bare=single)
    for row in iterator:
        _add_row([one_line(cell) for cell in row], header, builder, bare=single)


def _is_header(cells: list[str]) -> bool:
    named = [cell for cell in cells if cell]
    return len(named) >= 2 and not any(_NUMBER.match(cell) for cell in named)


def _add_row(cells: list[str], header: list[str], builder: PageBuilder, *, bare: bool) -> None:
    pairs = []
    for number, value in enumerate(cells):
        if value:
            name = header[number] if number < len(header) and header[number] else f"column {number + 1}"
            pairs.append(value if bare else f"{name}: {value}")
    builder.add(BlockKind.TABLE_ROW, "; ".join(pairs))
