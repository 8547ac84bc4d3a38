from __future__ import annotations

from pathlib import Path

import pytest
from document_samples import ENGLISH, HAN, ReadOne, blocks_of
from hypothesis import given
from hypothesis import strategies as st

from core.documents.csv import sniff_delimiter
from core.documents.text import decode
from core.errors import DocumentError
from core.types import BlockKind

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [HAN, f"{ENGLISH}\n\n{HAN}\n", "血压升高\n"])
def test_text_is_read_in_every_encoding(tmp_path: Path, read_one: ReadOne, encoding: str, text: str) -> None:
    path = tmp_path / "笔记.txt"
    path.write_bytes(text.encode(encoding))
    document = read_one(path)
    assert document.pages[0].text == text
    assert [words for _, words in blocks_of(document)] == text.strip().split("\n\n")
    assert document.title == "笔记"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café est déjà fermé, où êtes-vous allés cet été ?\n" * 5, "cp1252"),
        ("Привет, мир. Кровяное давление повышено.\n" * 5, "cp1251"),
    ],
)
def test_decode_guesses_other_encodings(text: str, encoding: str) -> None:
    found = decode(text.encode(encoding))
    assert "\ufffd" not in found
    assert sum(a == b for a, b in zip(found, text, strict=False)) > 0.9 * len(text)


@given(st.text(alphabet="血压升高的治疗方法，。；一二三 abc123\n", min_size=8))
def test_decode_reads_back_what_gb18030_wrote(text: str) -> None:
    text = HAN + text
    assert decode(text.encode("gb18030")) == text


@given(st.binary(max_size=300))
def test_decode_gives_text_or_a_document_error(data: bytes) -> None:
    try:
        decode(data).encode("utf-8", "surrogatepass")
    except DocumentError as error:
        assert "\n" not in str(error)


def test_text_refuses_binary_data(tmp_path: Path, read_one: ReadOne) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(DocumentError, match=r"^a\.txt: holds binary data"):
        read_one(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_csv_reads_each_delimiter(tmp_path: Path, read_one: ReadOne, delimiter: str, encoding: str) -> None:
    rows = [["Bank", "利率", "Note"], ["First", "3.5%", f'"high{delimiter} ""very"""'], ["第二银行", "", "x"]]
    path = tmp_path / "rates.csv"
    path.write_bytes("\r\n".join(delimiter.join(row) for row in rows).encode(encoding))
    assert blocks_of(read_one(path)) == [
        (BlockKind.TABLE_ROW, f'Bank: First; 利率: 3.5%; Note: high{delimiter} "very"'.replace("\t", " ").replace("  ", " ")),
        (BlockKind.TABLE_ROW, "Bank: 第二银行; Note: x"),
    ]


def test_csv_without_a_header_numbers_its_columns(tmp_path: Path, read_one: ReadOne) -> None:
    path = tmp_path / "n.csv"
    path.write_text("1,2\n3,4,5\n")
    assert [words for _, words in blocks_of(read_one(path))] == ["column 1: 1; column 2: 2", "column 1: 3; column 2: 4; column 3: 5"]


def test_csv_of_one_column_is_a_list(tmp_path: Path, read_one: ReadOne) -> None:
    path = tmp_path / "one.csv"
    path.write_text("alpha\nbeta\n\ngamma\n")
    assert [words for _, words in blocks_of(read_one(path))] == ["alpha", "beta", "gamma"]


def test_tsv_is_a_table(tmp_path: Path, read_one: ReadOne) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tdose\nx\t5, then 6\n")
    assert [words for _, words in blocks_of(read_one(path))] == ["name: x; dose: 5, then 6"]


@pytest.mark.parametrize(("text", "expected"), [("a,b\n1,2", ","), ("a;b\n1,5;2,5", ";"), ("plain\ntext", ","), ("a|b|c\n1|2|3", "|")])
def test_sniff_delimiter_prefers_the_one_that_fits_most_rows(text: str, expected: str) -> None:
    assert sniff_delimiter(text) == expected
