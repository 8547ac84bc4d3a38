"""Hostile and damaged packs install nothing."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.errors import CheckFailed, DomainkitError, IntegrityError, UsageError
from core.packing import pack, read_index, unpack
from core.packing.layout import bad_name
from core.registry import Domain

Members = list[tuple[Any, bytes]]


@pytest.fixture
def packed(garden: Domain, tmp_path: Path) -> Path:
    return pack(garden, out=tmp_path).path


def members(path: Path) -> Members:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes()[:-32])) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def sealed(path: Path, parts: Members, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a pack of these members with the right hash behind it, as a forger would."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in parts:
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    return path


def forged(packed: Path, change: Callable[[dict[str, Any], Members], Members]) -> Path:
    """Rewrite a pack: ``change`` is given the index and the other members."""
    (_, first), *rest = members(packed)
    index = json.loads(first)
    rest = change(index, rest)
    return sealed(packed.with_name("forged.domainkit"), [("pack.json", json.dumps(index).encode()), *rest])


def listed(name: str, data: bytes) -> dict[str, object]:
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def refused(path: Path, tmp_path: Path, match: str, *, error: type[DomainkitError] = IntegrityError) -> None:
    """Unpack, expect the refusal, and find nothing written."""
    into = tmp_path / "into"
    with pytest.raises(error, match=match) as caught:
        unpack(path, into=into, allow_code=True)
    assert "\n" not in str(caught.value)
    assert not into.exists() or list(into.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_flipped_byte_anywhere_is_noticed_before_the_zip_is_parsed(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed.read_bytes()
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args, **more: pytest.fail("parsed"))
    for at in [*range(0, len(data), max(1, len(data) // 150)), len(data) - 33, len(data) - 32, len(data) - 1]:
        packed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(packed, tmp_path, "its hash does not fit")


@pytest.mark.parametrize(
    "cut", [lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: data + b"x", lambda data: b"x" + data, lambda data: b""]
)
def test_cut_or_lengthened_pack_is_refused(packed: Path, tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    packed.write_bytes(cut(packed.read_bytes()))
    refused(packed, tmp_path, "hash does not fit|too short")


def test_file_that_is_no_pack_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.domainkit"
    path.write_bytes(b"hello" + hashlib.sha256(b"hello").digest())
    refused(path, tmp_path, "is no pack")
    with pytest.raises(UsageError, match="no file 'none.domainkit'"):
        read_index(tmp_path / "none.domainkit")


@pytest.mark.parametrize(
    "name",
    ["../outside", "/outside", "a/../../outside", "a\\..\\outside", "C:outside", "a//b", "./a", "a/.", "con", "aux.txt", "a. /b", "a.", ".hidden", "a/.git/config",
     "bell\x07", "line\nbreak", "a\u202eb", "e\u0301", "x" * 300, "/".join("a" * 20)],
)  # fmt: skip
def test_name_that_leaves_the_folder_or_is_none_everywhere_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    def add(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed(name, b"x"))
        return [*rest, (name, b"x")]

    refused(forged(packed, add), tmp_path, "leaves the domain|character|every system|hidden|composed|longer|does not hold the files")


@pytest.mark.parametrize("twin", ["DOMAIN.toml", "domain.toml"])
def test_two_files_of_one_name_are_refused(packed: Path, tmp_path: Path, twin: str) -> None:
    def add(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed(twin, b"x"))
        return [*rest, (twin, b"x")]

    with pytest.warns(UserWarning, match="Duplicate name") if twin == "domain.toml" else _nothing():
        path = forged(packed, add)
    refused(path, tmp_path, "two files have one name")


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_member_that_the_index_does_not_list_and_one_that_is_missing_are_refused(packed: Path, tmp_path: Path) -> None:
    refused(forged(packed, lambda index, rest: [*rest, ("extra.md", b"x")]), tmp_path, "does not hold the files that its index lists")
    refused(forged(packed, lambda index, rest: rest[:-1]), tmp_path, "does not hold the files that its index lists")


def test_member_with_other_bytes_than_its_hash_is_refused(packed: Path, tmp_path: Path) -> None:
    def swap(index: dict[str, Any], rest: Members) -> Members:
        name, data = rest[0]
        return [(name, bytes([data[0] ^ 1]) + data[1:]), *rest[1:]]

    refused(forged(packed, swap), tmp_path, "does not have the hash that the index states")


def test_member_that_grows_beyond_reason_is_refused(packed: Path, tmp_path: Path) -> None:
    bomb = b"\0" * 50_000_000

    def add(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed("zeros.md", bomb))
        return [*rest, ("zeros.md", bomb)]

    refused(forged(packed, add), tmp_path, "grows beyond reason")


def test_member_that_says_less_than_it_holds_is_refused(packed: Path, tmp_path: Path) -> None:
    def lie(index: dict[str, Any], rest: Members) -> Members:
        index["files"][0]["size"] = 3
        return rest

    refused(forged(packed, lie), tmp_path, "another size than its index says")


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "link"), (0o040755, "folder"), (0o010644, "pipe")])
def test_member_that_is_no_plain_file_is_refused(packed: Path, tmp_path: Path, mode: int, what: str) -> None:
    def add(index: dict[str, Any], rest: Members) -> Members:
        info = zipfile.ZipInfo(what)
        info.external_attr = mode << 16
        index["files"].append(listed(what, b"/etc/passwd"))
        return [*rest, (info, b"/etc/passwd")]

    refused(forged(packed, add), tmp_path, "is not a plain file")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "format"), ({"domain": "../x"}, "domain"), ({"domain": "other"}, "name another domain"), ({"files": []}, "files"),
        ({"more": 1}, "more"), ({"version": "9.9.9"}, "name another domain, version"), ({"code": "evil.py"}, "tools module"),
    ],
)  # fmt: skip
def test_index_that_says_something_else_is_refused(packed: Path, tmp_path: Path, change: dict[str, object], match: str) -> None:
    def edit(index: dict[str, Any], rest: Members) -> Members:
        index.update(change)
        return rest

    refused(forged(packed, edit), tmp_path, match)


def test_index_must_come_first_and_be_json(packed: Path, tmp_path: Path) -> None:
    parts = members(packed)
    refused(sealed(tmp_path / "last.domainkit", [*parts[1:], parts[0]]), tmp_path, "does not begin with pack.json")
    refused(sealed(tmp_path / "text.domainkit", [("pack.json", b"{"), *parts[1:]]), tmp_path, "pack.json")


def test_pack_of_a_domain_that_is_not_valid_is_refused(packed: Path, tmp_path: Path) -> None:
    def spoil(index: dict[str, Any], rest: Members) -> Members:
        place = next(n for n, (name, _) in enumerate(rest) if name == "domain.toml")
        data = rest[place][1] + b"\ncolour = 'red'\n"
        rest[place] = ("domain.toml", data)
        next(file for file in index["files"] if file["name"] == "domain.toml").update(listed("domain.toml", data))
        return rest

    def pickle(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed("corpus/en/x.pkl", b"\x80\x04."))
        return [*rest, ("corpus/en/x.pkl", b"\x80\x04.")]

    refused(forged(packed, spoil), tmp_path, "is not valid", error=CheckFailed)
    refused(forged(packed, pickle), tmp_path, "can carry code", error=CheckFailed)


@given(st.text(max_size=40))
@examples(max_examples=300, deadline=None)
def test_name_that_is_accepted_stays_below_the_folder(name: str) -> None:
    if not bad_name(name):
        base = Path("/base")
        assert (base / name).is_relative_to(base) and ".." not in Path(name).parts and Path(name).as_posix() == name
