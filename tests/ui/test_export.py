from __future__ import annotations

import io

from markdown_it import MarkdownIt
from pypdf import PdfReader

from core.types import Status
from tests.ui.helpers import answer, citation, claim
from ui import export

QUOTE = "Plant tulip bulbs in October."
EN = answer(claim(QUOTE, citation(QUOTE, start=12, page=3)), question="When?", notice="General information.")
ZH_QUOTE = "郁金香应在十月种下。"
ZH = answer(claim(ZH_QUOTE, citation(ZH_QUOTE, title="郁金香")), question="什么时候种？", lang="zh")


def pdf_text(data: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


def test_export_markdown_numbers_citations_with_page_offsets_and_hash() -> None:
    made = export.to_markdown([EN], title="Garden", lang="en")
    assert "# Garden" in made and "## When?" in made
    assert "October. \\[1\\]" in made
    assert f"1. Tulips, page 3, Characters 12–{12 + len(QUOTE)}, SHA\\-256 {EN.claims[0].citations[0].sha256[:16]}" in made
    assert "*General information.*" in made


def test_export_markdown_of_hostile_text_has_no_links_or_images() -> None:
    hostile = "![x](https://evil.example/a.png) <img src=x> [y](https://evil.example) # z"
    made = export.to_markdown([answer(claim(hostile), question=hostile)], title=hostile, lang="en")
    kinds = {child.type for token in MarkdownIt("commonmark").parse(made) for child in token.children or []}
    assert not kinds & {"image", "link_open", "html_inline"}


def test_export_markdown_of_an_abstention_is_its_text() -> None:
    made = export.to_markdown([answer(status=Status.ABSTAINED, text="I don't know.")], title="Garden", lang="en")
    assert "I don't know." in made and "Sources" not in made


def test_export_pdf_holds_both_languages() -> None:
    text = pdf_text(export.to_pdf([EN, ZH], title="园艺 Garden", lang="zh"))
    assert "Plant tulip bulbs in October." in text
    assert "郁金香应在十月种下" in text and "什么时候种" in text
    assert EN.claims[0].citations[0].sha256[:16] in text


def test_export_pdf_escapes_markup_of_documents() -> None:
    hostile = "<para><a href='https://evil.example'>x</a> & <b>y"
    data = export.to_pdf([answer(claim(hostile), question=hostile)], title=hostile, lang="en")
    assert "<b>y" in pdf_text(data)
    assert all("/Annots" not in page for page in PdfReader(io.BytesIO(data)).pages)


def test_export_file_name_tells_domain_and_answer_only() -> None:
    assert export.file_stem([EN]) == "garden-aaaaaaaa"
