"""Checks a zip-based file before any parser opens it: entries, names, expansion, document type declarations.

Knows zip and the look of XML, nothing of office formats.
"""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from pathlib import Path

from core.documents.blocks import one_line
from core.documents.parsed import Limits
from core.errors import DocumentError

MAX_ENTRIES = 10_000
MAX_RATIO = 100
RATIO_FREE_BYTES = 10 * 1_048_576
"""Below this expanded size the ratio is not checked: small files of blank cells compress well."""
_OUTPUT_FACTOR = 8
_CHUNK = 1_048_576
_DRIVE = re.compile(r"^[A-Za-z]:")
_ENCODINGS = ("ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "cp037")


def check_archive(path: Path, limits: Limits, *, allow_doctype: bool = False) -> None:
    """Refuse a zip file that is hostile or damaged; every entry is unpacked once, in pieces, and kept nowhere.

    Args:
        path: a zip file.
        limits: the expanded size may be eight times the output limit.
        allow_doctype: for EPUB, whose chapters name a document type; entity declarations are refused all the same.

    Raises:
        DocumentError: too many entries, expands too far, names outside the archive, encrypted, damaged, or declares entities.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size, limits)
            for entry in entries:
                if not entry.is_dir():
                    _check_content(archive, entry, allow_doctype=allow_doctype)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        raise DocumentError(f"is a damaged zip file ({one_line(str(error))[:100]}); open it in its program and save it again") from error


def _check_entries(entries: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    if len(entries) > MAX_ENTRIES:
        raise DocumentError(f"holds {len(entries)} zip entries, more than {MAX_ENTRIES}; it is hostile or not a document")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in re.split(r"[/\\]", name):
            raise DocumentError(f"holds a zip entry outside its folder ('{one_line(name)[:60]}'); it is hostile")
        if name in seen:
            raise DocumentError(f"holds the zip entry '{one_line(name)[:60]}' twice; open it in its program and save it again")
        if entry.flag_bits & 1:
            raise DocumentError("is encrypted with a password; save a copy without password")
        seen.add(name)
    # zipfile never unpacks more than the stated size of an entry, so the stated sizes bind every later reader.
    expanded = sum(entry.file_size for entry in entries)
    allowed = limits.output_mb * _OUTPUT_FACTOR * 1_048_576
    if expanded > allowed:
        raise DocumentError(f"expands to {expanded // 1_048_576} MB, more than {allowed // 1_048_576} MB; it is hostile or should be split")
    if expanded > RATIO_FREE_BYTES and expanded > MAX_RATIO * max(size, 1):
        raise DocumentError(f"expands more than {MAX_RATIO} times to {expanded // 1_048_576} MB; it is hostile")


def _check_content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, allow_doctype: bool) -> None:
    marks = ("<!ENTITY",) if allow_doctype else ("<!DOCTYPE", "<!ENTITY")
    tail = b""
    wanted: tuple[bytes, ...] | None = None
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            if wanted is None:
                wanted = tuple(mark.encode(name) for mark in marks for name in _ENCODINGS) if _looks_like_markup(chunk) else ()
            if wanted:
                window = tail + chunk
                if any(mark in window for mark in wanted):
                    raise DocumentError(
                        f"its part '{one_line(entry.filename)[:60]}' declares XML entities or a document type; it is hostile: "
                        "open it in its program and save it again"
                    )
                tail = chunk[-64:]


def _looks_like_markup(chunk: bytes) -> bool:
    """Say whether an entry starts like XML in any encoding, whatever its name says."""
    head = chunk[:64]
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(mark)
    return head.replace(b"\0", b"").lstrip()[:1] in (b"<", b"L", b"")
