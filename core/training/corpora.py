"""Texts to pre-train on: the articles of domains and text fields of files, parted by document. Knows no tokenizer and no model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from core.documents.language import detect_language
from core.documents.markdown import read as read_markdown
from core.documents.parsed import Limits
from core.errors import UsageError
from core.registry import Domain
from core.text import terms
from core.training.pairs import data_file, read_rows
from core.types import Frozen, Language

SHINGLE = 8
"""Words in a row by which two texts are seen to be copies of each other."""
COPIED = 0.5
"""Share of a held-out text's shingles that occur in the training texts from which on it counts as a copy and is left out."""


class CorpusData(Frozen):
    """Where texts come from: the articles of the domains, a field of a file's rows, or a whole ``.txt`` file."""

    articles: bool = False
    file: str = ""
    text: str = "text"
    document: str = "id"
    """Field that names the document that a row belongs to."""
    limit: int = Field(default=0, ge=0)
    """At most so many documents, drawn at random; 0: all."""
    license: str = ""
    attribution: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> CorpusData:
        if self.articles == bool(self.file):
            raise ValueError("name a file, or say `articles = true`")
        return self

    @property
    def name(self) -> str:
        """What a report calls it."""
        return "articles" if self.articles else Path(self.file).name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class CorpusText:
    """A text and the document it belongs to; an article's languages are one document."""

    document: str
    text: str
    lang: Language


@dataclass(frozen=True, kw_only=True)
class CorpusSplit:
    """Texts to learn from and texts held out, of different documents."""

    train: tuple[CorpusText, ...]
    held_out: tuple[CorpusText, ...]
    copies: int
    """Held-out texts left out because the training texts hold them too."""


@dataclass(frozen=True, kw_only=True)
class CorpusParts:
    """Texts to learn from, those that a checkpoint is chosen by, and those that the result is measured on, of different documents."""

    train: tuple[CorpusText, ...]
    valid: tuple[CorpusText, ...]
    test: tuple[CorpusText, ...]


def corpus_texts(entry: CorpusData, *, domains: Sequence[Domain], data: Path, seed: int) -> list[CorpusText]:
    """Return an entry's texts.

    Args:
        entry: which.
        domains: whose articles.
        data: folder of the files that entries name.
        seed: draws the documents that a limit leaves.

    Raises:
        UsageError: a file is missing, cannot be read, has no such field, or holds nothing.
    """
    found = [text for domain in domains for text in _articles(domain)] if entry.articles else _rows(entry, data)
    if not found:
        raise UsageError(f"{entry.name}: holds no text to train on")
    documents = sorted({text.document for text in found})
    if entry.limit and len(documents) > entry.limit:
        kept = set(random.Random(seed).sample(documents, entry.limit))
        found = [text for text in found if text.document in kept]
    return found


def _articles(domain: Domain) -> list[CorpusText]:
    found = []
    folder = domain.folder / domain.manifest.paths.corpus
    for lang in domain.manifest.languages:
        for path in sorted((folder / lang).glob("*.md")):
            parsed = read_markdown(path, Limits())
            found.append(CorpusText(document=f"{domain.name}/{path.stem}", text="\n\n".join([parsed.title, *(page.text for page in parsed.pages)]), lang=lang))
    return found


def _rows(entry: CorpusData, data: Path) -> list[CorpusText]:
    path = data_file(data, entry.file)
    if path.suffix == ".txt":
        try:
            text = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path.name}: cannot be read ({error}); save it as UTF-8") from error
        return [_row_text(entry, path.stem, text)] if text else []
    found = []
    for number, row in enumerate(read_rows(path), start=1):
        if entry.text not in row:
            raise UsageError(f"{path.name}:{number}: has no field '{entry.text}'; it has {', '.join(map(str, list(row)[:12]))}")
        text = str(row[entry.text] or "").strip()
        if text:
            found.append(_row_text(entry, str(row.get(entry.document) or number), text))
    return found


def _row_text(entry: CorpusData, document: str, text: str) -> CorpusText:
    return CorpusText(document=f"{entry.name}/{document}", text=text, lang=detect_language(text[:2_000]))


def split_texts(texts: Sequence[CorpusText], *, share: float, seed: int, left: int = 1) -> CorpusSplit:
    """Hold out a share of the documents; a held-out text that the training texts hold too, word for word, is left out.

    Args:
        texts: all of them.
        share: of the documents to hold out, at least one.
        seed: draws the documents.
        left: documents that stay at least.

    Raises:
        UsageError: fewer than ``left`` + 1 documents.
    """
    documents = sorted({text.document for text in texts}, key=lambda name: (_draw(name, seed), name))
    if len(documents) <= left:
        raise UsageError("pre-training needs at least three documents: to learn from, to choose a checkpoint by, and to measure on")
    drawn = sum(_draw(name, seed) < share for name in documents)
    held = set(documents[: min(max(1, drawn), len(documents) - left)])
    train = [text for text in texts if text.document not in held]
    asked = [(text, _shingles(text.text)) for text in texts if text.document in held]
    wanted = set[int]().union(*(mine for _, mine in asked))
    known = {shingle for text in train for shingle in _shingles(text.text) if shingle in wanted}
    kept = [text for text, mine in asked if not mine or len(mine & known) < COPIED * len(mine)]
    if not kept:
        raise UsageError("every held-out text is a copy of a training text; add documents or another seed")
    return CorpusSplit(train=tuple(train), held_out=tuple(kept), copies=len(asked) - len(kept))


def part_texts(texts: Sequence[CorpusText], *, test: float, valid: float, seed: int) -> CorpusParts:
    """Part texts by document: first those to measure on, then of the rest those to choose by; copies are left out as in :func:`split_texts`.

    Args:
        texts: all of them.
        test: share of the documents that the result is measured on.
        valid: share of the other documents that a checkpoint is chosen by.
        seed: draws the documents.

    Raises:
        UsageError: fewer than three documents, or nothing but copies to hold out.
    """
    measured = split_texts(texts, share=test, seed=seed, left=2)
    chosen = split_texts(measured.train, share=valid, seed=seed + 1)  # by the same draw none of the rest would be below the share
    return CorpusParts(train=chosen.train, valid=chosen.held_out, test=measured.held_out)


def _draw(name: str, seed: int) -> float:
    """Return a number in [0, 1) that follows from a document's name alone, so that more documents move none from one part to the other."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]) / 2**64


def _shingles(text: str) -> set[int]:
    words = terms(text)
    return {hash(tuple(words[at : at + SHINGLE])) for at in range(0, len(words) - SHINGLE + 1)}
