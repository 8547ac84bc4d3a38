from __future__ import annotations

from pathlib import Path

import pytest
from document_samples import ENGLISH, ReadOne, make_docx, make_epub, make_pdf, replace_part

from core.documents.detect import Format, detect_format
from core.documents.files import SUPPORTED_SUFFIXES
from core.errors import DocumentError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
EXE = b"MZ\x90\x00\x03" + bytes(200)


def test_detect_knows_every_supported_suffix(tmp_path: Path) -> None:
    for suffix in SUPPORTED_SUFFIXES:
        path = tmp_path / f"x{suffix.upper()}"
        if suffix == ".pdf":
            make_pdf(path, [["x"]])
        elif suffix == ".docx":
            make_docx(path)
        elif suffix == ".epub":
            make_epub(path, ["<p>x</p>"])
        elif suffix in (".pptx", ".xlsx"):
            replace_part(make_docx(path), {".pptx": "ppt/presentation.xml", ".xlsx": "xl/workbook.xml"}[suffix], b"<x/>")
            continue
        else:
            path.write_text("x")
        assert detect_format(path) in Format


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", b"%PDF-1.4\n", "named .docx but holds a pdf; rename it to .pdf or convert it"),
        ("a.txt", b"%PDF-1.4\n", "named .txt but holds a pdf; rename it to .pdf"),
        ("a.pdf", b"plain words", "named .pdf but holds no such file inside; it may be damaged"),
        ("a.xlsx", b"a,b\n1,2", "named .xlsx but holds no such file inside"),
        ("a.txt", EXE, "named .txt but holds a program"),
        ("a.md", b"\x7fELF" + bytes(60), "named .md but holds a program"),
        ("a.docx", OLE, "named .docx but holds an old or password-protected Office file; open it in an office program"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "named .csv but holds a PNG image"),
        ("a.jsonl", b"\x1f\x8b\x08", "named .jsonl but holds a gzip archive"),
        ("a.txt", b"{\\rtf1 x}", "named .txt but holds an RTF document"),
        ("a.pdf", b"PK\x03\x04junk", "named .pdf but holds a damaged zip archive"),
        ("a.txt", b"", "the file is empty"),
        ("a.pdf", b" \n\t", "the file is empty"),
        ("a.doc", b"x", "unsupported suffix '.doc'; supported: .csv, .docx"),
    ],
)
def test_detect_names_both_label_and_content(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        detect_format(tmp_path / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_detect_names_a_zip_or_another_office_format(tmp_path: Path) -> None:
    make_docx(tmp_path / "a.docx").rename(tmp_path / "a.pdf")
    with pytest.raises(DocumentError, match=r"named \.pdf but holds a docx; rename it to \.docx"):
        detect_format(tmp_path / "a.pdf")
    (tmp_path / "a.pdf").rename(tmp_path / "a.xlsx")
    with pytest.raises(DocumentError, match=r"named \.xlsx but holds a docx"):
        detect_format(tmp_path / "a.xlsx")


def test_detect_reads_a_text_that_mentions_pdf_or_starts_with_mz(tmp_path: Path) -> None:
    for text in ("The header %PDF-1.4 opens a file.", "MZ is the mark of a program."):
        (tmp_path / "a.txt").write_text(text)
        assert detect_format(tmp_path / "a.txt") is Format.TEXT


def test_mislabelled_file_error_starts_with_its_name(tmp_path: Path, read_one: ReadOne) -> None:
    make_pdf(tmp_path / "report.docx", [[ENGLISH]])
    with pytest.raises(DocumentError, match=r"^report\.docx: named \.docx but holds a pdf"):
        read_one(tmp_path / "report.docx")
