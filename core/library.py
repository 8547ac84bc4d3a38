"""A domain's library: one SQLite file that is the only truth about documents, passages, vectors and index generations.

One writer at a time (a lock file), any number of readers. Knows nothing of how texts are parsed, encoded or ranked.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.encoder import PassageVectors
from core.errors import LibraryError, UsageError
from core.text import terms
from core.types import Document, Language, Passage, Span

P = ParamSpec("P")
R = TypeVar("R")
SCHEMA_VERSION = 3
KEYWORD_WEIGHTS = (1.5, 1.0)
"""BM25 weights of heading (title, section, aliases) and body."""
_SCHEMA = """
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
    """What ranking needs of a passage: its vector (d,) float32, its index terms, and their number."""

    row: int
    words: int
    vector: NDArray[np.float32]
    heading: list[str]
    body: list[str]


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


def _reading(method: Callable[Concatenate[Library, P], R]) -> Callable[Concatenate[Library, P], R]:
    """Turn what a damaged file makes SQLite, numpy or pydantic raise into one line that says what to do."""

    @functools.wraps(method)
    def read(self: Library, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise LibraryError(f"library '{self.folder.name}' cannot be read ({reason}); move its folder away and build it again") from error

    return read


class Library:
    """Access to one library folder. Safe to share between threads: each gets its own connection.

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

    # -- connections ---------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
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
                connection.executescript(_SCHEMA)
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

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the library's write lock; a second writer, in any process, is refused at once.

        Raises:
            LibraryError: another process is writing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "write.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LibraryError(f"library '{self.folder.name}' is being written by another process; wait until it is done") from error
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            connection.rollback()
            raise LibraryError(f"library '{self.folder.name}': {error}; nothing of this batch was stored, check free disk space and try again") from error
        except sqlite3.IntegrityError:
            connection.rollback()
            raise
        except sqlite3.DatabaseError as error:
            connection.rollback()
            raise LibraryError(f"library '{self.folder.name}' cannot be written ({error}); move its folder away and build it again") from error
        except BaseException:
            connection.rollback()
            raise

    # -- writing -------------------------------------------------------------------------------------------------

    def add(self, batch: Sequence[tuple[Document, Sequence[Passage], Sequence[PassageVectors]]]) -> None:
        """Store documents with their passages and vectors in one transaction; an older version of the same document goes.

        A version is older when scope, source and external id are equal and the content hash is not.
        """
        with self._transaction() as connection:
            self._claim_encoder(connection)
            for document, passages, vectors in batch:
                older = connection.execute(
                    "SELECT id FROM documents WHERE scope=? AND source=? AND external_id=? AND lang=? AND id<>?",
                    (document.scope, document.source, document.external_id, document.lang, document.id),
                ).fetchall()
                for row in [*older, {"id": document.id}]:
                    self._erase(connection, row["id"])
                self._insert(connection, document, passages, vectors)
            self._bump(connection)

    def _claim_encoder(self, connection: sqlite3.Connection) -> None:
        stored = connection.execute("SELECT value FROM meta WHERE key='encoder'").fetchone()
        if stored is None:
            connection.execute("INSERT INTO meta VALUES('encoder', ?)", (self._encoder_id,))
        elif stored["value"] != self._encoder_id:
            raise LibraryError(
                f"library '{self.folder.name}' was built with encoder {stored['value']}, not {self._encoder_id}; run `domainkit reindex {self.folder.name}`"
            )

    def _insert(self, connection: sqlite3.Connection, document: Document, passages: Sequence[Passage], vectors: Sequence[PassageVectors]) -> None:
        connection.execute(
            "INSERT INTO documents VALUES(?,?,?,?,?,?,?,?,?,?,?,NULL)",
            (
                document.id, document.external_id, document.title, document.source, document.url, document.lang, document.scope, document.context,
                json.dumps(document.aliases, ensure_ascii=False), document.file_sha256, time.time(),
            ),
        )  # fmt: skip
        connection.executemany("INSERT INTO pages VALUES(?,?,?,?)", [(document.id, n, page.number, page.text) for n, page in enumerate(document.pages)])
        aliases = " ".join(document.aliases)
        for passage, vector in zip(passages, vectors, strict=True):
            spans = np.array([(s.start, s.end) for s in passage.sentences], dtype="<i4")
            heading, body = terms(f"{passage.heading} {aliases}"), terms(passage.text)
            row = connection.execute(
                "INSERT INTO passages(id, document_id, page, start, end, heading, lang, text, words, spans, vector, sentence_vectors) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    passage.id, passage.document_id, passage.page, passage.start, passage.end, passage.heading, passage.lang, passage.text,
                    len(heading) + len(body), spans.tobytes(), vector.passage.astype("<f2").tobytes(), vector.sentences.astype("<f2").tobytes(),
                ),
            ).lastrowid  # fmt: skip
            connection.execute("INSERT INTO keyword(rowid, heading, body) VALUES(?,?,?)", (row, " ".join(heading), " ".join(body)))

    @staticmethod
    def _erase(connection: sqlite3.Connection, document_id: str) -> None:
        rows = [row["row"] for row in connection.execute("SELECT row FROM passages WHERE document_id=?", (document_id,))]
        connection.executemany("DELETE FROM keyword WHERE rowid=?", [(row,) for row in rows])
        connection.execute("DELETE FROM passages WHERE document_id=?", (document_id,))
        connection.execute("DELETE FROM pages WHERE document_id=?", (document_id,))
        connection.execute("DELETE FROM documents WHERE id=?", (document_id,))

    @staticmethod
    def _bump(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES('revision','1') ON CONFLICT(key) DO UPDATE SET value=CAST(value AS INTEGER)+1")

    def finish_file(self, *, scope: str, source: str, sha256: str) -> int:
        """Mark a file as wholly ingested and erase what its earlier version held and this one does not.

        Returns:
            The number of documents erased.
        """
        with self._transaction() as connection:
            stale = connection.execute("SELECT id FROM documents WHERE scope=? AND source=? AND file_sha256<>?", (scope, source, sha256)).fetchall()
            for row in stale:
                self._erase(connection, row["id"])
            if stale:
                self._bump(connection)
            connection.execute("INSERT OR REPLACE INTO files VALUES(?,?,?,?)", (scope, source, sha256, time.time()))
        return len(stale)

    def refresh_file_hash(self, document_ids: Iterable[str], sha256: str) -> None:
        """Note that unchanged documents also stand in the new version of their file, so that it is not erased with the old."""
        with self._transaction() as connection:
            connection.executemany("UPDATE documents SET file_sha256=? WHERE id=?", [(sha256, document_id) for document_id in document_ids])

    def forget_files(self, *, scope: str, keep: Iterable[str]) -> list[str]:
        """Erase the documents of a scope whose source is not in ``keep``; returns the sources erased."""
        wanted = set(keep)
        with self._transaction() as connection:
            rows = connection.execute("SELECT id, source FROM documents WHERE scope=?", (scope,)).fetchall()
            gone = [row for row in rows if row["source"] not in wanted]
            for row in gone:
                self._erase(connection, row["id"])
                connection.execute("DELETE FROM files WHERE scope=? AND source=?", (scope, row["source"]))
            if gone:
                self._bump(connection)
        return sorted({row["source"] for row in gone})

    def remove(self, document_ids: Iterable[str]) -> list[str]:
        """Hide documents from every search at once; :meth:`restore` undoes it until :meth:`purge`.

        Returns:
            The ids that were live before.
        """
        return self._set_removed(document_ids, time.time(), "removed_at IS NULL")

    def restore(self, document_ids: Iterable[str]) -> list[str]:
        """Undo :meth:`remove`; returns the ids brought back."""
        return self._set_removed(document_ids, None, "removed_at IS NOT NULL")

    def _set_removed(self, document_ids: Iterable[str], value: float | None, where: str) -> list[str]:
        changed = []
        with self._transaction() as connection:
            for document_id in document_ids:
                cursor = connection.execute(f"UPDATE documents SET removed_at=? WHERE id=? AND {where}", (value, document_id))
                if cursor.rowcount:
                    changed.append(document_id)
                    # A removed document's file may be added again: forget that it was complete.
                    connection.execute("DELETE FROM files WHERE (scope, source) IN (SELECT scope, source FROM documents WHERE id=?)", (document_id,))
            if changed:
                self._bump(connection)
        return changed

    def purge(self) -> int:
        """Erase removed documents for good (the freed pages are overwritten); returns how many."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT id FROM documents WHERE removed_at IS NOT NULL").fetchall()
            for row in rows:
                self._erase(connection, row["id"])
            if rows:
                self._bump(connection)
        return len(rows)

    def publish(self, build: Any) -> Generation:
        """Publish an index generation of the current revision: write, fsync, rename, fsync the folder, then the pointer.

        Args:
            build: called with ``(ids (n,) int64, vectors (n, d) float32)``, returns the index as bytes.

        Returns:
            The new generation, or the present one when nothing changed since.
        """
        current = self.generation()
        revision = self.revision()
        if current is not None and current.revision == revision and (self.folder / "generations" / current.file).is_file():
            return current
        ids, vectors = self.vectors()
        data: bytes = build(ids, vectors)
        digest = hashlib.sha256(data).hexdigest()
        folder = self.folder / "generations"
        folder.mkdir(exist_ok=True)
        name = f"{revision}-{digest[:16]}.index"
        temporary = folder / f".{name}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / name)
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LibraryError(f"library '{self.folder.name}': cannot write the index ({error.strerror}); the old one still serves") from error
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO generations(revision, file, sha256, passages, created_at) VALUES(?,?,?,?,?)", (revision, name, digest, len(ids), time.time())
            )
        published = self.generation()
        assert published is not None
        self._sweep(published)
        return published

    def _sweep(self, keep: Generation) -> None:
        """Delete generation files that are neither the newest nor the one before it (a reader may still be opening that)."""
        recent = {row["file"] for row in self._connect().execute("SELECT file FROM generations ORDER BY number DESC LIMIT 2")}
        for path in (self.folder / "generations").glob("*.index"):
            if path.name not in recent and path.name != keep.file:
                path.unlink(missing_ok=True)

    def set_questions(self, questions: Sequence[StoredQuestion], *, sha256: str, banks: Mapping[Language, Mapping[str, bytes]] | None = None) -> None:
        """Replace the question bank.

        Args:
            questions: what the bank holds.
            sha256: identifies what it was made from.
            banks: the same questions as :func:`core.questions.pack` makes them, by language: what searching reads.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM questions")
            connection.execute("DELETE FROM banks")
            for lang, parts in (banks or {}).items():
                connection.executemany("INSERT INTO banks VALUES(?,?,?)", [(lang, part, data) for part, data in parts.items()])
            connection.executemany(
                "INSERT INTO questions(origin, lang, text, words, passages, vector) VALUES(?,?,?,?,?,?)",
                [(q.origin, q.lang, q.text, " ".join(q.words), json.dumps(q.passages), q.vector.astype("<f2").tobytes()) for q in questions],
            )
            self._bump(connection)
            connection.execute("INSERT OR REPLACE INTO meta VALUES('questions', ?)", (sha256,))

    # -- reading -------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether anything was ever stored here."""
        return self.path.is_file()

    @_reading
    def revision(self) -> int:
        """Return the data revision: it grows with every committed change."""
        row = self._connect().execute("SELECT value FROM meta WHERE key='revision'").fetchone()
        return int(row["value"]) if row else 0

    @_reading
    def encoder(self) -> str:
        """Return the id of the encoder whose vectors are stored, empty when there are none."""
        row = self._connect().execute("SELECT value FROM meta WHERE key='encoder'").fetchone()
        return str(row["value"]) if row else ""

    @_reading
    def generation(self) -> Generation | None:
        """Return the newest published generation."""
        row = self._connect().execute("SELECT number, revision, file, sha256, passages FROM generations ORDER BY number DESC LIMIT 1").fetchone()
        return Generation(**dict(row)) if row else None

    @_reading
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
            for row in self._connect().execute("SELECT origin, lang, text, words, passages, vector FROM questions WHERE lang=? ORDER BY number", (lang,))
        ]
        if not all(np.isfinite(question.vector).all() for question in found):
            raise ValueError("a vector of the question bank is not finite")
        return found

    @_reading
    def question_bank(self, lang: Language) -> dict[str, bytes]:
        """Return the parts of the question bank in one language, empty where there is none."""
        return {row["part"]: row["data"] for row in self._connect().execute("SELECT part, data FROM banks WHERE lang=?", (lang,))}

    @_reading
    def question_count(self) -> int:
        """Return how many questions the bank holds, in all languages."""
        return int(self._connect().execute("SELECT COUNT(*) FROM questions").fetchone()[0])

    @_reading
    def questions_sha256(self) -> str:
        """Return what the question bank was made from, empty when there is none."""
        row = self._connect().execute("SELECT value FROM meta WHERE key='questions'").fetchone()
        return str(row["value"]) if row else ""

    @_reading
    def places_of(self, *, external_id: str, lang: Language, quote: str) -> list[tuple[int, int, int]]:
        """Return (row, first sentence, last sentence) wherever a document's live passages hold a quote, whitespace aside."""
        wanted = "".join(quote.split())
        found = self._connect().execute(
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

    @_reading
    def file_sha256(self, *, scope: str, source: str) -> str | None:
        """Return the hash of the last wholly ingested version of a file, None when there is none."""
        row = self._connect().execute("SELECT sha256 FROM files WHERE scope=? AND source=?", (scope, source)).fetchone()
        return str(row["sha256"]) if row else None

    @_reading
    def has(self, document_id: str) -> bool:
        """Whether a live document of this id is stored."""
        return self._connect().execute("SELECT 1 FROM documents WHERE id=? AND removed_at IS NULL", (document_id,)).fetchone() is not None

    @_reading
    def counts(self) -> tuple[int, int]:
        """Return the numbers of live documents and passages."""
        row = (
            self._connect()
            .execute(
                "SELECT COUNT(DISTINCT d.id) AS documents, COUNT(p.row) AS passages FROM documents d LEFT JOIN passages p ON p.document_id=d.id WHERE removed_at IS NULL"
            )
            .fetchone()
        )
        return int(row["documents"]), int(row["passages"])

    @_reading
    def documents(self, *, removed: bool = False, scope: str | None = None) -> list[DocumentRow]:
        """List live (or removed) documents by title."""
        rows = self._connect().execute(
            "SELECT d.id, external_id, title, source, url, d.lang, scope, added_at, removed_at, COUNT(p.row) AS passages FROM documents d "
            "LEFT JOIN passages p ON p.document_id=d.id WHERE (removed_at IS NOT NULL)=? AND (? IS NULL OR scope=?) GROUP BY d.id ORDER BY title, d.lang",
            (removed, scope, scope),
        )
        return [DocumentRow(**dict(row)) for row in rows]

    @_reading
    def corpus_sha256(self) -> str:
        """Return a hash over the ids of all live documents: what a calibration or an eval run is valid for."""
        rows = self._connect().execute("SELECT id FROM documents WHERE removed_at IS NULL ORDER BY id")
        return hashlib.sha256("\0".join(row["id"] for row in rows).encode()).hexdigest()

    @_reading
    def passages_sha256(self) -> str:
        """Return a hash over the rows and ids of all live passages: what a question bank, which points at rows, is valid for."""
        rows = self._connect().execute("SELECT row, p.id FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row")
        return hashlib.sha256("\0".join(f"{row['row']} {row['id']}" for row in rows).encode()).hexdigest()

    @_reading
    def find(self, reference: str) -> list[str]:
        """Return ids of documents (live or removed) called ``reference``: an id, a unique prefix of one (8+), an external id, or a source.

        Raises:
            UsageError: nothing is called so.
        """
        connection = self._connect()
        rows = connection.execute("SELECT id FROM documents WHERE id=? OR external_id=? OR source=?", (reference, reference, reference)).fetchall()
        if not rows and len(reference) >= 8 and reference.isalnum():
            rows = connection.execute("SELECT id FROM documents WHERE id GLOB ?", (reference + "*",)).fetchall()
            rows = rows if len(rows) == 1 else []
        if not rows:
            raise UsageError(
                f"no document '{reference[:80]}' in library '{self.folder.name}'; list them with `domainkit status {self.folder.name} --documents`"
            )
        return [row["id"] for row in rows]

    @_reading
    def page_text(self, document_id: str, page: int | None) -> str:
        """Return the extracted text that a citation's offsets index.

        Raises:
            UsageError: no such document or page.
        """
        row = self._connect().execute("SELECT text FROM pages WHERE document_id=? AND number IS ? ORDER BY ordinal", (document_id, page)).fetchone()
        if row is None:
            raise UsageError(f"document {document_id[:12]}… has no page {page}")
        return str(row["text"])

    @_reading
    def passages_of(self, document_id: str) -> list[Passage]:
        """Return a document's passages in reading order."""
        rows = [row["row"] for row in self._connect().execute("SELECT row FROM passages WHERE document_id=? ORDER BY row", (document_id,))]
        found: list[Passage] = []
        for at in range(0, len(rows), 500):
            part = self.passages(rows[at : at + 500])
            found += [part[row][0].passage for row in rows[at : at + 500] if row in part]
        return found

    @_reading
    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return row numbers (n,) and vectors (n, d) of all live passages."""
        rows = (
            self._connect()
            .execute("SELECT row, vector FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row")
            .fetchall()
        )
        if not rows:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32)
        ids = np.array([row["row"] for row in rows], dtype=np.int64)
        return ids, np.frombuffer(b"".join(row["vector"] for row in rows), dtype="<f2").reshape(len(rows), -1).astype(np.float32)

    @_reading
    def rows_by_language(self) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of live passages per language, ascending."""
        rows = (
            self._connect()
            .execute("SELECT p.lang, row FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL ORDER BY row")
            .fetchall()
        )
        groups: dict[str, list[int]] = {}
        for row in rows:
            groups.setdefault(row["lang"], []).append(row["row"])
        return {lang: np.array(found, dtype=np.int64) for lang, found in groups.items()}

    @_reading
    def rows_in_scopes(self, scopes: Sequence[str]) -> NDArray[np.int64]:
        """Return the row numbers of live passages in the given scopes, ascending."""
        marks = ",".join("?" * len(scopes))
        rows = self._connect().execute(
            f"SELECT row FROM passages p JOIN documents d ON d.id=p.document_id WHERE removed_at IS NULL AND scope IN ({marks}) ORDER BY row", tuple(scopes)
        )
        return np.array([row["row"] for row in rows], dtype=np.int64)

    @_reading
    def keyword(self, match: str, *, limit: int) -> list[int]:
        """Return rows that match an FTS5 expression, best BM25 first; removed documents are not filtered out."""
        if not match:
            return []
        rows = self._connect().execute(
            f"SELECT rowid FROM keyword WHERE keyword MATCH ? AND rank MATCH 'bm25({KEYWORD_WEIGHTS[0]}, {KEYWORD_WEIGHTS[1]})' ORDER BY rank LIMIT ?",
            (match, limit),
        )
        return [row[0] for row in rows]

    @_reading
    def average_words(self) -> float:
        """Return the mean number of index terms per passage, heading included; 1 for an empty library."""
        row = self._connect().execute("SELECT AVG(words) FROM passages").fetchone()
        return float(row[0] or 1.0)

    @_reading
    def candidates(self, rows: Sequence[int]) -> list[Candidate]:
        """Return what ranking needs of the given rows, those of removed documents left out."""
        marks = ",".join("?" * len(rows))
        found = self._connect().execute(
            f"SELECT p.row, p.words, p.vector, k.heading, k.body FROM passages p JOIN documents d ON d.id=p.document_id JOIN keyword k ON k.rowid=p.row "
            f"WHERE p.row IN ({marks}) AND removed_at IS NULL",
            tuple(int(row) for row in rows),
        )
        return [
            Candidate(row=row[0], words=row[1], vector=np.frombuffer(row[2], dtype="<f2").astype(np.float32), heading=row[3].split(), body=row[4].split())
            for row in found
        ]

    @_reading
    def document_frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages and how many hold each word; cached per revision."""
        with self._idf_lock:
            revision = self.revision()
            if self._idf[0] != revision:
                self._idf = (revision, {})
            cached = self._idf[1]
            connection = self._connect()
            if "" not in cached:
                cached[""] = int(connection.execute("SELECT COUNT(*) FROM passages").fetchone()[0])
            for word in words:
                if word not in cached:
                    row = connection.execute("SELECT doc FROM vocabulary WHERE term=?", (word,)).fetchone()
                    cached[word] = int(row["doc"]) if row else 0
            return cached[""], {word: cached[word] for word in words}

    @_reading
    def passages(self, rows: Sequence[int]) -> dict[int, tuple[StoredPassage, NDArray[np.float32], NDArray[np.float32]]]:
        """Return live passages by row with their vector (d,) and sentence vectors (n, d)."""
        marks = ",".join("?" * len(rows))
        found = self._connect().execute(
            f"SELECT p.*, d.external_id, d.title, d.source, d.url FROM passages p JOIN documents d ON d.id=p.document_id WHERE row IN ({marks}) AND removed_at IS NULL",
            tuple(int(row) for row in rows),
        )
        result = {}
        for row in found:
            spans = np.frombuffer(row["spans"], dtype="<i4").reshape(-1, 2)
            vector = np.frombuffer(row["vector"], dtype="<f2").astype(np.float32)
            sentences = np.frombuffer(row["sentence_vectors"], dtype="<f2").reshape(-1, len(vector)).astype(np.float32)
            inside = all(row["start"] <= a < b <= row["end"] for a, b in spans) and len(row["text"]) == row["end"] - row["start"]
            if not inside or len(spans) != len(sentences) or not np.isfinite(sentences).all():
                raise ValueError(f"passage {row['row']} and its sentences do not agree")
            passage = Passage(
                id=row["id"], document_id=row["document_id"], page=row["page"], start=row["start"], end=row["end"], text=row["text"],
                heading=row["heading"], lang=row["lang"], sentences=tuple(Span(start=int(a), end=int(b)) for a, b in spans),
            )  # fmt: skip
            stored = StoredPassage(row=row["row"], passage=passage, external_id=row["external_id"], title=row["title"], source=row["source"], url=row["url"])
            result[row["row"]] = (stored, vector, sentences)
        return result
