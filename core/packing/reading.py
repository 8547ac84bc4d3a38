"""Installs a pack: its hash first, then its index, then file by file into a folder that becomes the domain's only when all of it is sound."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from core.checking import check_folder
from core.errors import CheckFailed, DomainkitError, UsageError
from core.manifest import load_manifest
from core.models.adapters import CONFIG, check_adapter
from core.packing.layout import (
    DIGEST_BYTES,
    INDEX,
    MAX_INDEX_BYTES,
    MAX_RATIO,
    MAX_TOTAL_BYTES,
    PackedFile,
    PackIndex,
    PackSummary,
    damaged,
    folded,
)

BLOCK = 1 << 20
SHOWN = 3
Progress = Callable[[str, int, int], None]


class _Body(io.RawIOBase):
    """A pack's file without the digest behind it, so that the ZIP reader never sees those bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file, self._size, self._at = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        start = {0: 0, 1: self._at, 2: self._size}[whence]
        self._at = min(self._size, max(0, start + offset))
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._at)
        data = self._file.read(min(len(buffer), self._size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def read_index(path: Path) -> PackIndex:
    """Return what a pack holds, after its hash was checked.

    Raises:
        UsageError: there is no such file. IntegrityError: it was changed or is no pack.
    """
    with _opened(path) as (archive, _):
        return _index(archive, path.name)


class _opened:
    """Opens a pack whose last bytes are the hash of all others."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[zipfile.ZipFile, str]:
        name = self._path.name
        if not self._path.is_file():
            raise UsageError(f"no file '{name}'; name a pack that `domainkit pack` wrote")
        self._file = self._path.open("rb")
        try:
            size = os.fstat(self._file.fileno()).st_size
            if not DIGEST_BYTES < size <= MAX_TOTAL_BYTES:
                raise damaged(name, "is too short or too long to be a pack")
            digest, whole, left = hashlib.sha256(), hashlib.sha256(), size - DIGEST_BYTES
            while left and (block := self._file.read(min(BLOCK, left))):
                digest.update(block)
                whole.update(block)
                left -= len(block)
            stated = self._file.read(DIGEST_BYTES)
            if digest.digest() != stated:
                raise damaged(name, "was changed or cut short on its way (its hash does not fit)")
            whole.update(stated)
            try:
                self._archive = zipfile.ZipFile(io.BufferedReader(_Body(self._file, size - DIGEST_BYTES)))
            except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
                raise damaged(name, "is no pack") from error
            return self._archive, whole.hexdigest()
        except BaseException:
            self._file.close()
            raise

    def __exit__(self, *error: object) -> None:
        self._archive.close()
        self._file.close()


def _index(archive: zipfile.ZipFile, name: str) -> PackIndex:
    members = archive.infolist()
    if not members or members[0].filename != INDEX or members[0].file_size > MAX_INDEX_BYTES:
        raise damaged(name, f"does not begin with {INDEX}")
    try:
        index = PackIndex.model_validate_json(_bytes(archive, members[0], MAX_INDEX_BYTES, name))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(name, f"{INDEX}: {where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error
    if [member.filename for member in members[1:]] != [file.name for file in index.files]:
        raise damaged(name, "does not hold the files that its index lists")
    for member, listed in zip(members[1:], index.files, strict=True):
        _plain(member, listed, name)
    return index


def _plain(member: zipfile.ZipInfo, listed: PackedFile, name: str) -> None:
    kind = member.external_attr >> 16 & 0o170000
    if member.is_dir() or kind not in {0, 0o100000} or member.flag_bits & 0x1:
        raise damaged(name, f"'{listed.name[:80]}' is not a plain file")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise damaged(name, f"'{listed.name[:80]}' is compressed in a way that packs are not")
    if member.file_size != listed.size or member.file_size > MAX_RATIO * max(1, member.compress_size) + 4_096:
        raise damaged(name, f"'{listed.name[:80]}' has another size than its index says, or grows beyond reason")


def _bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int, name: str) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise damaged(name, f"'{member.filename[:80]}' cannot be read") from error
    if len(data) > most:
        raise damaged(name, f"'{member.filename[:80]}' is larger than it says")
    return data


def unpack(path: Path, *, into: Path, replace: bool = False, allow_code: bool = False, progress: Progress | None = None) -> PackSummary:
    """Install a pack as a folder of its domain's name.

    Nothing becomes visible before every file has its hash and the whole domain is valid. A domain that is replaced is moved aside first and comes
    back when anything fails.

    Args:
        path: the pack.
        into: folder that shall hold the domain's folder; made where it is missing.
        replace: take the place of a domain of that name in the folder.
        allow_code: accept a pack with a tools module, which is code that runs when the domain's tools are used.
        progress: told which file is written.

    Raises:
        UsageError: no such file, the domain exists, or the pack holds code and that was not allowed.
        IntegrityError: the pack was changed, or is not what it says. CheckFailed: the domain in it is not valid.
    """
    with _opened(path) as (archive, digest):
        index = _index(archive, path.name)
        if index.code and not allow_code:
            raise UsageError(f"'{path.name}' holds code ({index.code}), which runs when its tools are used; if you trust who made it, say --allow-code")
        target = into / index.domain
        if target.exists() and not replace:
            raise UsageError(f"'{index.domain}' is already in '{into.name}'; --replace puts the pack in its place")
        into.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=into))
        try:
            made = place / index.domain
            _extract(archive, index, made, path.name, progress)
            _valid(made, index, path.name)
            _put(made, target)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return PackSummary(
        domain=index.domain, version=index.version, path=target, files=len(index.files), bytes=sum(file.size for file in index.files), sha256=digest,
        code=index.code,
    )  # fmt: skip


def _extract(archive: zipfile.ZipFile, index: PackIndex, made: Path, name: str, progress: Progress | None) -> None:
    folders: dict[str, str] = {}
    for number, (member, listed) in enumerate(zip(archive.infolist()[1:], index.files, strict=True)):
        if progress is not None:
            progress(listed.name, number, len(index.files))
        for depth in range(1, listed.name.count("/") + 1):
            folder = "/".join(listed.name.split("/")[:depth])
            if folders.setdefault(folded(folder), folder) != folder:
                raise damaged(name, f"folders '{folder[:60]}' and '{folders[folded(folder)][:60]}' differ in case alone")
        data = _bytes(archive, member, listed.size, name)
        if hashlib.sha256(data).hexdigest() != listed.sha256:
            raise damaged(name, f"'{listed.name[:80]}' does not have the hash that the index states")
        target = made / listed.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise damaged(name, f"'{listed.name[:80]}' cannot be written ({error.strerror})") from error


def _valid(made: Path, index: PackIndex, name: str) -> None:
    try:
        manifest = load_manifest(made)
        adapter = made / manifest.paths.adapter
        if (adapter / CONFIG).is_file():
            check_adapter(index.domain, adapter, task="FEATURE_EXTRACTION")
    except (DomainkitError, OSError) as error:
        raise CheckFailed(f"the domain in '{name}' is not valid ({error}); nothing was installed") from error
    code = manifest.tools.module if manifest.tools else ""
    if (manifest.name, manifest.version, code) != (index.domain, index.version, index.code):
        raise damaged(name, "its index and its manifest name another domain, version or tools module")
    report = check_folder(made)
    if not report.ok:
        first = "; ".join(f"{problem.file}: {problem.message}" for problem in report.errors[:SHOWN])
        raise CheckFailed(f"the domain in '{name}' is not valid ({first}); nothing was installed")


def _put(made: Path, target: Path) -> None:
    """Move a folder to its place; what stood there is gone only when the new one stands."""
    if not target.exists():
        os.replace(made, target)
        return
    aside = made.with_name(f"{target.name}.replaced")
    os.replace(target, aside)
    try:
        os.replace(made, target)
    except OSError:
        os.replace(aside, target)
        raise
