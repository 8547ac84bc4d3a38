"""Tells a file's format from its first bytes and its suffix together. Parses nothing but a zip's list of names."""

from __future__ import annotations

import re
import zipfile
from enum import StrEnum
from pathlib import Path

from core.errors import DocumentError


class Format(StrEnum):
    """The formats that have a reader."""

    CSV = "csv"
    DOCX = "docx"
    EPUB = "epub"
    HTML = "html"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    PDF = "pdf"
    PPTX = "pptx"
    TEXT = "text"
    XLSX = "xlsx"


_BY_SUFFIX: dict[str, Format] = {
    ".csv": Format.CSV,
    ".docx": Format.DOCX,
    ".epub": Format.EPUB,
    ".htm": Format.HTML,
    ".html": Format.HTML,
    ".jsonl": Format.JSONL,
    ".markdown": Format.MARKDOWN,
    ".md": Format.MARKDOWN,
    ".pdf": Format.PDF,
    ".pptx": Format.PPTX,
    ".tsv": Format.CSV,
    ".txt": Format.TEXT,
    ".xlsx": Format.XLSX,
}
_ZIPPED = frozenset({Format.DOCX, Format.PPTX, Format.XLSX, Format.EPUB})
_HEAD_BYTES = 1_024
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or password-protected Office file"),
    (b"\x7fELF", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xfe\xed\xfa\xcf", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
)
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")


def detect_format(path: Path) -> Format:
    """Return the format that both the suffix and the content state.

    Raises:
        DocumentError: unsupported suffix, empty file, or a content that is not what the suffix says; both are named.
    """
    wanted = _BY_SUFFIX.get(path.suffix.lower())
    if wanted is None:
        raise DocumentError(f"unsupported suffix '{path.suffix[:20]}'; supported: {', '.join(sorted(_BY_SUFFIX))}")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise DocumentError("the file is empty; nothing to add")
    found = _content(path, head)
    if found == wanted.value or (found is None and wanted not in _ZIPPED and wanted is not Format.PDF):
        return wanted
    actual = found or "no such file"
    article = "" if actual.startswith(("a ", "an ", "no ")) else "a "
    raise DocumentError(f"named {path.suffix.lower()} but holds {article}{actual}{'' if found else ' inside'}; {_advice(found)}")


def _advice(found: str | None) -> str:
    if found in {kind.value for kind in Format}:
        return f"rename it to .{found} or convert it"
    if found and "Office" in found:
        return "open it in an office program and save it without password in the new format"
    return "it may be damaged: open it in its program and save it again"


def _content(path: Path, head: bytes) -> str | None:
    """Return the format or a description of what the bytes are; None for what may be text."""
    # Some writers put a few bytes before the header; a text that merely mentions it does not start so.
    starts = head.lstrip(b"\xef\xbb\xbf\0\r\n\t ").startswith(b"%PDF-")
    if starts or (b"%PDF-" in head and path.suffix.lower() == ".pdf"):
        return Format.PDF.value
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_content(path)
    if head.startswith(b"MZ") and b"\0" in head:
        return "a program"
    if _BZIP2.match(head):
        return "a bzip2 archive"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def _zip_content(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive"
    if "META-INF/container.xml" in names:
        return Format.EPUB.value
    if "[Content_Types].xml" in names:
        for folder, kind in (("word/", Format.DOCX), ("ppt/", Format.PPTX), ("xl/", Format.XLSX)):
            if any(name.startswith(folder) for name in names):
                return kind.value
    return "a zip archive"
