"""Reads plain text, whatever its encoding. Knows no markup."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from core.documents.blocks import one_line, verbatim_page
from core.documents.parsed import Limits, OutputBudget, ParsedDocument
from core.errors import DocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PLAUSIBLE = re.compile("[\t\n\r\x20-\x7e\u00a0-\u024f\u2010-\u2027\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")
_SAMPLE_BYTES = 65_536


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read a text file: paragraphs stand apart by blank lines, the title is the file's name.

    Raises:
        DocumentError: the encoding cannot be told, or the output limit is spent.
    """
    text = decode(path.read_bytes())
    return ParsedDocument(title=one_line(path.stem), pages=(verbatim_page(text, OutputBudget(limits)),))


def decode(data: bytes, *, declared: str = "") -> str:
    """Decode text of unknown encoding: byte-order mark, UTF-8, the ``declared`` name, UTF-16, GB18030, then a statistical guess.

    Raises:
        DocumentError: nothing fits; the file is probably not text.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _strict(data, name)
    if b"\0" not in data[:_SAMPLE_BYTES]:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass  # one of the encodings below
    if declared and (text := _declared(data, declared)) is not None:
        return text
    for name in ("utf-16-le", "utf-16-be"):
        if _looks_like_utf16(data, name):
            return _strict(data, name)
    if b"\0" in data[:_SAMPLE_BYTES]:
        raise DocumentError("holds binary data, not text; convert it to one of the supported formats")
    if _looks_like_gb18030(data):
        return _strict(data, "gb18030")
    return _guess(data)


def _strict(data: bytes, name: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not valid {name} at byte {error.start}; save it again as UTF-8") from error


def _declared(data: bytes, name: str) -> str | None:
    # GB2312 and GBK pages commonly use characters of their superset.
    name = "gb18030" if name.lower().replace("-", "").replace("_", "") in {"gb2312", "gbk"} else name
    try:
        return data.decode(name) if codecs.lookup(name)._is_text_encoding else None
    except (LookupError, UnicodeDecodeError):
        return None


def _looks_like_utf16(data: bytes, name: str) -> bool:
    sample = data[:_SAMPLE_BYTES]
    if len(data) % 2 or not sample:
        return False
    try:
        text = sample[: len(sample) // 2 * 2].decode(name)
    except UnicodeDecodeError:
        return False
    return len(_PLAUSIBLE.findall(text)) >= 0.95 * len(text) and any(mark in text for mark in " \n。，")


def _looks_like_gb18030(data: bytes) -> bool:
    """Most two-byte characters of Chinese text lie in the GB2312 plane; those of mistaken Latin text do not."""
    sample = data[:_SAMPLE_BYTES]
    try:
        data.decode("gb18030")
    except UnicodeDecodeError:
        return False
    at = pairs = common = 0
    while at + 1 < len(sample):
        if sample[at] < 0x80:
            at += 1
            continue
        pairs += 1
        common += (0xA1 <= sample[at] <= 0xA3 or 0xB0 <= sample[at] <= 0xF7) and sample[at + 1] >= 0xA1
        at += 2
    return pairs > 0 and common >= 0.8 * pairs


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE_BYTES]).best()
    if best is None:
        raise DocumentError("is not text in an encoding that can be recognised; save it again as UTF-8")
    try:
        return data.decode(best.encoding)
    except UnicodeDecodeError:
        return data.decode(best.encoding, errors="replace")
