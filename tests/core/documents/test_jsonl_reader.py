from __future__ import annotations

import json
from pathlib import Path

import pytest
from document_samples import HAN

from core.documents import jsonl, read_documents
from core.documents.parsed import Limits
from core.errors import DocumentError
from core.settings import Settings
from core.types import Document


def write(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "records.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, settings: Settings) -> list[Document]:
    return list(read_documents(path, scope="corpus", settings=settings))


def test_jsonl_yields_one_document_per_line(tmp_path: Path, settings: Settings) -> None:
    first = {"id": "a", "text": "One.\n\nTwo.", "title": "A", "url": "https://example.org/a", "extra": [1]}
    documents = read(write(tmp_path, first, "", {"id": 7, "text": HAN}), settings)
    assert [(d.external_id, d.title, d.lang, d.url, d.source) for d in documents] == [
        ("a", "A", "en", "https://example.org/a", "records.jsonl"),
        ("7", "高血压是指血压持续升高。", "zh", "", "records.jsonl"),
    ]
    assert documents[0].pages[0].text == "One.\n\nTwo."
    assert [(b.start, b.end) for b in documents[0].pages[0].blocks] == [(0, 4), (6, 10)]


def test_jsonl_groups_neighbouring_pages_of_one_id(tmp_path: Path, settings: Settings) -> None:
    records = [{"id": i, "text": f"page {p} of {i}", "page": p} for i, p in (("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 3))]
    documents = read(write(tmp_path, *records), settings)
    assert [(d.external_id, [page.number for page in d.pages]) for d in documents] == [("a", [1, 2]), ("b", [1]), ("a", [3]), ("a", [3])]


def test_jsonl_pages_keep_the_text_as_given(tmp_path: Path, settings: Settings) -> None:
    text = "  Net sales were\u00a0$1.2 billion  \n\n\n e\u0301 end "
    (document,) = read(write(tmp_path, {"id": "a", "text": text, "page": 4}), settings)
    assert document.pages[0].text == text


def test_jsonl_names_filings(tmp_path: Path, settings: Settings) -> None:
    cover = (
        "UNITED STATES\nSECURITIES AND EXCHANGE COMMISSION\nFORM 10-Q\nPURSUANT TO SECTION 13\n"
        "For the quarterly period ended July 1, 2023\n"
        "Apple Inc.\n(Exact name of Registrant as specified in its charter)"
    )
    records = [{"id": "APPLE", "text": cover, "page": 1}, {"id": "APPLE", "text": "Sales fell.", "page": 2}]
    assert read(write(tmp_path, *records), settings)[0].context == "Apple Inc. · 10-Q · quarter ended July 1, 2023"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json}", "line 2: not valid JSON"),
        ("[1]", "line 2: not an object"),
        ({"text": "x"}, "line 2: 'id' is missing"),
        ({"id": True, "text": "x"}, "line 2: 'id' is missing"),
        ({"id": "b"}, "line 2: 'text' is missing"),
        ({"id": "b", "text": "x", "page": 0}, "line 2: 'page' must be an integer from 1"),
        ({"id": "b", "text": "x", "page": True}, "line 2: 'page' must be"),
        ({"id": "b", "text": "x", "lang": "fr"}, "line 2: unknown 'lang' 'fr'; known: en, zh"),
        ({"id": "b", "text": "x", "title": 3}, "line 2: 'title' must be a string"),
        ({"id": "b", "text": " \n "}, "line 2: 'b' has no text"),
        ("[" * 100_000, "line 2: not valid JSON"),
        ('{"id": 1' + "1" * 5000 + "}", "line 2: not valid JSON"),
    ],
)
def test_jsonl_names_a_bad_line_and_keeps_those_before(tmp_path: Path, settings: Settings, line: object, message: str) -> None:
    found: list[Document] = []
    with pytest.raises(DocumentError) as caught:
        for document in read_documents(write(tmp_path, {"id": "a", "text": "good"}, line), scope="corpus", settings=settings):
            found.append(document)
    assert str(caught.value).startswith("records.jsonl: " + message)
    assert "\n" not in str(caught.value)
    assert [d.external_id for d in found] in (["a"], [])


def test_jsonl_refuses_lines_and_documents_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, *({"id": "a", "text": "x" * 400_000, "page": n} for n in (1, 2, 3)))
    with pytest.raises(DocumentError, match=r"line 3: .*more than 1 MB of text"):
        list(jsonl.read(path, Limits(output_mb=1)))
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1_048_576)
    with pytest.raises(DocumentError, match="line 1: longer than 1 MB"):
        list(jsonl.read(write(tmp_path, {"id": "a", "text": "x" * 2_000_000}), Limits()))


def test_jsonl_streams(tmp_path: Path) -> None:
    path = write(tmp_path, *({"id": str(n), "text": "word " * 20_000} for n in range(3)), "{broken")
    stream = jsonl.read(path, Limits())
    assert next(stream).external_id == "0"


def test_jsonl_without_any_record_is_an_error(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(DocumentError, match=r"records.jsonl: the file is empty"):
        read(write(tmp_path, "", ""), settings)


def test_jsonl_cleans_lone_surrogates(tmp_path: Path, settings: Settings) -> None:
    (document,) = read(write(tmp_path, '{"id": "a\\ud800", "text": "x\\ud800y\\u0000z", "title": "t\\udfff"}'), settings)
    assert (document.external_id, document.title, document.pages[0].text) == ("a", "t", "x y z")
