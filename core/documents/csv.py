"""Reads comma, semicolon, tab or bar separated tables. Knows no other table format."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import islice
from pathlib import Path

from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument
from core.documents.tables import add_rows
from core.documents.text import decode
from core.errors import DocumentError

_DELIMITERS = ",;\t|"
_SNIFFED_ROWS = 50
_MAX_FIELD_CHARS = 1_048_576


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a delimited table; each row becomes "header: value; header: value".

    Raises:
        DocumentError: not a table, not text, or the output limit is spent.
    """
    text = decode(path.read_bytes()).replace("\0", "")
    builder = PageBuilder(OutputBudget(limits))
    csv.field_size_limit(_MAX_FIELD_CHARS)
    delimiter = sniff_delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        add_rows(rows, builder)
    except csv.Error as error:
        raise DocumentError(f"is not a valid table near line {rows.line_num} ({error}); check its quotes") from error
    return ParsedDocument(title=one_line(path.stem), pages=(builder.build(),))


def sniff_delimiter(text: str) -> str:
    """Return the delimiter under which most of the first rows have the same number of cells, more than one; ``,`` where none fits."""
    best, best_score = ",", 0
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _SNIFFED_ROWS) if any(row)]
        except csv.Error:
            continue
        widths = Counter(len(row) for row in rows if len(row) > 1)
        # Agreement among rows first, then the finer cut.
        score = max((count * 1_000 + min(width, 999) for width, count in widths.items()), default=0)
        if score > best_score:
            best, best_score = delimiter, score
    return best
