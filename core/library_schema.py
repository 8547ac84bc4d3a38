"""What a library's SQLite file holds: its tables, and the rows as frozen values. Opens no file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.types import Language, Passage, Span

SCHEMA_VERSION = 3
KEYWORD_WEIGHTS = (1.5, 1.0)
"""BM25 weights of heading (title, section, aliases) and body."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents(
  id TEXT PRIMARY KEY, external_id TEXT NOT NULL, title TEXT NOT NULL, source TEXT NOT NULL, url TEXT NOT NULL, lang TEXT NOT NULL,
  scope TEXT NOT NULL, context TEXT NOT NULL, aliases TEXT NOT NULL, file_sha256 TEXT NOT NULL, added_at REAL NOT NULL, removed_at REAL);
CREATE INDEX IF NOT EXISTS documents_by_source ON documents(scope, source, external_id);
CREATE INDEX IF NOT EXISTS documents_by_external_id ON documents(external_id);
CREATE TABLE IF NOT EXISTS pages(document_id TEXT NOT NULL, ordinal INTEGER NOT NULL, number INTEGER, text TEXT NOT NULL, PRIMARY KEY(document_id, ordinal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages(
  row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, document_id TEXT NOT NULL, page INTEGER, start INTEGER NOT NULL, end INTEGER NOT NULL,
  heading TEXT NOT NULL, lang TEXT NOT NULL, text TEXT NOT NULL, words INTEGER NOT NULL, spans BLOB NOT NULL, vector BLOB NOT NULL, sentence_vectors BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS passages_by_document ON passages(document_id);
CREATE VIRTUAL TABLE IF NOT EXISTS keyword USING fts5(heading, body, tokenize = "unicode61 remove_diacritics 0 tokenchars '.'");
CREATE VIRTUAL TABLE IF NOT EXISTS vocabulary USING fts5vocab(keyword, row);
CREATE TABLE IF NOT EXISTS files(scope TEXT NOT NULL, source TEXT NOT NULL, sha256 TEXT NOT NULL, added_at REAL NOT NULL, PRIMARY KEY(scope, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS questions(number INTEGER PRIMARY KEY, origin TEXT NOT NULL, lang TEXT NOT NULL, text TEXT NOT NULL, words TEXT NOT NULL, passages TEXT NOT NULL, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS banks(lang TEXT NOT NULL, part TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY(lang, part));
CREATE TABLE IF NOT EXISTS generations(number INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, passages INTEGER NOT NULL, created_at REAL NOT NULL);
"""


class Generation(BaseModel):
    """A published index generation: the file name under ``generations/``, its hash, and the data revision it covers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    revision: int
    file: str = Field(pattern=r"^\d+-[0-9a-f]{16}\.index$")
    sha256: str
    passages: int


class DocumentRow(BaseModel):
    """A document as listings show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    external_id: str
    title: str
    source: str
    url: str
    lang: Language
    scope: str
    added_at: float
    removed_at: float | None
    passages: int


class StoredPassage(BaseModel):
    """A passage with its row number and the fields of its document that a hit shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    passage: Passage
    external_id: str
    title: str
    source: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What ranking needs of a passage: its vector (d,) float32, its index terms with how often each occurs, and their number."""

    row: int
    words: int
    vector: NDArray[np.float32]
    heading: Mapping[str, int]
    body: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class StoredQuestion:
    """A question of the bank: its words, the sentences that answer it (none: nothing does) and its vector (d,), empty where
    its language is compared by words alone.
    """

    origin: str
    lang: Language
    text: str
    words: tuple[str, ...]
    passages: tuple[tuple[int, int, int], ...]
    """(row, first sentence, last sentence) of each place that answers."""
    vector: NDArray[np.float32]


def passage_of(row: sqlite3.Row) -> Passage:
    """Return the passage of a row; ValueError when its parts do not fit together."""
    spans = np.frombuffer(row["spans"], dtype="<i4").reshape(-1, 2)
    if not all(row["start"] <= a < b <= row["end"] for a, b in spans) or len(row["text"]) != row["end"] - row["start"]:
        raise ValueError(f"passage {row['row']} and its sentences do not agree")
    return Passage(
        id=row["id"], document_id=row["document_id"], page=row["page"], start=row["start"], end=row["end"], text=row["text"],
        heading=row["heading"], lang=row["lang"], sentences=tuple(Span(start=int(a), end=int(b)) for a, b in spans),
    )  # fmt: skip
