"""Reads Excel workbooks: a heading per sheet, a sentence per row, values as last calculated. Knows no formulas."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.documents.archive import check_archive
from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.documents.tables import add_rows
from core.types import BlockKind


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read an .xlsx file, row by row.

    Raises:
        DocumentError: hostile or damaged zip, or the output limit is spent.
    """
    check_archive(path, limits)
    import warnings

    import openpyxl  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        # Styles, data validation and the like that it cannot keep do not matter to a reader of values.
        warnings.simplefilter("ignore")
        workbook = openpyxl.load_workbook(str(path), read_only=True, data_only=True)
        builder = PageBuilder(OutputBudget(limits))
        try:
            for sheet in workbook.worksheets:
                builder.add(BlockKind.HEADING, sheet.title, level=1)
                # A stated size of a million columns would pad every row.
                sheet.reset_dimensions()
                add_rows(_rows(sheet), builder)
        finally:
            workbook.close()
    properties = workbook.properties
    page = builder.build()
    if all(block.kind is BlockKind.HEADING for block in page.blocks):
        page = PageBuilder(OutputBudget(limits)).build()  # names of empty sheets are no content
    return ParsedDocument(title=one_line(properties.title or "") or one_line(path.stem), lang=as_language(properties.language), pages=(page,))


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows(values_only=True):
        yield [_show(value) for value in row]


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)
