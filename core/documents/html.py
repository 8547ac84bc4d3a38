"""Reads HTML: headings, paragraphs, list items, preformatted text and table rows. Never fetches anything."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from core.documents.blocks import PageBuilder, one_line
from core.documents.parsed import Limits, OutputBudget, ParsedDocument, as_language
from core.documents.text import decode
from core.types import BlockKind, Language

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DROPPED = frozenset(
    "script style nav footer header aside form noscript template iframe object embed svg canvas audio video button select head input textarea dialog".split()
)
_BLOCKS = frozenset(
    "html body main article section div p h1 h2 h3 h4 h5 h6 ul ol li dl dt dd pre table thead tbody tfoot tr td th caption blockquote "
    "figure figcaption details summary address hr center fieldset".split()
)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})


def read(path: Path, limits: Limits) -> ParsedDocument:
    """Read an HTML file; navigation, scripts, forms and page furniture are left out.

    Raises:
        DocumentError: the encoding cannot be told, or the output limit is spent.
    """
    soup = parse(path.read_bytes())
    builder = PageBuilder(OutputBudget(limits))
    add_blocks(soup, builder)
    page = builder.build()
    heading = next((page.text[b.start : b.end] for b in page.blocks if b.kind is BlockKind.HEADING), "")
    title = one_line(soup.title.get_text()) if soup.title is not None else ""
    return ParsedDocument(title=title or heading or one_line(path.stem), lang=language(soup), url=_canonical(soup), pages=(page,))


def parse(data: bytes) -> BeautifulSoup:
    """Return the parsed tree of an HTML or XHTML file of any encoding.

    Raises:
        DocumentError: the encoding cannot be told.
    """
    import bs4
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(data[:4_096], is_html=True, search_entire_document=False) or ""
    with warnings.catch_warnings():
        # XHTML chapters go through the HTML parser on purpose: it loads no entities.
        warnings.simplefilter("ignore", bs4.XMLParsedAsHTMLWarning)
        warnings.simplefilter("ignore", bs4.MarkupResemblesLocatorWarning)
        return bs4.BeautifulSoup(_without_declaration(decode(data, declared=declared)), "lxml")


def language(soup: BeautifulSoup) -> Language | None:
    """Return the ``lang`` attribute of the root element when it is one of ours."""
    root = soup.find("html")
    if root is None:
        return None
    return as_language(root.get("lang") or root.get("xml:lang"))


def add_blocks(soup: BeautifulSoup, builder: PageBuilder) -> None:
    """Add the visible blocks of a tree in reading order; loose text between block elements counts as paragraphs.

    Raises:
        DocumentError: the document's output limit is spent.
    """
    root: Tag | None = soup.body or soup.find("html")
    if root is not None:
        _Walk(builder).run(root)


def _without_declaration(text: str) -> str:
    # libxml2 refuses a str that still names an encoding.
    if text.startswith("<?xml") and (end := text.find("?>", 0, 200)) > 0:
        return text[end + 2 :]
    return text


def _canonical(soup: BeautifulSoup) -> str:
    link = soup.find("link", rel="canonical")
    url = one_line(str(link.get("href") or "")) if link is not None else ""
    return url if url.startswith(("https://", "http://")) else ""


class _Walk:
    """One pass over a tree without recursion, so that depth cannot exhaust the stack."""

    def __init__(self, builder: PageBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []
        self._lists = 0
        self._pre = 0

    def run(self, root: Tag) -> None:
        from bs4.element import NavigableString, PreformattedString, Tag

        pending: list[tuple[object, bool]] = [(root, False)]
        while pending:
            node, closing = pending.pop()
            if isinstance(node, Tag):
                if closing:
                    self._close(node.name)
                elif node.name in _DROPPED or node.has_attr("hidden") or node.get("aria-hidden") == "true":
                    continue
                elif node.name in _HEADINGS or node.name == "tr":
                    self._flush()
                    self._whole(node)
                else:
                    self._open(node.name)
                    pending.append((node, True))
                    pending.extend((child, False) for child in reversed(node.contents))
            elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
                self._inline.append(str(node))
        self._flush()

    def _whole(self, node: Tag) -> None:
        if node.name == "tr":
            cells = [_visible_text(cell) for cell in node.find_all(["td", "th"], recursive=False)]
            # Rows of layout tables hold whole articles: one cell is a paragraph, not a row.
            kind = BlockKind.TABLE_ROW if len(cells) > 1 else BlockKind.TEXT
            self._builder.add(kind, " | ".join(cells) if any(cells) else "")
        else:
            self._builder.add(BlockKind.HEADING, _visible_text(node), level=int(node.name[1]))

    def _open(self, name: str) -> None:
        if name in _BLOCKS:
            self._flush()
            self._lists += name in ("li", "dd", "dt")
            self._pre += name == "pre"
        elif name == "br":
            self._inline.append("\n")

    def _close(self, name: str) -> None:
        if name in _BLOCKS:
            self._flush()
            self._lists -= name in ("li", "dd", "dt")
            self._pre -= name == "pre"

    def _flush(self) -> None:
        text = "".join(self._inline)
        self._inline.clear()
        if not self._pre:
            text = " ".join(text.split())
        self._builder.add(BlockKind.LIST_ITEM if self._lists else BlockKind.TEXT, text)


def _visible_text(node: Tag) -> str:
    from bs4.element import PreformattedString

    parts = []
    for text in node.find_all(string=True):
        if not isinstance(text, PreformattedString) and not any(parent.name in _DROPPED for parent in text.parents):
            parts.append(str(text))
    return one_line("".join(parts))
