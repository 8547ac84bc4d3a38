"""Writes a pack: the same folder always gives the same bytes. Checks the domain first; changes nothing in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from core.checking import check_domain
from core.checking.report import CheckReport
from core.errors import CheckFailed, UsageError
from core.library import Library
from core.packing.documents import write_documents
from core.packing.layout import (
    BLOCK,
    DOCUMENTS,
    INDEX,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_RATIO,
    SUFFIX,
    PackedDocuments,
    PackedFile,
    PackIndex,
    PackSummary,
    Progress,
    bad_name,
    first_reason,
)
from core.registry import Domain

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member: a pack does not tell when it was made."""
LEVEL = 6
SHOWN = 3


def pack(
    domain: Domain,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
    report: CheckReport | None = None,
    encoder: str = "",
    library: Library | None = None,
) -> PackSummary:
    """Write a domain into one file.

    Args:
        domain: which.
        out: the file, or a folder for it; by default ``NAME-VERSION.domainkit`` in the working folder.
        progress: told which file is written.
        report: what a check of the domain said, where the caller has one.
        encoder: SHA-256 of the base encoder's weights, which whoever unpacks it is told.
        library: packs the documents that people added to it as well; only their owner can then read the file.

    Raises:
        CheckFailed: the domain is not valid. UsageError: a file cannot be packed, or the pack cannot be written.
        LibraryError: the library cannot be read.
    """
    checked = report or check_domain(domain)
    if not checked.ok:
        first = "; ".join(f"{problem.file}: {problem.message}" for problem in checked.errors[:SHOWN])
        raise CheckFailed(f"'{domain.name}' is not valid, so it was not packed ({first}); `domainkit check {domain.name}` shows all")
    target = _target(domain, out)
    files = dict(_files(domain.folder))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        # No name on the disk: what people added is nobody else's while it is gathered, and gone if this is killed.
        with tempfile.TemporaryFile(dir=target.absolute().parent) as added:
            index = _index(domain, files, encoder=encoder, documents=_gathered(library, added, progress))
            digest = _write(temporary, index, files, added, progress)
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"cannot write '{target.name}' ({error.strerror}); name another place with --out") from error
    finally:
        temporary.unlink(missing_ok=True)
    return PackSummary(
        domain=domain.name, version=index.version, path=target, files=len(files), bytes=sum(file.size for file in index.files), sha256=digest,
        encoder=encoder, code=index.code, documents=index.documents.count if index.documents else 0,
    )  # fmt: skip


def _target(domain: Domain, out: Path | None) -> Path:
    name = f"{domain.name}-{domain.manifest.version}{SUFFIX}"
    target = Path(name) if out is None else out / name if out.is_dir() else out
    if not target.absolute().parent.is_dir():
        raise UsageError(f"cannot write '{target.name}': its folder does not exist; make it or name another place with --out")
    return target


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a domain by name, sorted; what is hidden or a cache is left out, links are refused."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in [*folders, *names]:
            path = Path(where, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise UsageError(f"'{_shown(relative)}' is a symbolic link; a pack holds files alone, put the file in its place")
            if name in names and not name.startswith("."):
                found.append((relative, path))
    if len(found) > MAX_FILES:
        raise UsageError(f"the domain has {len(found):,} files; a pack holds {MAX_FILES:,} at most, put records into one jsonl file")
    for relative, path in sorted(found):
        reason = bad_name(relative)
        if reason:
            raise UsageError(f"'{_shown(relative)}' {reason}; rename the file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"'{relative}' is larger than {MAX_FILE_BYTES // 1024**2} MB; a pack holds no file of that size")
        yield relative, path


def _shown(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name[:120])


def _gathered(library: Library | None, added: IO[bytes], progress: Progress | None) -> PackedDocuments | None:
    count = write_documents(library, added, progress=progress) if library is not None and library.exists() else 0
    size = added.tell()
    if not count:
        return None
    if size > MAX_FILE_BYTES:
        raise UsageError(f"the added documents are {size // 1024**2:,} MB of text; a pack holds {MAX_FILE_BYTES // 1024**2} MB, move their files instead")
    return PackedDocuments(count=count, size=size, sha256=_digest(added))


def _index(domain: Domain, files: dict[str, Path], *, encoder: str, documents: PackedDocuments | None) -> PackIndex:
    listed = []
    for name, path in files.items():
        with path.open("rb") as file:
            listed.append(PackedFile(name=name, size=os.fstat(file.fileno()).st_size, sha256=_digest(file)))
    try:
        return PackIndex(
            domain=domain.name,
            version=domain.manifest.version,
            kit=importlib.metadata.version("domainkit"),
            encoder=encoder,
            code=domain.manifest.tools.module if domain.manifest.tools else "",
            documents=documents,
            files=tuple(listed),
        )
    except ValidationError as error:
        raise UsageError(f"'{domain.name}' cannot be packed: {first_reason(error)}; rename or remove a file") from error


def _write(temporary: Path, index: PackIndex, files: dict[str, Path], added: IO[bytes], progress: Progress | None) -> str:
    # With people's documents in it, a pack is its owner's alone.
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if index.documents else 0o666)
    with os.fdopen(handle, "w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            _member(archive, INDEX, io.BytesIO(index.model_dump_json(indent=1).encode()))
            if index.documents:
                _member(archive, DOCUMENTS, added, sha256=index.documents.sha256)
            for number, listed in enumerate(index.files):
                if progress is not None:
                    progress(listed.name, number, len(index.files))
                with files[listed.name].open("rb") as source:
                    _member(archive, listed.name, source, sha256=listed.sha256)
        file.flush()
        file.write(bytes.fromhex(_digest(file)))
        file.flush()
        os.fsync(file.fileno())
        return _digest(file)


def _member(archive: zipfile.ZipFile, name: str, source: IO[bytes], *, sha256: str = "") -> None:
    size, small = _sizes(source)
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if size <= MAX_RATIO * small else zipfile.ZIP_STORED
    info.external_attr = 0o100644 << 16
    info.create_system = 3
    info.file_size = size
    digest = hashlib.sha256()
    source.seek(0)
    with archive.open(info, "w") as target:
        while block := source.read(BLOCK):
            digest.update(block)
            target.write(block)
    if sha256 and digest.hexdigest() != sha256:
        raise UsageError(f"'{name}' changed while it was packed; pack again")


def _sizes(source: IO[bytes]) -> tuple[int, int]:
    """Return how long a file is, and how long it is compressed."""
    squeezed = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = small = 0
    source.seek(0)
    while block := source.read(BLOCK):
        size += len(block)
        small += len(squeezed.compress(block))
    return size, small + len(squeezed.flush())


def _digest(file: IO[bytes]) -> str:
    """Return the SHA-256 of a whole file and leave it at its end."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
