"""A domain's library: one SQLite file that is the only truth about documents, passages, vectors and index generations.

One writer at a time (a lock file), any number of readers. Knows nothing of how texts are parsed, encoded or ranked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.encoder import PassageVectors
from core.errors import LibraryError
from core.library_reading import LibraryReader
from core.library_schema import Generation, StoredQuestion
from core.text import terms
from core.types import Document, Language, Passage


class Library(LibraryReader):
    """Writes one library folder, and reads it. Safe to share between threads: each gets its own connection."""

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
        connection = self.connect()
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

    def set_vectors(self, vectors: Iterable[tuple[int, PassageVectors]]) -> None:
        """Replace the vectors of all passages by those of this library's encoder, all or none; the old one's question bank goes.

        Args:
            vectors: by row, of every passage, also of removed documents.

        Raises:
            LibraryError: not every passage is among them.
        """
        with self._transaction() as connection:
            done = set()
            for row, found in vectors:
                connection.execute(
                    "UPDATE passages SET vector=?, sentence_vectors=? WHERE row=?",
                    (found.passage.astype("<f2").tobytes(), found.sentences.astype("<f2").tobytes(), row),
                )
                done.add(row)
            missing = connection.execute("SELECT count(*) FROM passages").fetchone()[0] - len(done)
            if missing:
                raise LibraryError(f"library '{self.folder.name}': {missing} passages were not encoded anew; the old vectors stay")
            connection.execute("DELETE FROM questions")
            connection.execute("DELETE FROM banks")
            connection.execute("DELETE FROM meta WHERE key='questions'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES('encoder', ?)", (self._encoder_id,))
            self._bump(connection)

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
        recent = {row["file"] for row in self.connect().execute("SELECT file FROM generations ORDER BY number DESC LIMIT 2")}
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
