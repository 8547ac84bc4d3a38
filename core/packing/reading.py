"""Reads a pack without trusting it: the hash of the file, the shape of the ZIP, the index, then each member by size and hash. Installs nothing."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from core.errors import UsageError
from core.packing.layout import (
    BLOCK,
    DIGEST_BYTES,
    DOCUMENTS,
    INDEX,
    MAX_DIRECTORY_BYTES,
    MAX_FILES,
    MAX_INDEX_BYTES,
    MAX_RATIO,
    MAX_TOTAL_BYTES,
    PackedFile,
    PackIndex,
    Progress,
    damaged,
    first_reason,
)

SLACK = 4_096
"""Bytes that any member may grow by, whatever its ratio: a small file of equal lines is no bomb."""
_END = struct.Struct("<4s4H2LH")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError, EOFError, struct.error)


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


@dataclass(frozen=True, kw_only=True)
class OpenPack:
    """A pack whose hash, shape and index are sound; its members have not been read. ``sha256`` is the whole file's."""

    name: str
    archive: zipfile.ZipFile
    index: PackIndex
    sha256: str


def read_index(path: Path) -> PackIndex:
    """Return what a pack holds, after its hash was checked.

    Raises:
        UsageError: there is no such file. IntegrityError: it was changed or is no pack.
    """
    with opened(path) as pack:
        return pack.index


@contextmanager
def opened(path: Path) -> Iterator[OpenPack]:
    """Open a pack: its hash first, which is over before the ZIP is parsed, then the ZIP's own directory, then the index.

    Raises:
        UsageError: there is no such file. IntegrityError: it was changed or is no pack.
    """
    if not path.is_file():
        raise UsageError(f"no file '{path.name}'; name a pack that `domainkit pack` wrote")
    with path.open("rb") as file:
        whole, length = _hashed(file, path.name)
        _check_directory(file, length, path.name)
        try:
            archive = zipfile.ZipFile(io.BufferedReader(_Body(file, length)))
        except _UNREADABLE as error:
            raise damaged(path.name, "is no pack") from error
        with archive:
            yield OpenPack(name=path.name, archive=archive, index=_index(archive, path.name), sha256=whole)


def _hashed(file: IO[bytes], name: str) -> tuple[str, int]:
    """Return the SHA-256 of the whole file and how many bytes stand before its digest, which must be theirs."""
    size = os.fstat(file.fileno()).st_size
    if not DIGEST_BYTES < size <= MAX_TOTAL_BYTES:
        raise damaged(name, "is too short or too long to be a pack")
    digest, left = hashlib.sha256(), size - DIGEST_BYTES
    while left and (block := file.read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)
    stated = file.read(DIGEST_BYTES)
    if digest.digest() != stated:
        raise damaged(name, "was changed or cut short on its way (its hash does not fit)")
    digest.update(stated)
    return digest.hexdigest(), size - DIGEST_BYTES


def _check_directory(file: IO[bytes], length: int, name: str) -> None:
    """Refuse a ZIP that has anything before or behind it, is of the 64-bit kind, or whose directory is too large to be read into memory.

    Layout: APPNOTE.TXT of PKWARE, 4.3.16 (end of central directory record).
    """
    if length < _END.size:
        raise damaged(name, "is no pack")
    file.seek(length - _END.size)
    mark, disk, first_disk, here, entries, size, offset, comment = _END.unpack(file.read(_END.size))
    file.seek(max(0, length - _END.size - 20))
    large = file.read(4) == b"PK\x06\x07"
    if mark != b"PK\x05\x06" or disk or first_disk or here != entries or comment or large:
        raise damaged(name, "is no pack")
    if offset + size != length - _END.size or size > MAX_DIRECTORY_BYTES or entries > MAX_FILES + 2:
        raise damaged(name, "has more in it than a pack lists, or more files than a pack may have")


def _index(archive: zipfile.ZipFile, name: str) -> PackIndex:
    members = archive.infolist()
    if not members or members[0].filename != INDEX or members[0].header_offset or members[0].file_size > MAX_INDEX_BYTES:
        raise damaged(name, f"does not begin with {INDEX}")
    _check_plain(members[0], INDEX, members[0].file_size, name)
    try:
        index = PackIndex.model_validate_json(_bytes(archive, members[0], MAX_INDEX_BYTES, name))
    except ValidationError as error:
        raise damaged(name, f"{INDEX}: {first_reason(error)}") from error
    expected = [PackedFile(name=DOCUMENTS, size=index.documents.size, sha256=index.documents.sha256)] if index.documents else []
    expected += index.files
    if [member.filename for member in members[1:]] != [file.name for file in expected]:
        raise damaged(name, "does not hold the files that its index lists")
    for member, listed in zip(members[1:], expected, strict=True):
        _check_plain(member, listed.name, listed.size, name)
    # Members that share compressed bytes keep their own ratio low; all of them together cannot.
    if sum(file.size for file in expected) > MAX_RATIO * archive.start_dir + SLACK * len(expected):
        raise damaged(name, "grows beyond reason when it is unpacked")
    return index


def _check_plain(member: zipfile.ZipInfo, shown: str, size: int, name: str) -> None:
    kind = member.external_attr >> 16 & 0o170000
    if member.is_dir() or kind not in {0, 0o100000} or member.flag_bits & 0x1:
        raise damaged(name, f"'{shown[:80]}' is not a plain file")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise damaged(name, f"'{shown[:80]}' is compressed in a way that packs are not")
    if member.file_size != size or member.file_size > MAX_RATIO * max(1, member.compress_size) + SLACK:
        raise damaged(name, f"'{shown[:80]}' has another size than its index says, or grows beyond reason")


def _bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int, name: str) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(most + 1)
    except _UNREADABLE as error:
        raise damaged(name, f"'{member.filename[:80]}' cannot be read") from error
    if len(data) > most:
        raise damaged(name, f"'{member.filename[:80]}' is larger than it says")
    return data


def extract_files(pack: OpenPack, made: Path, *, progress: Progress | None = None) -> None:
    """Write the files of the domain below ``made``, a new folder of nobody else's; each has the size and hash that the index states.

    Raises:
        IntegrityError: a file has other bytes. UsageError: the disk is full or not writable.
    """
    members = pack.archive.infolist()[-len(pack.index.files) :]
    for number, (member, listed) in enumerate(zip(members, pack.index.files, strict=True)):
        if progress is not None:
            progress(listed.name, number, len(members))
        _extract(pack, member, made / listed.name, size=listed.size, sha256=listed.sha256)
    for folder, _, _ in os.walk(made):
        sync_folder(Path(folder))


def extract_documents(pack: OpenPack, target: Path) -> Path | None:
    """Write the documents that people added to ``target``, None where the pack has none. Raises as :func:`extract_files`."""
    if pack.index.documents is None:
        return None
    _extract(pack, pack.archive.infolist()[1], target, size=pack.index.documents.size, sha256=pack.index.documents.sha256)
    return target


def _extract(pack: OpenPack, member: zipfile.ZipInfo, target: Path, *, size: int, sha256: str) -> None:
    digest, left = hashlib.sha256(), size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for block in _blocks(pack, member):
                left -= len(block)
                if left < 0:
                    break
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"cannot write '{member.filename[:80]}' ({error.strerror}); nothing was installed, look at the disk and unpack again") from error
    if left or digest.hexdigest() != sha256:
        raise damaged(pack.name, f"'{member.filename[:80]}' does not have the hash that the index states")


def _blocks(pack: OpenPack, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with pack.archive.open(member) as source:
            while block := source.read(BLOCK):
                yield block
    except _UNREADABLE as error:
        raise damaged(pack.name, f"'{member.filename[:80]}' cannot be read") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
