"""Builds a page's text and its block spans together, so that every span indexes exactly its block. Knows no file format."""

from __future__ import annotations

import re
import unicodedata

from core.documents.parsed import OutputBudget
from core.types import Block, BlockKind, Page

_RUNS = frozenset({BlockKind.LIST_ITEM, BlockKind.TABLE_ROW})
# C0 and C1 controls but tab and newline, lone surrogates, soft hyphen, zero-width and bidirectional marks.
_REMOVED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_NEWLINES = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u2007\u202f]")
_TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
_MANY_BLANK_LINES = re.compile(r"\n{3,}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]|\r(?=\n)")
_OTHER_NEWLINES = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n")


def normalise(text: str) -> str:
    """Return ``text`` in NFC with plain spaces and line ends, without control characters and trailing white space."""
    text = _NEWLINES.sub("\n", text)
    text = _SPACES.sub(" ", _REMOVED.sub("", text))
    text = _MANY_BLANK_LINES.sub("\n\n", _TRAILING.sub("", text))
    return unicodedata.normalize("NFC", text).strip()


def one_line(text: str) -> str:
    """Return ``text`` normalised, with every run of white space as one space: for titles, cells and names."""
    return " ".join(normalise(text).split())


def clean_verbatim(text: str) -> str:
    """Blank out control characters one for one: every other character keeps its place and its offset."""
    return _OTHER_NEWLINES.sub("\n", _UNPRINTABLE.sub(" ", text))


class PageBuilder:
    """Collects the blocks of one page.

    Blocks stand apart by a blank line; neighbouring list items, and neighbouring table rows, by a line break.
    """

    def __init__(self, budget: OutputBudget) -> None:
        self._budget = budget
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        """Append one block; text that is empty once normalised adds nothing.

        Raises:
            DocumentError: the document's output limit is spent.
        """
        text = normalise(text) if kind in (BlockKind.TEXT, BlockKind.LIST_ITEM) else one_line(text)
        if not text:
            return
        gap = ""
        if self._blocks:
            gap = "\n" if kind in _RUNS and self._blocks[-1].kind is kind else "\n\n"
        self._budget.spend(gap + text)
        start = self._length + len(gap)
        self._length = start + len(text)
        self._parts += (gap, text)
        level = min(max(level, 1), 6) if kind is BlockKind.HEADING else 0
        self._blocks.append(Block(kind=kind, start=start, end=self._length, level=level))

    def build(self, *, number: int | None = None) -> Page:
        """Return the page."""
        return Page(number=number, text="".join(self._parts), blocks=tuple(self._blocks))


def verbatim_page(text: str, budget: OutputBudget, *, number: int | None = None) -> Page:
    """Return a page that keeps ``text`` as it is, character for character, with a text block per paragraph.

    Only control characters are blanked out, so offsets agree with the source's own text.

    Raises:
        DocumentError: the document's output limit is spent.
    """
    text = clean_verbatim(text)
    budget.spend(text)
    blocks: list[Block] = []
    at = 0
    while at <= len(text):
        gap = _PARAGRAPH_BREAK.search(text, at)
        edge = gap.start() if gap else len(text)
        start, end = at, edge
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if end > start:
            blocks.append(Block(kind=BlockKind.TEXT, start=start, end=end))
        if not gap:
            break
        at = gap.end()
    return Page(number=number, text=text, blocks=tuple(blocks))


def has_text(pages: tuple[Page, ...]) -> bool:
    """Say whether any page holds a block."""
    return any(page.blocks for page in pages)
