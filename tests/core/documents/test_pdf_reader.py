from __future__ import annotations

from pathlib import Path

import pytest
from document_samples import ENGLISH, HAN, ReadOne, make_pdf

from core.errors import DocumentError


def test_pdf_pages_are_numbered_from_one_and_keep_blank_pages(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(make_pdf(tmp_path / "bp.pdf", [[ENGLISH, "Second line."], [], ["第二页的正文。"]], title="Blood pressure guide"))
    assert [page.number for page in document.pages] == [1, 2, 3]
    assert document.pages[0].text.split("\n")[:2] == [ENGLISH, "Second line."]
    assert document.pages[1].blocks == ()
    assert "第二页的正文。" in document.pages[2].text
    assert (document.title, document.external_id, document.context) == ("Blood pressure guide", "bp.pdf", "")


@pytest.mark.parametrize("title", ["", "0001018724-17-000011", "Microsoft Word - draft 3.doc", "untitled", "report final.pdf"])
def test_pdf_without_a_telling_title_is_named_by_its_file(tmp_path: Path, read_one: ReadOne, title: str) -> None:
    assert read_one(make_pdf(tmp_path / "blood pressure.pdf", [[ENGLISH]], title=title)).title == "blood pressure"


def test_pdf_in_chinese_is_chinese(tmp_path: Path, read_one: ReadOne) -> None:
    document = read_one(make_pdf(tmp_path / "血压.pdf", [[HAN]]))
    assert (document.lang, document.title) == ("zh", "血压")
    assert HAN[:11] in document.pages[0].text


def test_pdf_with_an_empty_user_password_is_opened(tmp_path: Path, read_one: ReadOne) -> None:
    assert ENGLISH in read_one(make_pdf(tmp_path / "a.pdf", [[ENGLISH]], password="")).pages[0].text


def test_pdf_encrypted_with_aes_and_an_empty_password_is_opened(tmp_path: Path, read_one: ReadOne) -> None:
    pytest.importorskip("cryptography")
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(make_pdf(tmp_path / "plain.pdf", [[ENGLISH]])))
    writer.encrypt("", "owner", algorithm="AES-256")
    writer.write(tmp_path / "aes.pdf")
    assert ENGLISH in read_one(tmp_path / "aes.pdf").pages[0].text


def test_pdf_with_a_password_is_refused(tmp_path: Path, read_one: ReadOne) -> None:
    with pytest.raises(DocumentError, match=r"^a\.pdf: is encrypted with a password; save a copy without password$"):
        read_one(make_pdf(tmp_path / "a.pdf", [[ENGLISH]], password="secret"))


def test_pdf_without_text_asks_for_ocr(tmp_path: Path, read_one: ReadOne) -> None:
    with pytest.raises(DocumentError, match=r"^scan\.pdf: no text on any of its 2 pages: run OCR \(for example ocrmypdf\) first$"):
        read_one(make_pdf(tmp_path / "scan.pdf", [[], []]))


@pytest.mark.parametrize("keep", [9, 300, 700])
def test_pdf_cut_short_is_one_clear_error_or_text(tmp_path: Path, read_one: ReadOne, keep: int) -> None:
    path = make_pdf(tmp_path / "cut.pdf", [[ENGLISH]])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DocumentError, match=r"^cut\.pdf: [^\n]+$"):
        read_one(path)


def test_pdf_cover_of_a_filing_gives_its_context(tmp_path: Path, read_one: ReadOne) -> None:
    cover = [
        "UNITED STATES",
        "SECURITIES AND EXCHANGE COMMISSION",
        "FORM 10-K",
        "ANNUAL REPORT PURSUANT TO SECTION 13 OR 15(d) OF THE SECURITIES EXCHANGE ACT OF 1934",
        "For the fiscal year ended December 31, 2024",
        "Commission File No. 000-00001",
        "EXAMPLE WIDGETS, INC.",
        "(Exact name of registrant as specified in its charter)",
    ]
    assert read_one(make_pdf(tmp_path / "f.pdf", [cover])).context == "EXAMPLE WIDGETS, INC. · 10-K · fiscal year ended December 31, 2024"
