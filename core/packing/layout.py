"""What a pack looks like: a ZIP whose first member ``pack.json`` lists every file with size and SHA-256, and 32 bytes behind it.

The last 32 bytes are the SHA-256 of all that stands before them, so that a changed byte anywhere is noticed before the ZIP is parsed. That tells
damage and careless change, not a forger, who can hash as well: who sent a pack is for its receiver to know.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from core.errors import IntegrityError
from core.types import Frozen

SUFFIX = ".domainkit"
INDEX = "pack.json"
DOCUMENTS = "added-documents.jsonl"
"""Member that holds the documents that people added; it is no file of the domain's folder."""
DIGEST_BYTES = 32
BLOCK = 1 << 20
MAX_FILES = 20_000
MAX_FILE_BYTES = 512 * 1024**2
MAX_TOTAL_BYTES = 4 * 1024**3
MAX_INDEX_BYTES = 8 * 1024**2
MAX_DIRECTORY_BYTES = 16 * 1024**2
MAX_RATIO = 100
"""Times that a member may grow when it is unpacked; plain text grows by about four. What would grow by more is stored as it is."""
MAX_NAME = 240
MAX_DEPTH = 12
_RESERVED = re.compile(r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Progress = Callable[[str, int, int], None]
"""Called with a name, what is done and the total."""


class PackedFile(Frozen):
    """A file of a pack."""

    name: str
    """Below the domain's folder, parts separated by ``/``."""
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Digest


class PackedDocuments(Frozen):
    """The member that holds the documents that people added to the domain's library."""

    count: int = Field(ge=1, le=10_000_000)
    size: int = Field(ge=1, le=MAX_FILE_BYTES)
    sha256: Digest


class PackIndex(Frozen):
    """``pack.json``."""

    format: Literal[1] = 1
    domain: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: str = Field(min_length=1, max_length=40)
    kit: str = Field(min_length=1, max_length=40)
    """Version of the kit that wrote it."""
    encoder: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of the weights of the base encoder that heads, adapter and thresholds belong to; empty where it is not known."""
    code: str = ""
    """Name of the tools module, which is code; empty where there is none."""
    documents: PackedDocuments | None = None
    files: tuple[PackedFile, ...] = Field(min_length=1, max_length=MAX_FILES)

    @model_validator(mode="after")
    def _sound(self) -> PackIndex:
        names = [file.name for file in self.files]
        for name in names:
            reason = bad_name(name)
            if reason:
                raise ValueError(f"file '{name[:80]}' {reason}")
        held = {folded(name) for name in names}
        if len(held) != len(names):
            raise ValueError("two files have one name, or names that differ in case alone")
        folders: dict[str, str] = {}
        for folder in itertools.chain.from_iterable(folders_of(name) for name in names):
            if folders.setdefault(folded(folder), folder) != folder:
                raise ValueError(f"folders '{folder[:60]}' and '{folders[folded(folder)][:60]}' differ in case alone")
            if folded(folder) in held:
                raise ValueError(f"'{folder[:80]}' is a file and a folder")
        if sum(file.size for file in self.files) > MAX_TOTAL_BYTES:
            raise ValueError(f"holds more than {MAX_TOTAL_BYTES // 1024**3} GB")
        reserved = {INDEX, DOCUMENTS} & held
        if reserved:
            raise ValueError(f"lists '{min(reserved)}', a name that packs keep for themselves")
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
    encoder: str = ""
    code: str = ""
    documents: int = 0
    """How many documents that people added are in the pack."""


def folders_of(name: str) -> list[str]:
    """Return the folders that a file's name passes through, the outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def folded(name: str) -> str:
    """Return a name as file systems that ignore case and composition see it (canonical caseless matching, Unicode 15, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


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


def first_reason(error: ValidationError) -> str:
    """Return the first fault that a schema found, with its place."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return (f"{where}: " if where else "") + first["msg"].removeprefix("Value error, ")


def damaged(name: str, reason: str) -> IntegrityError:
    """Return the error about a pack that must not be used."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in reason)
    return IntegrityError(f"{name[:80]}: {plain}; nothing was installed. Get the pack again from whoever made it")
