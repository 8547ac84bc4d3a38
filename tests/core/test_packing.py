"""A domain packed and unpacked is the same domain."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.checking import CheckReport
from core.errors import CheckFailed, UsageError
from core.manifest import load_manifest
from core.packing import pack, placing, read_index, unpack
from core.packing.layout import bad_name, folded, folders_of
from core.packing.placing import put, workplace
from core.packing.reading import extract_files, opened
from core.registry import Domain, discover
from core.settings import Settings

SOUND = CheckReport(name="garden", problems=())


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


def steps(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call ``act`` with a running number before and after every change that ``put`` makes."""
    count = iter(range(100))
    for name, module in (("replace", os), ("rmtree", shutil)):
        real = getattr(module, name)

        def step(*args: object, _real: Callable[..., None] = real, **more: object) -> None:
            act(next(count))
            _real(*args, **more)
            act(next(count))

        monkeypatch.setattr(module, name, step)


def two(folder: Path) -> tuple[Path, Path]:
    """A finished new folder, and the old one in its place."""
    for name, text in (("made/garden", "new"), ("there/garden", "old")):
        (folder / name).mkdir(parents=True)
        (folder / name / "domain.toml").write_text(text)
    return folder / "made" / "garden", folder / "there" / "garden"


@pytest.mark.parametrize("at", range(6))
def test_put_that_is_killed_at_any_step_leaves_one_whole_domain(tmp_path: Path, at: int) -> None:
    made, target = two(tmp_path)
    if not (child := os.fork()):
        try:
            with pytest.MonkeyPatch.context() as patch:
                steps(patch, lambda n: os._exit(9) if n == at else None)
                put(made, target)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [path for path in target.parent.iterdir() if (path / "domain.toml").is_file()]
    assert left and all((path / "domain.toml").read_text() in {"old", "new"} for path in left)
    with workplace(target.parent, "garden"):
        pass
    assert [path.name for path in target.parent.iterdir()] == ["garden"]
    assert (target / "domain.toml").read_text() == ("old" if at < 3 else "new")


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
def test_put_that_fails_at_any_step_leaves_one_whole_domain_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    made, target = two(tmp_path)

    def fail(n: int) -> None:
        if n == at:
            raise error

    with monkeypatch.context() as patch:
        steps(patch, fail)
        with pytest.raises(type(error)):
            put(made, target)
    assert (target / "domain.toml").read_text() == ("old" if at < 3 else "new")


def test_domain_that_was_moved_aside_serves_while_none_stands_in_its_place(garden: Domain, tmp_path: Path) -> None:
    home = tmp_path / "home"
    aside = Path(shutil.copytree(garden.folder, home / "domains" / "garden.replaced-1"))
    assert discover(Settings(home=home)).get("garden").folder == aside
    shutil.copytree(garden.folder, home / "domains" / "garden")
    found = discover(Settings(home=home))
    assert found.get("garden").folder.name == "garden" and not found.broken


def test_unpack_that_was_killed_is_tidied_by_the_next_one(garden: Domain, tmp_path: Path) -> None:
    path, into = pack(garden, out=tmp_path).path, tmp_path / "there"
    (into / f"{placing.PREFIX}abc" / "garden").mkdir(parents=True)
    (into / "mine.replaced-1").mkdir()
    shutil.copytree(garden.folder, into / "garden.replaced-1")
    with pytest.raises(UsageError, match="--replace puts the pack in its place"):
        unpack(path, into=into)
    assert sorted(one.name for one in into.iterdir()) == ["garden", "mine.replaced-1"]


def test_two_at_once_into_one_folder_are_refused(garden: Domain, tmp_path: Path) -> None:
    path, into = pack(garden, out=tmp_path).path, tmp_path / "there"
    with workplace(into, "other"), pytest.raises(UsageError, match="another process unpacks into 'there'"):
        unpack(path, into=into)
    assert unpack(path, into=into).files


def test_link_in_the_place_of_a_domain_is_not_followed(garden: Domain, tmp_path: Path) -> None:
    path, into = pack(garden, out=tmp_path).path, tmp_path / "there"
    (tmp_path / "elsewhere").mkdir()
    into.mkdir()
    (into / "garden").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="'garden' is a symbolic link"):
        unpack(path, into=into, replace=True)
    assert list((tmp_path / "elsewhere").iterdir()) == [] and [one.name for one in into.iterdir()] == ["garden"]


def test_full_disk_leaves_nothing_and_says_so(garden: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, into = pack(garden, out=tmp_path).path, tmp_path / "there"

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"cannot write 'README.md' \(No space left on device\); nothing was installed"):
        unpack(path, into=into)
    assert list(into.iterdir()) == []


def test_pack_that_cannot_be_written_leaves_nothing(garden: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"cannot write 'garden-0.1.0.domainkit' \(No space left on device\)"):
        pack(garden, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_file_that_changes_while_it_is_packed_is_noticed(garden: Domain, tmp_path: Path) -> None:
    mine = copy_of(garden, tmp_path / "copy")

    def change(name: str, done: int, total: int) -> None:
        (mine.folder / "README.md").write_text("# Other\n")

    with pytest.raises(UsageError, match=r"'README.md' changed while it was packed"):
        pack(mine, out=tmp_path, progress=change)
    assert list(tmp_path.glob("*.domainkit")) == []


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["pack.json"], "lists 'pack.json', a name that packs keep"),
        (["Added-Documents.jsonl"], "lists 'added-documents.jsonl', a name that packs keep"),
        (["corpus/en/a.txt", "corpus/en/A.txt"], "differ in case alone"),
        (["prompts/a.txt", "Prompts/b.txt"], "folders 'prompts' and 'Prompts' differ|folders 'Prompts' and 'prompts' differ"),
        (["corpus/aux.txt"], "'corpus/aux.txt' is not a name on every system; rename the file"),
        (["corpus/line\nbreak.txt"], r"'corpus/line\?break.txt' holds a character"),
        (["corpus/\udcff.txt"], r"'corpus/\?.txt' holds a character"),
    ],
)
def test_name_that_cannot_be_packed_is_refused_in_words(garden: Domain, tmp_path: Path, names: list[str], match: str) -> None:
    mine = copy_of(garden, tmp_path / "copy")
    for name in names:
        path = mine.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    with pytest.raises(UsageError, match=match):
        pack(mine, out=tmp_path, report=SOUND)


def test_file_of_equal_bytes_is_stored_so_that_it_does_not_look_like_a_bomb(garden: Domain, tmp_path: Path) -> None:
    mine = copy_of(garden, tmp_path / "copy")
    (mine.folder / "corpus" / "zeros.txt").write_bytes(b"0" * 3_000_000)
    path = pack(mine, out=tmp_path).path
    assert path.stat().st_size > 3_000_000
    assert (unpack(path, into=tmp_path / "there").path / "corpus" / "zeros.txt").stat().st_size == 3_000_000


def test_pack_names_the_encoder_it_belongs_to(garden: Domain, tmp_path: Path) -> None:
    assert read_index(pack(garden, out=tmp_path, encoder="a" * 64).path).encoder == "a" * 64
    assert read_index(pack(garden, out=tmp_path).path).encoder == ""


def test_pack_is_a_zip_that_other_programs_open(garden: Domain, tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(garden, out=tmp_path).path) as archive:
        assert archive.testzip() is None and archive.namelist()[0] == "pack.json"


parts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(lambda part: "/" not in part)
names = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda name: not bad_name(name))


def together(found: dict[str, bytes]) -> bool:
    """Whether these names can be files beside each other on every system."""
    held = {folded(name) for name in found}
    folders = {folder for name in found for folder in folders_of(name)}
    return len(held) == len(found) and len({folded(folder) for folder in folders}) == len(folders) and not held & {folded(folder) for folder in folders}


@given(st.dictionaries(names, st.binary(max_size=2_000), min_size=1, max_size=8).filter(together))
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
def test_any_tree_of_files_comes_out_as_it_went_in(garden: Domain, files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in")
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        domain = Domain(manifest=garden.manifest, folder=folder, door="test")
        made = [pack(domain, out=Path(place, f"{n}.domainkit"), report=SOUND) for n in (1, 2)]
        assert made[0].sha256 == made[1].sha256
        with opened(made[0].path) as one:
            extract_files(one, Path(place, "out"))
        assert tree(Path(place, "out")) == files


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
