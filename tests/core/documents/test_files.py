from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.documents import iter_files
from core.documents.files import source_name
from core.errors import UsageError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_iter_files_walks_folders_in_sorted_order_and_reports_the_rest(tmp_path: Path) -> None:
    make(tmp_path, "b.md", "a/z.txt", "a/b/c.PDF", "notes.doc", ".hidden.md", ".git/x.md", "c.md")
    skipped: dict[str, str] = {}
    found = [p.relative_to(tmp_path).as_posix() for p in iter_files([tmp_path], on_skip=lambda p, why: skipped.update({p.name: why}))]
    assert found == ["b.md", "c.md", "a/z.txt", "a/b/c.PDF"]
    assert skipped.pop("notes.doc").startswith("unsupported suffix '.doc'; supported: .csv")
    assert skipped == {".hidden.md": "hidden", ".git": "hidden"}


def test_iter_files_follows_links_only_inside_the_folder(tmp_path: Path) -> None:
    make(tmp_path, "in/a.md", "out/secret.md")
    os.symlink(tmp_path / "out" / "secret.md", tmp_path / "in" / "leak.md")
    os.symlink(tmp_path / "in" / "a.md", tmp_path / "in" / "same.md")
    os.symlink(tmp_path / "out", tmp_path / "in" / "folder")
    os.symlink(tmp_path / "in", tmp_path / "in" / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "in" / "broken.md")
    skipped: list[str] = []
    found = [path.name for path in iter_files([tmp_path / "in"], on_skip=lambda path, _: skipped.append(path.name))]
    assert found == ["a.md", "same.md"]
    assert skipped == ["broken.md", "folder", "leak.md", "loop"]


def test_iter_files_skips_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    skipped: list[str] = []
    assert list(iter_files([tmp_path], on_skip=lambda _, why: skipped.append(why))) == []
    assert skipped == ["not a regular file"]


def test_iter_files_takes_named_files_and_links(tmp_path: Path) -> None:
    make(tmp_path, "a/x.md", "y.exe")
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert list(iter_files([tmp_path / "link", tmp_path / "a" / "x.md", tmp_path / "y.exe"])) == [
        tmp_path / "link" / "x.md",
        tmp_path / "a" / "x.md",
    ]


def test_iter_files_names_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder: 'gone'"):
        list(iter_files([tmp_path / "gone"]))


def test_source_name_is_never_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "d/e/f.md")
    file = tmp_path / "d" / "e" / "f.md"
    assert source_name(file) == "f.md"
    assert source_name(file, root=file) == "f.md"
    assert source_name(file, root=tmp_path / "d") == "e/f.md"
    assert source_name(file, root=tmp_path / "elsewhere") == "f.md"
    monkeypatch.chdir(tmp_path)
    assert source_name(Path("d/e/f.md"), root=Path("d")) == "e/f.md"
    assert source_name(Path("d/e/f.md"), root=Path(".")) == "d/e/f.md"
