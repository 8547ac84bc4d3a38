"""Turns files into Documents: parses in the sandbox, names the source, settles the language, computes the id.

Knows readers and the sandbox by their doors only; knows no library and no splitting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.documents import jsonl
from core.documents.files import display_name, source_name
from core.documents.language import detect_language
from core.documents.parsed import Limits, ParsedDocument
from core.documents.sandbox import parse_file
from core.errors import DocumentError
from core.types import Document, Language, Page

if TYPE_CHECKING:
    from core.settings import Settings

_LANGUAGE_CHARS = 4_000


def read_documents(path: Path, *, scope: str, settings: Settings, lang: Language | None = None, root: Path | None = None) -> Iterator[Document]:
    """Yield the documents of one file: one for most formats, one per record for jsonl.

    Args:
        path: a file of a supported format.
        scope: the collection that the documents belong to.
        settings: states the limits of parsing.
        lang: the documents' language; otherwise what the file says, otherwise told from the text.
        root: the path that the user named; ``source`` is relative to it when it is a folder.

    Raises:
        DocumentError: the file cannot be read; the message starts with its name. For jsonl, documents before the bad line have
            been yielded.
    """
    name = display_name(path)
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise DocumentError(f"{name}: cannot be opened ({error.strerror}); check the path and its permissions") from error
    source = source_name(path, root=root)
    for parsed in _parse(path, name, settings):
        yield _document(parsed, scope=scope, lang=lang, source=source, digest=digest)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes, in hex; raises OSError when it cannot be read."""
    if not path.is_file():
        raise FileNotFoundError(2, "not a regular file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def document_id(*, external_id: str, title: str, lang: Language, pages: tuple[Page, ...]) -> str:
    """Return the SHA-256 of a document's identity and text, in hex."""
    identity = {"external_id": external_id, "lang": lang, "pages": [[page.number, page.text] for page in pages], "title": title}
    canonical = json.dumps(identity, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(path: Path, name: str, settings: Settings) -> Iterator[ParsedDocument]:
    if path.suffix.lower() != ".jsonl":
        yield parse_file(path, settings=settings)
        return
    found = False
    try:
        for parsed in jsonl.read(path, Limits.of(settings)):
            found = True
            yield parsed
    except DocumentError as error:
        raise DocumentError(f"{name}: {error}") from error
    except OSError as error:
        raise DocumentError(f"{name}: cannot be read ({error.strerror}); check the disk") from error
    if not found:
        raise DocumentError(f"{name}: the file is empty; nothing to add")


def _document(parsed: ParsedDocument, *, scope: str, lang: Language | None, source: str, digest: str) -> Document:
    language = lang or parsed.lang or detect_language(_sample(parsed))
    external_id = parsed.external_id or source
    return Document(
        id=document_id(external_id=external_id, title=parsed.title, lang=language, pages=parsed.pages),
        external_id=external_id,
        title=parsed.title,
        source=source,
        lang=language,
        pages=parsed.pages,
        scope=scope,
        url=parsed.url,
        aliases=parsed.aliases,
        context=parsed.context,
        file_sha256=digest,
    )


def _sample(parsed: ParsedDocument) -> str:
    parts: list[str] = []
    length = 0
    for page in parsed.pages:
        parts.append(page.text[: _LANGUAGE_CHARS - length])
        length += len(parts[-1])
        if length >= _LANGUAGE_CHARS:
            break
    return "\n".join(parts)
