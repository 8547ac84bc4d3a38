from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from document_samples import ENGLISH, HAN, ReadOne, blocks_of, make_docx, replace_part

from core.errors import DocumentError
from core.types import BlockKind


def test_docx_keeps_document_order_and_kinds(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(make_docx(tmp_path / "bp.docx"))
    assert blocks_of(document) == [
        (BlockKind.HEADING, "Blood pressure"),
        (BlockKind.TEXT, ENGLISH),
        (BlockKind.HEADING, "诊断"),
        (BlockKind.TEXT, HAN),
        (BlockKind.LIST_ITEM, "Rest for five minutes."),
        (BlockKind.LIST_ITEM, "Measure twice."),
        (BlockKind.TABLE_ROW, "Stage | Systolic | Diastolic"),
        (BlockKind.TABLE_ROW, "1 | 130–139 | 80–89"),
        (BlockKind.TEXT, "After the table."),
    ]
    assert [b.level for b in document.pages[0].blocks][:3] == [1, 0, 2]
    assert (document.title, document.pages[0].number) == ("Blood pressure", None)


def test_docx_leaves_out_deleted_text_and_reads_inserted_text_and_controls(tmp_path: Path, read_one: ReadOne) -> None:
    namespace = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = (
        f"<w:document {namespace}><w:body>"
        "<w:p><w:r><w:t>kept </w:t></w:r><w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>"
        "<w:ins><w:r><w:t>added</w:t></w:r></w:ins></w:p>"
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>in a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        "</w:body></w:document>"
    )
    path = replace_part(make_docx(tmp_path / "a.docx"), "word/document.xml", body.encode())
    assert [text for _, text in blocks_of(read_one(path))] == ["kept added", "in a control"]


def test_pptx_slides_are_pages(tmp_path: Path, read_one: ReadOne) -> None:
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Blood pressure"
    first.placeholders[1].text = "Rest first\nMeasure twice"
    first.notes_slide.notes_text_frame.text = "Say it slowly."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "诊断"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, values in enumerate((("Stage", "Systolic"), ("1", "130–139"))):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(4), Inches(4), Inches(1)).text_frame.text = HAN
    deck.save(str(tmp_path / "bp.pptx"))

    document = read_one(tmp_path / "bp.pptx")
    assert [page.number for page in document.pages] == [1, 2]
    assert blocks_of(document) == [
        (BlockKind.HEADING, "Blood pressure"),
        (BlockKind.LIST_ITEM, "Rest first"),
        (BlockKind.LIST_ITEM, "Measure twice"),
        (BlockKind.TEXT, "Say it slowly."),
        (BlockKind.HEADING, "诊断"),
        (BlockKind.TABLE_ROW, "Stage | Systolic"),
        (BlockKind.TABLE_ROW, "1 | 130–139"),
        (BlockKind.TEXT, HAN),
    ]
    assert document.title == "Blood pressure"


def test_xlsx_rows_become_header_value_pairs(tmp_path: Path, read_one: ReadOne) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Rates"
    for row in (
        ["Interest rates of 2025"],
        [None, None],
        ["Bank", "Rate", "Since", "Fixed"],
        ["First", 0.1, datetime.date(2025, 1, 2), True],
        ["Second", 12.0, None, False],
    ):
        sheet.append(row)
    chinese = book.create_sheet("利率")
    chinese.append(["银行", "利率"])
    chinese.append(["甲银行", "3%"])
    book.save(tmp_path / "rates.xlsx")

    document = read_one(tmp_path / "rates.xlsx")
    assert blocks_of(document) == [
        (BlockKind.HEADING, "Rates"),
        (BlockKind.TEXT, "Interest rates of 2025"),
        (BlockKind.TABLE_ROW, "Bank: First; Rate: 0.1; Since: 2025-01-02; Fixed: TRUE"),
        (BlockKind.TABLE_ROW, "Bank: Second; Rate: 12; Fixed: FALSE"),
        (BlockKind.HEADING, "利率"),
        (BlockKind.TABLE_ROW, "银行: 甲银行; 利率: 3%"),
    ]
    assert (document.title, document.pages[0].number) == ("rates", None)


def test_xlsx_without_cells_is_empty(tmp_path: Path, read_one: ReadOne) -> None:
    import openpyxl

    openpyxl.Workbook().save(tmp_path / "none.xlsx")
    with pytest.raises(DocumentError, match=r"none\.xlsx: holds no text"):
        read_one(tmp_path / "none.xlsx")


@pytest.mark.parametrize("part", ["word/document.xml", "[Content_Types].xml", "word/styles.xml"])
def test_docx_with_a_broken_part_is_one_clear_error(tmp_path: Path, read_one: ReadOne, part: str) -> None:
    path = replace_part(make_docx(tmp_path / "a.docx"), part, b"<broken")
    with pytest.raises(DocumentError, match=r"^a\.docx: [^\n]*(damaged|inside)[^\n]*$"):
        read_one(path)
