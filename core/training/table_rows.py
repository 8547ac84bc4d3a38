"""Questions made from the rows of tables in page text: "What was 3M's net income in 2015?" beside the part of the page that holds the row.

A filing's page says neither whose it is nor which year's filing; a library shows that in a passage's title, and so do the texts made here. Knows no set.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from core.errors import UsageError
from core.training.pairs import Pair
from core.types import Frozen

_ROW = re.compile(r"(?P<label>[A-Z][A-Za-z,'’&/()\- ]{6,80}?)[\s.:$]*\(?\$?\s?\d[\d,.]*\)?%?\s+[$(]*\s*\(?\d[\d,.]*\)?%?")
"""A label and at least two figures, as tables of filings come out of a PDF."""
_DATED = re.compile(
    r"January|February|March|April|\bMay\b|June|July|August|September|October|November|December|[Ff]iscal|[Yy]ears?\b|[Qq]uarter|Balance (?:at|as of)|^(?:Total|Other)$"
)
"""Labels that name a date or nothing in particular."""
_KEY = re.compile(r"[a-z]+")


class RowRule(Frozen):
    """How the page texts of one file become pairs."""

    name: str
    file: str
    document: str
    """Field that names a page's document."""
    text: str
    """Field that holds the page's text."""
    pattern: str
    """Of a document's name, with ``{company}``, ``{year}`` and ``{form}`` for parts without an underscore; others are left out."""
    question: str
    """With ``{company}``, ``{year}`` and ``{label}``."""
    title: str
    """First line of a text, likewise."""
    chars: int = Field(default=900, ge=200, le=10_000)
    """About how long a text is; pages are cut at ends of lines."""
    least_rows: int = Field(default=3, ge=1)
    """Parts of pages with fewer rows are left out."""
    per_document: int = Field(default=14, ge=1)
    """Questions of one document, drawn at random."""
    most_texts: int = Field(default=4, ge=1)
    """A row that occurs in more parts of its document asks nothing in particular."""

    @field_validator("pattern")
    @classmethod
    def _parts(cls, value: str) -> str:
        if sorted(_KEY.findall("".join(re.findall(r"\{[a-z]+\}", value)))) != ["company", "form", "year"]:
            raise ValueError("names {company}, {year} and {form} once each")
        return value


@dataclass(frozen=True, kw_only=True)
class _Part:
    text: str
    labels: tuple[str, ...]


def row_pairs(rule: RowRule, rows: Iterable[Mapping[str, Any]], *, seed: int = 0) -> list[Pair]:
    """Return pairs of a question about a table's row and each part of the document that holds the row; an entity is a company.

    Raises:
        UsageError: a row lacks a field that the rule names.
    """
    pages: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        if rule.document not in row or rule.text not in row:
            raise UsageError(f"{rule.file}:{number}: has no field '{rule.document}' or '{rule.text}'; it has {', '.join(map(str, list(row)[:12]))}")
        pages[str(row[rule.document])].append(str(row[rule.text]))
    shape = re.compile("(?P<company>[^_]+)".join(_escaped(rule.pattern)))
    found = []
    for document, texts in pages.items():
        match = shape.fullmatch(document)
        if match is not None:
            found += _document_pairs(rule, document, match.groupdict(), [part for text in texts for part in _parts_of(text, rule)], seed=seed)
    return found


def _escaped(pattern: str) -> list[str]:
    """Return the pattern around ``{company}`` as a regular expression."""
    escaped = re.escape(pattern).replace(r"\{year\}", r"(?P<year>\d{4})").replace(r"\{form\}", r"(?P<form>[^_]+)")
    return escaped.split(r"\{company\}")


def _document_pairs(rule: RowRule, document: str, names: Mapping[str, str], parts: Sequence[_Part], *, seed: int) -> list[Pair]:
    company = names["company"] if len(names["company"]) <= 3 else names["company"].title()
    holders: dict[str, list[int]] = defaultdict(list)
    for place, part in enumerate(parts):
        for label in dict.fromkeys(part.labels):
            holders[label].append(place)
    telling = sorted(label for label, places in holders.items() if len(places) <= rule.most_texts)
    chosen = random.Random(f"{seed}:{document}").sample(telling, min(rule.per_document, len(telling)))
    title = rule.title.format(company=company, year=names["year"], form=names["form"])
    return [
        Pair(
            id=f"{rule.name}:{document}:{place}", question=rule.question.format(company=company, year=names["year"], label=_lowered(label)),
            text=f"{title}\n{parts[place].text}", entity=f"{rule.name}:{company}",
        )
        for label in chosen for place in holders[label]
    ]  # fmt: skip


def _lowered(label: str) -> str:
    """Return a label as it stands within a sentence: capitals stay where a word is written in them, as in EBITDA."""
    return label if label[1:2].isupper() else label[0].lower() + label[1:]


def _parts_of(text: str, rule: RowRule) -> list[_Part]:
    parts, lines, length = [], [], 0  # type: list[_Part], list[str], int
    for line in [*text.split("\n"), None]:
        if line is None or (lines and length + len(line) > rule.chars):
            labels = tuple(
                match["label"].strip(" ,-(") for one in lines if (match := _ROW.match(one.strip())) is not None and not _DATED.search(match["label"])
            )
            if len(labels) >= rule.least_rows:
                parts.append(_Part(text="\n".join(lines).strip(), labels=labels))
            lines, length = [], 0
        if line is not None:
            lines.append(line)
            length += len(line) + 1
    return parts
