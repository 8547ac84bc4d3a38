from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.registry import Domain
from core.settings import get_settings
from ui import state
from ui.components.uploads import add_uploads, safe_name


@dataclass
class File:
    name: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def getvalue(self) -> bytes:
        return self.data


def quiet(name: str, done: int, total: int) -> None:
    """Tell nothing."""


@given(st.text(max_size=300))
def test_uploads_names_stay_inside_their_folder(name: str) -> None:
    cleaned = safe_name(name)
    assert cleaned and cleaned not in {".", ".."} and not cleaned.startswith(".")
    assert not set(cleaned) & set("/\\\0\n\r")
    assert len(cleaned.encode()) <= 255
    assert (Path("/base") / cleaned).resolve().parent == Path("/base")


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\a.pdf", "a.pdf"), ("年报 2024.pdf", "年报 2024.pdf"), (".hidden.md", "hidden.md"), ("", "file")],
)
def test_uploads_names_are_kept_where_harmless(given_name: str, kept: str) -> None:
    assert safe_name(given_name) == kept


def test_uploads_report_each_bad_file_and_add_the_rest(built_home: Path, garden: Domain) -> None:
    files = [
        File("dahlias.md", b"# Dahlias\n\nDahlia tubers are lifted after the first frost and stored dry.\n"),
        File("broken.pdf", b"this is not a pdf"),
        File("empty.txt", b""),
    ]
    report = add_uploads(files, domain=garden, settings=get_settings(), lang="en", progress=quiet)
    assert report.added == 1
    assert len(report.failed) == 2 and any("broken.pdf" in line for line in report.failed)
    rows = state.library(garden).documents(scope="added")
    assert [row.title for row in rows] == ["Dahlias"]
    assert str(built_home) not in " ".join([*report.failed, rows[0].source])


def test_uploads_refuse_files_over_the_limit(built_home: Path, garden: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINKIT_UPLOAD_MB", "1")
    get_settings.cache_clear()
    report = add_uploads([File("big.txt", b"x" * 1_200_000)], domain=garden, settings=get_settings(), lang="en", progress=quiet)
    assert report.added == 0 and report.failed == ("'big.txt' has 1.1 MB; the limit is 1 MB (DOMAINKIT_UPLOAD_MB)",)


def test_uploads_of_one_name_are_both_kept(built_home: Path, garden: Domain) -> None:
    files = [File("note.md", b"# Peonies\n\nPeonies flower in May.\n"), File("note.md", b"# Asters\n\nAsters flower in September.\n")]
    report = add_uploads(files, domain=garden, settings=get_settings(), lang="en", progress=quiet)
    assert report.added == 2 and not report.failed
    assert [row.title for row in state.library(garden).documents(scope="added")] == ["Asters", "Peonies"]
