from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from document_samples import ENGLISH, HAN

from core.documents import read_documents
from core.documents.loading import document_id
from core.errors import DocumentError
from core.settings import Settings
from core.types import Page


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_loading_fills_source_scope_hash_and_language(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path / "notes" / "zh" / "a.txt", HAN)
    (document,) = read_documents(path, scope="mine", settings=settings, root=tmp_path / "notes")
    assert (document.source, document.external_id, document.scope, document.lang) == ("zh/a.txt", "zh/a.txt", "mine", "zh")
    assert document.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(tmp_path) not in document.model_dump_json()


def test_loading_given_language_beats_the_file(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path / "a.md", f"---\nlang: en\n---\n{HAN}")
    (stated,) = read_documents(path, scope="corpus", settings=settings)
    (given,) = read_documents(path, scope="corpus", settings=settings, lang="zh")
    assert (stated.lang, given.lang) == ("en", "zh")


def test_loading_same_text_has_the_same_id_and_other_text_another(tmp_path: Path, settings: Settings) -> None:
    def read(text: str, scope: str = "corpus") -> str:
        (document,) = read_documents(write(tmp_path / "a.md", text), scope=scope, settings=settings)
        return document.id

    assert read(ENGLISH) == read(ENGLISH + "\n\n", scope="other")
    assert read(ENGLISH) != read(ENGLISH + " More.")


def test_document_id_depends_on_every_part_of_the_identity() -> None:
    page = Page(number=1, text="x", blocks=())
    ids = {
        document_id(external_id="a", title="t", lang="en", pages=(page,)),
        document_id(external_id="b", title="t", lang="en", pages=(page,)),
        document_id(external_id="a", title="u", lang="en", pages=(page,)),
        document_id(external_id="a", title="t", lang="zh", pages=(page,)),
        document_id(external_id="a", title="t", lang="en", pages=(Page(number=2, text="x", blocks=()),)),
        document_id(external_id="a", title="t", lang="en", pages=(page, page)),
    }
    assert len(ids) == 6


@pytest.mark.parametrize("name", ["gone.md", "folder.md"])
def test_loading_names_what_cannot_be_opened(tmp_path: Path, settings: Settings, name: str) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(DocumentError, match=rf"^{name}: cannot be opened \([^)]+\); check the path"):
        list(read_documents(tmp_path / name, scope="corpus", settings=settings))


def test_loading_reads_strange_names(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path / "a\nb\u202e é.md", ENGLISH)
    (document,) = read_documents(path, scope="corpus", settings=settings)
    assert document.source == "a b é.md"
