"""Hostile and damaged packs install nothing."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.numpy import save_file

from core.errors import CheckFailed, DomainkitError, IntegrityError, UsageError
from core.manifest import load_manifest
from core.models.adapters import CARD, CONFIG, WEIGHTS
from core.packing import pack, read_index, unpack
from core.packing.layout import MAX_FILES, bad_name
from core.registry import Domain

Members = list[tuple[Any, bytes]]
SECONDS = 2
OURS = ("core.", "encodings.", "numpy.", "safetensors", "scipy", "sklearn", "joblib", "threadpoolctl")
"""What the kit itself may import when it checks a domain for the first time."""
STEP = 997


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
    before, started = set(sys.modules), time.monotonic()
    with pytest.raises(error, match=match) as caught:
        unpack(path, into=into, allow_code=True)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < SECONDS
    assert not [name for name in set(sys.modules) - before if not name.startswith(OURS)]
    assert not into.exists() or list(into.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_flipped_byte_anywhere_is_noticed_before_the_zip_is_parsed(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed.read_bytes()
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args, **more: pytest.fail("parsed"))
    places = [*range(0, len(data), STEP), *random.Random(0).sample(range(len(data)), 200), len(data) - 33, len(data) - 32, len(data) - 1]
    for at in places:
        packed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(packed, tmp_path, "its hash does not fit")


def test_pack_cut_anywhere_is_refused(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for end in random.Random(1).sample(range(len(data)), 50):
        packed.write_bytes(data[:end])
        refused(packed, tmp_path, "hash does not fit|too short")


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


def sealed_bytes(path: Path, body: bytes) -> Path:
    """Write raw bytes with the right hash behind them."""
    path.write_bytes(body + hashlib.sha256(body).digest())
    return path


def body(packed: Path) -> bytearray:
    return bytearray(packed.read_bytes()[:-32])


def directory(data: bytes) -> list[int]:
    """Return where the entries of a ZIP's directory begin."""
    count, _, offset = struct.unpack("<HLL", data[-12:-2])
    found = []
    for _ in range(count):
        found.append(offset)
        offset += 46 + sum(struct.unpack("<3H", data[offset + 28 : offset + 34]))
    return found


@pytest.mark.parametrize("junk", [b"#!/bin/sh\nexit\n", b"\0" * 40, b"PK\x03\x04"])
def test_bytes_before_or_behind_the_zip_are_refused_though_the_hash_fits(packed: Path, tmp_path: Path, junk: bytes) -> None:
    data = bytes(body(packed))
    refused(sealed_bytes(tmp_path / "front.domainkit", junk + data), tmp_path, "more in it than a pack lists")
    refused(sealed_bytes(tmp_path / "back.domainkit", data + junk), tmp_path, "is no pack|more in it")


def test_comment_behind_the_zip_is_refused(packed: Path, tmp_path: Path) -> None:
    data = body(packed)
    data[-2:] = struct.pack("<H", 3)
    refused(sealed_bytes(tmp_path / "comment.domainkit", bytes(data) + b"abc"), tmp_path, "is no pack")


def test_second_directory_of_the_large_kind_is_refused(packed: Path, tmp_path: Path) -> None:
    data = bytes(body(packed))
    end, front = data[-22:], data[:-22]
    count, size, offset = struct.unpack("<HLL", end[-12:-2])
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    where = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(front), 1)
    refused(sealed_bytes(tmp_path / "large.domainkit", front + large + where + end), tmp_path, "is no pack")


def test_directory_of_too_many_files_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sealed(tmp_path / "many.domainkit", [(f"{n}.md", b"") for n in range(MAX_FILES + 3)], method=zipfile.ZIP_STORED)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args, **more: pytest.fail("parsed"))
    refused(path, tmp_path, "more files than a pack may have")


def test_names_that_are_not_utf_8_are_refused(packed: Path, tmp_path: Path) -> None:
    data = body(packed)
    at = directory(data)[1]
    struct.pack_into("<H", data, at + 8, 0x800)
    data[at + 46] = 0xFF
    refused(sealed_bytes(tmp_path / "flagged.domainkit", bytes(data)), tmp_path, "is no pack")
    struct.pack_into("<H", data, at + 8, 0)
    refused(sealed_bytes(tmp_path / "plain.domainkit", bytes(data)), tmp_path, "does not hold the files that its index lists")


@pytest.mark.parametrize("size", [2**32 - 2, 3 * 2**30, 600 * 2**20])
def test_huge_declared_size_is_refused_before_anything_is_read(packed: Path, tmp_path: Path, size: int) -> None:
    data = body(packed)
    struct.pack_into("<L", data, directory(data)[2] + 24, size)
    refused(sealed_bytes(tmp_path / "huge.domainkit", bytes(data)), tmp_path, "another size than its index says, or grows beyond reason")

    def claim(index: dict[str, Any], rest: Members) -> Members:
        index["files"][0]["size"] = size
        return rest

    refused(forged(packed, claim), tmp_path, "files.0.size|another size")


def test_index_that_claims_more_than_a_pack_may_hold_is_refused(packed: Path, tmp_path: Path) -> None:
    def claim(index: dict[str, Any], rest: Members) -> Members:
        index["files"] += [{"name": f"{n}.md", "size": 512 * 2**20, "sha256": "0" * 64} for n in range(9)]
        return rest

    refused(forged(packed, claim), tmp_path, "holds more than 4 GB")


def test_index_that_is_a_bomb_is_refused(packed: Path, tmp_path: Path) -> None:
    blank = b"{" + b" " * 8_000_000 + b"}"
    refused(sealed(tmp_path / "blank.domainkit", [("pack.json", blank)]), tmp_path, "'pack.json' has another size than its index says, or grows beyond reason")
    refused(sealed(tmp_path / "deep.domainkit", [("pack.json", b"[" * 5_000)]), tmp_path, "pack.json: ")
    refused(sealed(tmp_path / "large.domainkit", [("pack.json", random.Random(0).randbytes(9_000_000))]), tmp_path, "does not begin with pack.json")


def test_members_that_share_their_bytes_are_refused(packed: Path, tmp_path: Path) -> None:
    """Overlapping members grow without bound while each keeps a low ratio (Fifield, "A better zip bomb", WOOT 2019)."""
    first = members(packed)[0]
    data, copies = random.Random(0).randbytes(30_000) * 30, 200
    index = json.loads(first[1])
    index["files"] = [listed(f"{n:03}.md", data) for n in range(copies)]
    squeezed = zlib.compressobj(6, zlib.DEFLATED, -15)
    kernel = squeezed.compress(data) + squeezed.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack.json", json.dumps(index))
    front = buffer.getvalue()
    at = directory(front)
    body = front[: at[0]]
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, zlib.crc32(data), len(kernel), len(data), 6, 0)
    entries = front[at[0] : -22]
    for n in range(copies):
        name = f"{n:03}.md".encode()
        entries += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, zlib.crc32(data), len(kernel), len(data), 6, 0, 0, 0, 0, 0, len(body)) + name
    whole = body + local + b"000.md" + kernel
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies + 1, copies + 1, len(entries), len(whole), 0)
    refused(sealed_bytes(tmp_path / "shared.domainkit", whole + entries + end), tmp_path, "grows beyond reason when it is unpacked")


def test_member_called_otherwise_before_its_bytes_than_in_the_directory_is_refused(packed: Path, tmp_path: Path) -> None:
    data = body(packed)
    entry = directory(data)[1]
    local = struct.unpack("<L", data[entry + 42 : entry + 46])[0]
    data[local + 30] ^= 1
    refused(sealed_bytes(tmp_path / "renamed.domainkit", bytes(data)), tmp_path, "cannot be read")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_is_compressed_otherwise_is_refused(packed: Path, tmp_path: Path, method: int) -> None:
    (_, first), *rest = members(packed)
    info = zipfile.ZipInfo(rest[0][0])
    info.compress_type = method
    parts: Members = [("pack.json", first), *rest]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(parts):
            archive.writestr(info if number == 1 else name, data, compress_type=method if number == 1 else None)
    refused(sealed_bytes(tmp_path / "other.domainkit", buffer.getvalue()), tmp_path, "compressed in a way that packs are not")


def test_encrypted_member_is_refused(packed: Path, tmp_path: Path) -> None:
    data = body(packed)
    struct.pack_into("<H", data, directory(data)[1] + 8, 1)
    refused(sealed_bytes(tmp_path / "locked.domainkit", bytes(data)), tmp_path, "is not a plain file")


@pytest.mark.parametrize("name", ["domain.toml/inside.md", "Corpus/en/x.md", "CORPUS"])
def test_name_that_is_a_file_and_a_folder_or_a_folder_in_another_case_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    def add(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed(name, b"x"))
        return [*rest, (name, b"x")]

    refused(forged(packed, add), tmp_path, "is a file and a folder|differ in case alone")


@pytest.mark.parametrize(
    "name", ["C:/Windows/x.md", "a/C:/x.md", "//server/share/x.md", "a/\\\\server\\x", "\\\\?\\C:\\x", "a/x.md:stream", "com¹.txt", "a/LPT9.md", "CONIN$"]
)
def test_windows_names_are_refused(name: str) -> None:
    assert bad_name(name)


def test_documents_that_the_index_does_not_count_are_refused(packed: Path, tmp_path: Path) -> None:
    name, data = "added-documents.jsonl", b"{}\n"
    refused(forged(packed, lambda index, rest: [(name, data), *rest]), tmp_path, "does not hold the files")

    def count(index: dict[str, Any], rest: Members) -> Members:
        index["documents"] = {"count": 1, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return [(name, data), *rest]

    refused(forged(packed, count), tmp_path, "line 1 of the packed documents is not valid")
    refused(forged(packed, lambda index, rest: count(index, rest)[1:]), tmp_path, "does not hold the files")

    def lie(index: dict[str, Any], rest: Members) -> Members:
        made = count(index, rest)
        index["documents"]["sha256"] = "0" * 64
        return made

    refused(forged(packed, lie), tmp_path, "does not have the hash that the index states")


@pytest.fixture
def adapted(garden: Domain, tmp_path: Path) -> Domain:
    """The garden with an adapter and its card."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "adapted"))
    adapter = folder / "adapter"
    adapter.mkdir()
    key = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
    save_file({key.format("A"): np.ones((2, 384), np.float32), key.format("B"): np.ones((384, 2), np.float32)}, adapter / WEIGHTS)
    (adapter / CONFIG).write_text(json.dumps({"peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}))
    restate(adapter)
    return Domain(manifest=load_manifest(folder), folder=folder, door="test")


def restate(adapter: Path) -> None:
    files = {name: hashlib.sha256((adapter / name).read_bytes()).hexdigest() for name in (CONFIG, WEIGHTS)}
    (adapter / CARD).write_text(json.dumps({"files": files, "base_sha256": "0" * 64, "domain": "garden"}))


def test_sound_adapter_is_unpacked(adapted: Domain, tmp_path: Path) -> None:
    assert (unpack(pack(adapted, out=tmp_path).path, into=tmp_path / "there").path / "adapter" / WEIGHTS).is_file()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"r": 4}, "not a LoRA checkpoint of rank 4"),
        ({"r": 1_000_000}, "less than or equal to 256"),
        ({"target_modules": "(a+)+$"}, "target_modules"),
        ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern"),
        ({"auto_mapping": {"parent_library": "os"}}, "auto_mapping"),
        ({"task_type": "CAUSAL_LM"}, "wanted FEATURE_EXTRACTION"),
    ],
)
def test_adapter_whose_config_says_something_else_is_refused_though_every_hash_fits(
    adapted: Domain, tmp_path: Path, change: dict[str, object], match: str
) -> None:
    adapter = adapted.folder / "adapter"
    (adapter / CONFIG).write_text(json.dumps(json.loads((adapter / CONFIG).read_text()) | change))
    restate(adapter)
    refused(pack(adapted, out=tmp_path).path, tmp_path, match, error=CheckFailed)


def test_adapter_that_does_not_fit_its_card_is_refused(adapted: Domain, tmp_path: Path) -> None:
    def swap(index: dict[str, Any], rest: Members) -> Members:
        name = f"adapter/{CONFIG}"
        data = json.dumps(json.loads(dict(rest)[name]) | {"lora_alpha": 400}).encode()
        index["files"] = [listed(name, data) if file["name"] == name else file for file in index["files"]]
        return [(one, data if one == name else old) for one, old in rest]

    refused(forged(pack(adapted, out=tmp_path).path, swap), tmp_path, "does not have the hash its card states", error=CheckFailed)


def test_adapter_of_weights_alone_is_refused(adapted: Domain, tmp_path: Path) -> None:
    def drop(index: dict[str, Any], rest: Members) -> Members:
        gone = {f"adapter/{CONFIG}", f"adapter/{CARD}"}
        index["files"] = [file for file in index["files"] if file["name"] not in gone]
        return [(name, data) for name, data in rest if name not in gone]

    refused(forged(pack(adapted, out=tmp_path).path, drop), tmp_path, "adapter_config.json", error=CheckFailed)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".bin", ".joblib", ".so", ".pyc"])
def test_corpus_of_objects_or_programs_is_refused(packed: Path, tmp_path: Path, suffix: str) -> None:
    def add(index: dict[str, Any], rest: Members) -> Members:
        index["files"].append(listed(f"corpus/en/x{suffix}", b"cos\nsystem\n(S'touch outside'\ntR."))
        return [*rest, (f"corpus/en/x{suffix}", b"cos\nsystem\n(S'touch outside'\ntR.")]

    refused(forged(packed, add), tmp_path, "can carry code|an executable", error=CheckFailed)


def test_code_that_the_index_keeps_quiet_about_is_refused(packed: Path, tmp_path: Path) -> None:
    code = b"raise SystemExit('ran')\ndef f(x: int) -> int:\n    return x\n"

    def add(index: dict[str, Any], rest: Members) -> Members:
        toml = dict(rest)["domain.toml"] + b'\n[tools]\nmodule = "tools.py"\nfunctions = ["f"]\n'
        index["files"] = [listed("domain.toml", toml) if file["name"] == "domain.toml" else file for file in index["files"]] + [listed("tools.py", code)]
        return [(name, toml if name == "domain.toml" else data) for name, data in rest] + [("tools.py", code)]

    refused(forged(packed, add), tmp_path, "name another domain, version or tools module")


@given(st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "C:", "\0", "~", "con", " ", "é", "%2e%2e", "．．", "∕"]), max_size=8).map("".join))
@examples(max_examples=500, deadline=None)
def test_name_made_of_what_escapes_is_made_of_stays_below_the_folder(name: str) -> None:
    if not bad_name(name):
        base = Path("/base/folder")
        assert Path(base, name).resolve().is_relative_to(base) and ".." not in name.split("/")
