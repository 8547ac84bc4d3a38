from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from document_samples import ReadOne, make_docx, make_epub, replace_part

from core.documents.archive import check_archive
from core.documents.parsed import Limits
from core.errors import DocumentError

XXE = '<?xml version="1.0"{encoding}?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'


def test_archive_accepts_an_ordinary_document(tmp_path: Path) -> None:
    check_archive(make_docx(tmp_path / "a.docx"), Limits())
    check_archive(make_epub(tmp_path / "a.epub", ["<p>x</p>"]), Limits(), allow_doctype=True)


def test_archive_refuses_a_bomb_by_ratio(tmp_path: Path, read_one: ReadOne) -> None:
    path = replace_part(make_docx(tmp_path / "bomb.docx"), "word/document.xml", b"<a>" + b" " * 30_000_000 + b"</a>")
    with pytest.raises(DocumentError, match=r"^bomb\.docx: expands more than 100 times to \d+ MB; it is hostile$"):
        read_one(path)


def test_archive_refuses_a_bomb_by_size(tmp_path: Path) -> None:
    path = replace_part(make_docx(tmp_path / "a.docx"), "word/document.xml", b"<a>" + b" " * 9_000_000 + b"</a>")
    with pytest.raises(DocumentError, match="expands to 9 MB, more than 8 MB"):
        check_archive(path, Limits(output_mb=1))


def test_archive_refuses_too_many_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}", b"")
    with pytest.raises(DocumentError, match="10001 zip entries, more than 10000"):
        check_archive(tmp_path / "a.docx", Limits())


@pytest.mark.parametrize("name", ["../evil", "word/../../evil", "/etc/passwd", "C:/evil", "..\\evil", "\\\\host\\evil"])
def test_archive_refuses_names_outside_its_folder(tmp_path: Path, name: str) -> None:
    path = replace_part(make_docx(tmp_path / "a.docx"), name, b"x")
    with pytest.raises(DocumentError, match="zip entry outside its folder"):
        check_archive(path, Limits())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"])
@pytest.mark.parametrize("part", ["word/document.xml", "word/_rels/document.xml.rels", "docProps/core.xml", "word/media/image1.png"])
def test_archive_refuses_entities_in_any_part_and_encoding(tmp_path: Path, part: str, encoding: str) -> None:
    text = XXE.format(encoding=f' encoding="{encoding}"')
    path = replace_part(make_docx(tmp_path / "a.docx"), part, text.encode(encoding))
    with pytest.raises(DocumentError, match="declares XML entities or a document type"):
        check_archive(path, Limits())


def test_archive_finds_a_declaration_behind_a_long_comment(tmp_path: Path) -> None:
    filler = b"<!--" + b"".join(b"%07d" % n for n in range(149_794)) + b"-->"
    for pad in range(8):
        content = filler + b" " * pad + b"<!DOCTYPE r><r/>"
        path = replace_part(make_docx(tmp_path / "a.docx"), "word/document.xml", content)
        with pytest.raises(DocumentError, match="document type"):
            check_archive(path, Limits())


def test_archive_refuses_entities_in_a_chapter_but_not_its_document_type(tmp_path: Path, read_one: ReadOne) -> None:
    path = make_epub(tmp_path / "a.epub", ["<p>fine</p>"])
    assert read_one(path).pages[0].text == "fine"
    with pytest.raises(DocumentError, match=r"^a\.epub: its part 'OPS/text/c 0\.xhtml' declares XML entities"):
        read_one(replace_part(path, "OPS/text/c 0.xhtml", XXE.format(encoding="").encode()))


def test_archive_refuses_damaged_encrypted_and_repeated_entries(tmp_path: Path) -> None:
    path = make_docx(tmp_path / "a.docx")
    data = bytearray(path.read_bytes())
    start = data.index(b"word/document.xml") + 60
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DocumentError, match="damaged zip"):
        check_archive(path, Limits())
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(DocumentError, match="twice"):
        check_archive(tmp_path / "b.docx", Limits())
    with zipfile.ZipFile(tmp_path / "c.docx", "w") as archive:
        archive.writestr("a", b"1")
    raw = bytearray((tmp_path / "c.docx").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "c.docx").write_bytes(raw)
    with pytest.raises(DocumentError, match="encrypted with a password"):
        check_archive(tmp_path / "c.docx", Limits())
