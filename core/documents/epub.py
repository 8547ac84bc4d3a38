"""Reads EPUB books: the chapters of the spine, in order, as one text. Knows no page numbers: an EPUB has none."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from core.documents import html
from core.documents.archive import check_archive
from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.errors import DocumentError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CONTAINER = "META-INF/container.xml"
_CHAPTER_TYPES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read an .epub file.

    Raises:
        DocumentError: hostile or damaged zip, copy-protected, no readable table of contents, or the output limit is spent.
    """
    check_archive(path, limits, allow_doctype=True)
    builder = PageBuilder(OutputBudget(limits))
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if "META-INF/encryption.xml" in names and b"EncryptedData" in archive.read("META-INF/encryption.xml"):
            _refuse_protected(_xml(archive, "META-INF/encryption.xml"))
        package_name = _package_name(archive)
        package = _xml(archive, package_name)
        lang = None
        for name in _chapters(package, posixpath.dirname(package_name)):
            if name not in names:
                raise DocumentError(f"its chapter '{one_line(name)[:60]}' is missing; download it again")
            soup = html.parse(archive.read(name))
            lang = lang or html.language(soup)
            html.add_blocks(soup, builder)
    title = _metadata(package, "title") or one_line(path.stem)
    return ParsedDocument(title=title, lang=as_language(_metadata(package, "language")) or lang, pages=(builder.build(),))


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(archive.read(name), forbid_dtd=True)
    except KeyError as error:
        raise DocumentError(f"its part '{one_line(name)[:60]}' is missing; download it again") from error
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise DocumentError(f"its part '{one_line(name)[:60]}' is damaged or hostile; download it again") from error
    return root


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _refuse_protected(root: Element) -> None:
    # Obfuscated fonts are common and harmless; encrypted chapters mean copy protection.
    for element in root.iter():
        if _local(element) == "CipherReference" and element.get("URI", "").lower().endswith((".xhtml", ".html", ".htm", ".xml")):
            raise DocumentError("is copy-protected; get a copy without protection")


def _package_name(archive: zipfile.ZipFile) -> str:
    for element in _xml(archive, _CONTAINER).iter():
        if _local(element) == "rootfile" and element.get("full-path"):
            return posixpath.normpath(element.get("full-path", ""))
    raise DocumentError("names no package in its container.xml; download it again")


def _chapters(package: Element, folder: str) -> list[str]:
    manifest: dict[str, str] = {}
    spine: list[str] = []
    for element in package.iter():
        if _local(element) == "item" and element.get("media-type") in _CHAPTER_TYPES and "nav" not in element.get("properties", "").split():
            manifest[element.get("id", "")] = posixpath.normpath(posixpath.join(folder, unquote(element.get("href", "").partition("#")[0])))
        elif _local(element) == "itemref":
            spine.append(element.get("idref", ""))
    return [manifest[name] for name in spine if name in manifest]


def _metadata(package: Element, name: str) -> str:
    return next((one_line(element.text or "") for element in package.iter() if _local(element) == name and element.text), "")
