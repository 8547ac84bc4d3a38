"""A domain packed and unpacked is the same domain."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import CheckFailed, UsageError
from core.manifest import load_manifest
from core.packing import pack, read_index, unpack
from core.registry import Domain, discover
from core.settings import Settings


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts}


def copy_of(domain: Domain, folder: Path) -> Domain:
    shutil.copytree(domain.folder, folder / domain.name)
    return Domain(manifest=load_manifest(folder / domain.name), folder=folder / domain.name, door="test")


def test_unpacked_domain_has_the_files_of_the_packed_one(garden: Domain, tmp_path: Path) -> None:
    made = pack(garden, out=tmp_path)
    assert made.path.name == f"{garden.name}-{garden.manifest.version}.domainkit"
    found = unpack(made.path, into=tmp_path / "there")
    assert tree(found.path) == tree(garden.folder)
    assert (found.sha256, found.files, found.bytes) == (made.sha256, made.files, made.bytes)
    assert [path.name for path in (tmp_path / "there").iterdir()] == [garden.name]


def test_same_folder_gives_the_same_bytes(garden: Domain, tmp_path: Path) -> None:
    one = pack(garden, out=tmp_path / "one.domainkit").path.read_bytes()
    other = copy_of(garden, tmp_path / "copy")
    assert pack(other, out=tmp_path / "two.domainkit").path.read_bytes() == one


def test_index_names_domain_version_and_every_file(garden: Domain, tmp_path: Path) -> None:
    index = read_index(pack(garden, out=tmp_path).path)
    assert (index.domain, index.version, {file.name for file in index.files}) == (garden.name, garden.manifest.version, set(tree(garden.folder)))


def test_hidden_files_and_caches_stay_behind_and_links_are_refused(garden: Domain, tmp_path: Path) -> None:
    mine = copy_of(garden, tmp_path / "copy")
    (mine.folder / ".notes").write_text("x")
    (mine.folder / "__pycache__").mkdir()
    (mine.folder / "__pycache__" / "a.txt").write_text("x")
    names = {file.name for file in read_index(pack(mine, out=tmp_path).path).files}
    assert not any("__pycache__" in name or ".notes" in name for name in names)
    (mine.folder / "corpus" / "link.txt").symlink_to(mine.folder / "domain.toml")
    with pytest.raises(UsageError, match=r"'corpus/link.txt' is a symbolic link"):
        pack(mine, out=tmp_path)


def test_domain_that_is_not_valid_is_not_packed(garden: Domain, tmp_path: Path) -> None:
    mine = copy_of(garden, tmp_path / "copy")
    (mine.folder / "corpus" / "en" / "x.pkl").write_bytes(b"\x80")
    with pytest.raises(CheckFailed, match=r"was not packed \(corpus/en/x.pkl"):
        pack(mine, out=tmp_path)
    assert list(tmp_path.glob("*.domainkit")) == []


def test_existing_domain_is_replaced_only_when_that_is_said(garden: Domain, tmp_path: Path) -> None:
    path = pack(garden, out=tmp_path).path
    target = unpack(path, into=tmp_path / "there").path
    (target / "mine.md").write_text("x")
    with pytest.raises(UsageError, match="--replace puts the pack in its place"):
        unpack(path, into=tmp_path / "there")
    assert (target / "mine.md").is_file()
    unpack(path, into=tmp_path / "there", replace=True)
    assert tree(target) == tree(garden.folder)
    assert [one.name for one in (tmp_path / "there").iterdir()] == [garden.name]


def test_failure_brings_the_replaced_domain_back(garden: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(garden, out=tmp_path).path
    target = unpack(path, into=tmp_path / "there").path
    (target / "mine.md").write_text("x")
    import os

    real = os.replace

    def fails(source: Path, place: Path) -> None:
        if Path(place) == target and ".replaced" not in str(source):
            raise OSError(28, "no space")
        real(source, place)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        unpack(path, into=tmp_path / "there", replace=True)
    assert (target / "mine.md").is_file()


def test_code_is_unpacked_only_when_that_is_said(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[1] / "plugin_package" / "src" / "acme_gardening"
    path = pack(Domain(manifest=load_manifest(folder), folder=folder, door="test"), out=tmp_path).path
    assert read_index(path).code == "tools.py"
    with pytest.raises(UsageError, match="--allow-code"):
        unpack(path, into=tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert (unpack(path, into=tmp_path / "there", allow_code=True).path / "tools.py").is_file()


def test_unpacked_domain_takes_the_place_of_the_built_in_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    built_in = discover(Settings(home=home)).get("education")
    path = pack(built_in, out=tmp_path).path
    unpack(path, into=home / "domains", allow_code=True)
    found = discover(Settings(home=home))
    assert found.get("education").door == "unpacked" and found.get("education").folder == home / "domains" / "education"
    assert not found.broken
