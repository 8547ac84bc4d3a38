"""Reads a domain's library: documents, passages, vectors, questions. Any number of readers, in any thread; changes nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import LibraryError, UsageError
from core.library_schema import KEYWORD_WEIGHTS, SCHEMA, SCHEMA_VERSION, Candidate, DocumentRow, Generation, StoredPassage, StoredQuestion, passage_of
from core.types import Document, Language, Page, Passage

P = ParamSpec("P")
R = TypeVar("R")


def reading(method: Callable[Concatenate[LibraryReader, P], R]) -> Callable[Concatenate[LibraryReader, P], R]:
    """Turn what a damaged file makes SQLite, numpy or pydantic raise into one line that says what to do."""

    @functools.wraps(method)
    def read(self: LibraryReader, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise LibraryError(f"library '{self.folder.name}' cannot be read ({reason}); move its folder away and build it again") from error

    return read


class LibraryReader:
    """Reads one library folder. Safe to share between threads: each gets its own connection.

    Args:
        folder: holds ``library.sqlite3``, the lock file and ``generations/``. Created on first write.
        encoder_id: identity of the base encoder; vectors of another encoder are refused.

    Raises:
        LibraryError: the file is damaged, of a newer version, or was built with another encoder.
    """

    def __init__(self, folder: Path, *, encoder_id: str = "") -> None:
        self.folder = folder
        self.path = folder / "library.sqlite3"
        self._encoder_id = encoder_id
        self._local = threading.local()
        self._idf: tuple[int, dict[str, int]] = (-1, {})
        self._idf_lock = threading.Lock()

    def connect(self) -> sqlite3.Connection:
        """Return this thread's connection; the tables are made where there is no file yet."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            return connection
        new = not self.path.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if new or version == 0:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(SCHEMA)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise LibraryError(
                    f"library '{self.folder.name}' was written by {'a newer' if version > SCHEMA_VERSION else 'an older'} version of domainkit; "
                    f"move libraries/{self.folder.name} out of DOMAINKIT_HOME and run `domainkit reindex {self.folder.name}`"
                )
        except sqlite3.DatabaseError as error:
            raise LibraryError(f"library '{self.folder.name}' cannot be read ({error}); move its folder away and build it again") from error
        self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def exists(self) -> bool:
        """Whether anything was ever stored here."""
        return self.path.is_file()

    @reading
    def revision(self) -> int:
        """Return the data revision: it grows with every committed change."""
        row = self.connect().execute("SELECT value FROM meta WHERE key='revision'").fetchone()
        return int(row["value"]) if row else 0

    @reading
    def encoder(self) -> str:
        """Return the id of the encoder whose vectors are stored, empty when there are none."""
        row = self.connect().execute("SELECT value FROM meta WHERE key='encoder'").fetchone()
        return str(row["value"]) if row else ""

    @reading
    def to_encode(self, *, after: int, limit: int) -> list[tuple[int, Passage, tuple[str, ...]]]:
        """Return up to ``limit`` passages behind row ``after`` as ``(row, passage, its document's aliases)``, removed ones too."""
        rows = self.connect().execute(
            "SELECT p.*, d.aliases FROM passages p JOIN documents d ON d.id = p.document_id WHERE p.row > ? ORDER BY p.row LIMIT ?", (after, limit)
        )
        return [(row["row"], passage_of(row), tuple(json.loads(row["aliases"]))) for row in rows]

    @reading
    def generation(self) -> Generation | None:
        """Return the newest published generation."""
        row = self.connect().execute("SELECT number, revision, file, sha256, passages FROM generations ORDER BY number DESC LIMIT 1").fetchone()
        return Generation(**dict(row)) if row else None

    @reading
    def questions(self, lang: Language) -> list[StoredQuestion]:
        """Return the question bank in one language."""
        found = [
            StoredQuestion(
                origin=row["origin"],
                lang=row["lang"],
                text=row["text"],
                words=tuple(row["words"].split()),
                passages=tuple((place[0], place[1], place[2]) for place in json.loads(row["passages"])),
                vector=np.frombuffer(row["vector"], dtype="<f2").astype(np.float32),
            )
            for row in self.connect().execute("SELECT origin, lang, text, words, passages, vector FROM questions WHERE lang=? ORDER BY number", (lang,))
        ]
        if not all(np.isfinite(question.vector).all() for question in found):
            raise ValueError("a vector of the question bank is not finite")
        return found

    @reading
    def question_bank(self, lang: Language) -> dict[str, bytes]:
        """Return the parts of the question bank in one language, empty where there is none."""
        return {row["part"]: row["data"] for row in self.connect().execute("SELECT part, data FROM banks WHERE lang=?", (lang,))}

    @reading
    def question_count(self) -> int:
        """Return how many questions the bank holds, in all languages."""
        return int(self.connect().execute("SELECT COUNT(*) FROM questions").fetchone()[0])

    @reading
    def questions_sha256(self) -> str:
        """Return what the question bank was made from, empty when there is none."""
        row = self.connect().execute("SELECT value FROM meta WHERE key='questions'").fetchone()
        return str(row["value"]) if row else ""

    @reading
    def places_of(self, *, external_id: str, lang: Language, quote: str) -> list[tuple[int, int, int]]:
        """Return (row, first sentence, last sentence) wherever a document's live passages hold a quote, whitespace aside."""
        wanted = "".join(quote.split())
        found = self.connect().execute(
            "SELECT row, p.start, text, spans FROM passages p JOIN documents d ON d.id=p.document_id "
            "WHERE removed_at IS NULL AND d.external_id=? AND d.lang=? ORDER BY row",
            (external_id, lang),
        )
        places = []
        for row in found:
            at = "".join(row["text"].split()).find(wanted)
            if at < 0:
                continue
            # Sentence ends in the coordinates of the text without white space.
            ends = np.cumsum(
                [len("".join(row["text"][a - row["start"] : b - row["start"]].split())) for a, b in np.frombuffer(row["spans"], "<i4").reshape(-1, 2)]
            )
            first, last = (int(np.searchsorted(ends, edge, side="right")) for edge in (at, at + len(wanted) - 1))
            places.append((row["row"], first, last))
        return places

    @reading
    def file_sha256(self, *, scope: str, source: str) -> str | None:
        """Return the hash of the last wholly ingested version of a file, None when there is none."""
        row = self.connect().execute("SELECT sha256 FROM files WHERE scope=? AND source=?", (scope, source)).fetchone()
        return str(row["sha256"]) if row else None

    @reading
    def has(self, document_id: str) -> bool:
        """Whether a live document of this id is stored."""
        return self.connect().execute("SELECT 1 FROM documents WHERE id=? AND removed_at IS NULL", (document_id,)).fetchone() is not None

    @reading
    def counts(self) -> tuple[int, int]:
        """Return the numbers of live documents and passages."""
        row = (
            self.connect()
            .execute(
                "SELECT COUNT(DISTINCT d.id) AS documents, COUNT(p.row) AS passages FROM documents d LEFT JOIN passages p ON p.document_id=d.id WHERE removed_at IS NULL"
            )
            .fetchone()
        )
        return int(row["documents"]), int(row["passages"])

    @reading
    def documents(self, *, removed: bool = False, scope: str | None = None) -> list[DocumentRow]:
        """List live (or removed) documents by title."""
        rows = self.connect().execute(
            "SELECT d.id, external_id, title, source, url, d.lang, scope, added_at, removed_at, COUNT(p.row) AS passages FROM documents d "
            "LEFT JOIN passages p ON p.document_id=d.id WHERE (removed_at IS NOT NULL)=? AND (? IS NULL OR scope=?) GROUP BY d.id ORDER BY title, d.lang",
            (removed, scope, scope),
        )
        return [DocumentRow(**dict(row)) for row in rows]

    @reading
    def corpus_sha256(self) -> str:
        """Return a hash over the ids of all live documents: what a calibration or an eval run is valid for."""
        rows = self.connect().execute("SELECT id FROM documents WHERE removed_at IS NULL ORDER BY id")
        return hashlib.sha256("\0".join(row["id"] for row in rows).encode()).hexdigest()

    @reading
    def passages_sha256(self) -> str:
        """Return a hash over the rows and ids of all live passages: what a question bank, which points at rows, is valid for."""
        rows = self.connect().execute("SELECT row, p.id FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row")
        return hashlib.sha256("\0".join(f"{row['row']} {row['id']}" for row in rows).encode()).hexdigest()

    @reading
    def find(self, reference: str) -> list[str]:
        """Return ids of documents (live or removed) called ``reference``: an id, a unique prefix of one (8+), an external id, or a source.

        Raises:
            UsageError: nothing is called so.
        """
        connection = self.connect()
        rows = connection.execute("SELECT id FROM documents WHERE id=? OR external_id=? OR source=?", (reference, reference, reference)).fetchall()
        if not rows and len(reference) >= 8 and reference.isalnum():
            rows = connection.execute("SELECT id FROM documents WHERE id GLOB ?", (reference + "*",)).fetchall()
            rows = rows if len(rows) == 1 else []
        if not rows:
            raise UsageError(
                f"no document '{reference[:80]}' in library '{self.folder.name}'; list them with `domainkit status {self.folder.name} --documents`"
            )
        return [row["id"] for row in rows]

    @reading
    def page_text(self, document_id: str, page: int | None) -> str:
        """Return the extracted text that a citation's offsets index.

        Raises:
            UsageError: no such document or page.
        """
        row = self.connect().execute("SELECT text FROM pages WHERE document_id=? AND number IS ? ORDER BY ordinal", (document_id, page)).fetchone()
        if row is None:
            raise UsageError(f"document {document_id[:12]}… has no page {page}")
        return str(row["text"])

    @reading
    def added_documents(self) -> list[str]:
        """Return the ids of live documents that people added, in the order in which their passages are stored."""
        rows = self.connect().execute(
            "SELECT d.id FROM documents d LEFT JOIN passages p ON p.document_id=d.id WHERE removed_at IS NULL AND scope<>'corpus' "
            "GROUP BY d.id ORDER BY MIN(p.row) IS NULL, MIN(p.row), d.id"
        )
        return [row["id"] for row in rows]

    @reading
    def document(self, document_id: str) -> Document:
        """Return a stored document with the text of its pages; the blocks that passages were cut from are not kept.

        Raises:
            UsageError: there is none of this id.
        """
        connection = self.connect()
        row = connection.execute("SELECT * FROM documents WHERE id=?", (document_id,)).fetchone()
        if row is None:
            raise UsageError(f"no document '{document_id[:80]}' in library '{self.folder.name}'")
        pages = connection.execute("SELECT number, text FROM pages WHERE document_id=? ORDER BY ordinal", (document_id,))
        return Document(
            id=row["id"], external_id=row["external_id"], title=row["title"], source=row["source"], lang=row["lang"],
            pages=tuple(Page(number=page["number"], text=page["text"], blocks=()) for page in pages),
            scope=row["scope"], url=row["url"], aliases=tuple(json.loads(row["aliases"])), context=row["context"], file_sha256=row["file_sha256"],
        )  # fmt: skip

    @reading
    def passages_of(self, document_id: str) -> list[Passage]:
        """Return a document's passages in reading order."""
        rows = [row["row"] for row in self.connect().execute("SELECT row FROM passages WHERE document_id=? ORDER BY row", (document_id,))]
        found: list[Passage] = []
        for at in range(0, len(rows), 500):
            part = self.passages(rows[at : at + 500])
            found += [part[row][0].passage for row in rows[at : at + 500] if row in part]
        return found

    @reading
    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return row numbers (n,) and vectors (n, d) of all live passages."""
        rows = (
            self.connect().execute("SELECT row, vector FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row").fetchall()
        )
        if not rows:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32)
        ids = np.array([row["row"] for row in rows], dtype=np.int64)
        return ids, np.frombuffer(b"".join(row["vector"] for row in rows), dtype="<f2").reshape(len(rows), -1).astype(np.float32)

    @reading
    def rows_by_language(self) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of live passages per language, ascending."""
        rows = (
            self.connect().execute("SELECT p.lang, row FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row").fetchall()
        )
        groups: dict[str, list[int]] = {}
        for row in rows:
            groups.setdefault(row["lang"], []).append(row["row"])
        return {lang: np.array(found, dtype=np.int64) for lang, found in groups.items()}

    @reading
    def rows_in_scopes(self, scopes: Sequence[str]) -> NDArray[np.int64]:
        """Return the row numbers of live passages in the given scopes, ascending."""
        marks = ",".join("?" * len(scopes))
        rows = self.connect().execute(
            f"SELECT row FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL AND scope IN ({marks}) ORDER BY row", tuple(scopes)
        )
        return np.array([row["row"] for row in rows], dtype=np.int64)

    @reading
    def keyword(self, match: str, *, limit: int) -> list[int]:
        """Return rows that match an FTS5 expression, best BM25 first; removed documents are not filtered out."""
        if not match:
            return []
        rows = self.connect().execute(
            f"SELECT rowid FROM keyword WHERE keyword MATCH ? AND rank MATCH 'bm25({KEYWORD_WEIGHTS[0]}, {KEYWORD_WEIGHTS[1]})' ORDER BY rank LIMIT ?",
            (match, limit),
        )
        return [row[0] for row in rows]

    @reading
    def average_words(self) -> float:
        """Return the mean number of index terms per passage, heading included; 1 for an empty library."""
        row = self.connect().execute("SELECT AVG(words) FROM passages").fetchone()
        return float(row[0] or 1.0)

    @reading
    def candidates(self, rows: Sequence[int]) -> list[Candidate]:
        """Return what ranking needs of the given rows, those of removed documents left out."""
        marks = ",".join("?" * len(rows))
        found = self.connect().execute(
            f"SELECT p.row, p.words, p.vector, k.heading, k.body FROM passages p JOIN documents d ON d.id=p.document_id JOIN keyword k ON k.rowid=p.row "
            f"WHERE p.row IN ({marks}) AND removed_at IS NULL",
            tuple(int(row) for row in rows),
        )
        return [
            Candidate(
                row=row[0],
                words=row[1],
                vector=np.frombuffer(row[2], dtype="<f2").astype(np.float32),
                heading=Counter(row[3].split()),
                body=Counter(row[4].split()),
            )
            for row in found
        ]

    @reading
    def document_frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages and how many hold each word; cached per revision."""
        with self._idf_lock:
            revision = self.revision()
            if self._idf[0] != revision:
                self._idf = (revision, {})
            cached = self._idf[1]
            connection = self.connect()
            if "" not in cached:
                cached[""] = int(connection.execute("SELECT COUNT(*) FROM passages").fetchone()[0])
            for word in words:
                if word not in cached:
                    row = connection.execute("SELECT doc FROM vocabulary WHERE term=?", (word,)).fetchone()
                    cached[word] = int(row["doc"]) if row else 0
            return cached[""], {word: cached[word] for word in words}

    @reading
    def passages(self, rows: Sequence[int]) -> dict[int, tuple[StoredPassage, NDArray[np.float32], NDArray[np.float32]]]:
        """Return live passages by row with their vector (d,) and sentence vectors (n, d)."""
        marks = ",".join("?" * len(rows))
        found = self.connect().execute(
            f"SELECT p.*, d.external_id, d.title, d.source, d.url FROM passages p JOIN documents d ON d.id=p.document_id WHERE row IN ({marks}) AND removed_at IS NULL",
            tuple(int(row) for row in rows),
        )
        result = {}
        for row in found:
            passage = passage_of(row)
            vector = np.frombuffer(row["vector"], dtype="<f2").astype(np.float32)
            sentences = np.frombuffer(row["sentence_vectors"], dtype="<f2").reshape(-1, len(vector)).astype(np.float32)
            if len(passage.sentences) != len(sentences) or not np.isfinite(sentences).all():
                raise ValueError(f"passage {row['row']} and its sentences do not agree")
            stored = StoredPassage(row=row["row"], passage=passage, external_id=row["external_id"], title=row["title"], source=row["source"], url=row["url"])
            result[row["row"]] = (stored, vector, sentences)
        return result
