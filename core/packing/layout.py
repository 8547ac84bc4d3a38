"""What a pack looks like: a ZIP whose first member ``pack.json`` lists every file with size and SHA-256, and 32 bytes behind it.

The last 32 bytes are the SHA-256 of all that stands before them, so that a changed byte anywhere is noticed before the ZIP is parsed. That tells
damage and careless change, not a forger, who can hash as well: who sent a pack is for its receiver to know.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from core.errors import IntegrityError
from core.types import Frozen

SUFFIX = ".domainkit"
INDEX = "pack.json"
DIGEST_BYTES = 32
MAX_FILES = 20_000
MAX_FILE_BYTES = 512 * 1024**2
MAX_TOTAL_BYTES = 4 * 1024**3
MAX_INDEX_BYTES = 8 * 1024**2
MAX_RATIO = 200
"""Times that a member may grow when it is unpacked; plain text grows by about four."""
MAX_NAME = 240
MAX_DEPTH = 12
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class PackedFile(Frozen):
    """A file of a pack."""

    name: str
    """Below the domain's folder, parts separated by ``/``."""
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Digest


class PackIndex(Frozen):
    """``pack.json``."""

    format: Literal[1] = 1
    domain: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: str = Field(min_length=1, max_length=40)
    kit: str = Field(min_length=1, max_length=40)
    """Version of the kit that wrote it."""
    code: str = ""
    """Name of the tools module, which is code; empty where there is none."""
    files: tuple[PackedFile, ...] = Field(min_length=1, max_length=MAX_FILES)

    @model_validator(mode="after")
    def _sound(self) -> PackIndex:
        names = [file.name for file in self.files]
        for name in names:
            reason = bad_name(name)
            if reason:
                raise ValueError(f"file '{name[:80]}' {reason}")
        if len({folded(name) for name in names}) != len(names):
            raise ValueError("two files have one name, or names that differ in case alone")
        if sum(file.size for file in self.files) > MAX_TOTAL_BYTES:
            raise ValueError(f"holds more than {MAX_TOTAL_BYTES // 1024**3} GB")
        if INDEX in names:
            raise ValueError(f"lists '{INDEX}' itself")
        return self


class PackSummary(Frozen):
    """What was packed or unpacked."""

    domain: str
    version: str
    path: Path
    files: int
    bytes: int
    sha256: str
    """Of the pack."""
    code: str = ""


def folded(name: str) -> str:
    """Return a name as file systems that ignore case and composition see it."""
    return unicodedata.normalize("NFC", name).casefold()


def bad_name(name: str) -> str:
    """Return why a name must not become a file, empty where it may."""
    parts = name.split("/")
    if not name or len(name.encode("utf-8", "replace")) > MAX_NAME:
        return f"is empty or longer than {MAX_NAME} bytes"
    if _FORBIDDEN.search(name) or not name.isprintable():
        return "holds a character that no file name should"
    if any(part in {"", ".", ".."} for part in parts) or len(parts) > MAX_DEPTH:
        return "leaves the domain's folder"
    if any(part != part.strip() or part.endswith(".") or _RESERVED.fullmatch(part) for part in parts):
        return "is not a name on every system"
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        return "is hidden"
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form"
    return ""


def damaged(name: str, reason: str) -> IntegrityError:
    """Return the error about a pack that must not be used."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in reason)
    return IntegrityError(f"{name[:80]}: {plain}; nothing was installed. Get the pack again from whoever made it")
