"""Writes a pack: the same folder always gives the same bytes. Checks the domain first; changes nothing in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core.checking import check_domain
from core.checking.report import CheckReport
from core.errors import CheckFailed, UsageError
from core.packing.layout import INDEX, MAX_FILE_BYTES, SUFFIX, PackedFile, PackIndex, PackSummary, bad_name
from core.registry import Domain

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member: a pack does not tell when it was made."""
BLOCK = 1 << 20
SHOWN = 3
Progress = Callable[[str, int, int], None]


def pack(domain: Domain, *, out: Path | None = None, progress: Progress | None = None, report: CheckReport | None = None) -> PackSummary:
    """Write a domain into one file.

    Args:
        domain: which.
        out: the file, or a folder for it; by default ``NAME-VERSION.domainkit`` in the working folder.
        progress: told which file is written.
        report: what a check of the domain said, where the caller has one.

    Raises:
        CheckFailed: the domain is not valid. UsageError: a file cannot be packed, or the pack cannot be written.
    """
    checked = report or check_domain(domain)
    if not checked.ok:
        first = "; ".join(f"{problem.file}: {problem.message}" for problem in checked.errors[:SHOWN])
        raise CheckFailed(f"'{domain.name}' is not valid, so it was not packed ({first}); `domainkit check {domain.name}` shows all")
    target = _target(domain, out)
    files = list(_files(domain.folder))
    index = PackIndex(
        domain=domain.name,
        version=domain.manifest.version,
        kit=importlib.metadata.version("domainkit"),
        code=domain.manifest.tools.module if domain.manifest.tools else "",
        files=tuple(PackedFile(name=name, size=path.stat().st_size, sha256=_sha256(path)) for name, path in files),
    )
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        digest = _write(temporary, index, dict(files), progress)
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"cannot write '{target.name}' ({error.strerror}); name another place with --out") from error
    finally:
        temporary.unlink(missing_ok=True)
    total = sum(file.size for file in index.files)
    return PackSummary(domain=domain.name, version=index.version, path=target, files=len(files), bytes=total, sha256=digest, code=index.code)


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
                raise UsageError(f"'{relative}' is a symbolic link; a pack holds files alone, put the file in its place")
            if name in names and not name.startswith("."):
                found.append((relative, path))
    for relative, path in sorted(found):
        reason = bad_name(relative)
        if reason:
            raise UsageError(f"'{relative}' {reason}; rename the file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"'{relative}' is larger than {MAX_FILE_BYTES // 1024**2} MB; a pack holds no file of that size")
        yield relative, path


def _write(temporary: Path, index: PackIndex, files: dict[str, Path], progress: Progress | None) -> str:
    with temporary.open("w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            _member(archive, INDEX, index.model_dump_json(indent=1).encode())
            for number, listed in enumerate(index.files):
                if progress is not None:
                    progress(listed.name, number, len(index.files))
                data = files[listed.name].read_bytes()
                if hashlib.sha256(data).hexdigest() != listed.sha256:
                    raise UsageError(f"'{listed.name}' changed while it was packed; pack again")
                _member(archive, listed.name, data)
        file.flush()
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())
    return _sha256(temporary)


def _member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    info.create_system = 3
    archive.writestr(info, data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
