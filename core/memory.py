"""What the kit remembers about people: conversations and feedback, in SQLite. Every call takes a principal; a row belongs to one.

Knows no answer logic: it stores and returns JSON of answers as it was given.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from core.errors import LibraryError, UsageError
from core.types import Answer, Frozen, Turn

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations(id TEXT PRIMARY KEY, principal TEXT NOT NULL, domain TEXT NOT NULL, title TEXT NOT NULL, created_at REAL NOT NULL, deleted_at REAL);
CREATE INDEX IF NOT EXISTS conversations_by_principal ON conversations(principal, domain, created_at);
CREATE TABLE IF NOT EXISTS turns(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL REFERENCES conversations(id), answer TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS turns_by_conversation ON turns(conversation, id);
CREATE TABLE IF NOT EXISTS feedback(answer_id TEXT NOT NULL, principal TEXT NOT NULL, helpful INTEGER NOT NULL, comment TEXT NOT NULL, created_at REAL NOT NULL, PRIMARY KEY(answer_id, principal));
"""


class Principal(Frozen):
    """Who is asking. A local user of the app or command line is ``local``."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.@-]{1,80}$")


LOCAL = Principal(name="local")


class Conversation(Frozen):
    """A conversation as listings show it."""

    id: str
    domain: str
    title: str
    created_at: float


class Memory:
    """The conversation store; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                connection.execute("PRAGMA secure_delete=ON")
                connection.executescript(_SCHEMA)
            except sqlite3.DatabaseError as error:
                raise LibraryError(f"conversations cannot be read ({error}); move {self._path.name} away to start afresh") from error
            self._local.connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.execute("COMMIT")

    def start(self, principal: Principal, *, domain: str, title: str) -> Conversation:
        """Begin a conversation."""
        made = Conversation(id=uuid.uuid4().hex, domain=domain, title=title[:120], created_at=time.time())
        with self._transaction() as connection:
            connection.execute("INSERT INTO conversations VALUES(?,?,?,?,?,NULL)", (made.id, principal.name, domain, made.title, made.created_at))
        return made

    def _own(self, connection: sqlite3.Connection, principal: Principal, conversation: str) -> None:
        row = connection.execute("SELECT 1 FROM conversations WHERE id=? AND principal=? AND deleted_at IS NULL", (conversation, principal.name)).fetchone()
        if row is None:
            raise UsageError("no such conversation; start a new one")

    def append(self, principal: Principal, conversation: str, answer: Answer) -> None:
        """Store an answer at the end of the principal's conversation.

        Raises:
            UsageError: the conversation is not theirs or does not exist.
        """
        with self._transaction() as connection:
            self._own(connection, principal, conversation)
            connection.execute("INSERT INTO turns(conversation, answer, created_at) VALUES(?,?,?)", (conversation, answer.model_dump_json(), time.time()))

    def answers(self, principal: Principal, conversation: str) -> list[Answer]:
        """Return the answers of the principal's conversation, oldest first.

        Raises:
            UsageError: the conversation is not theirs or does not exist.
        """
        connection = self._connect()
        self._own(connection, principal, conversation)
        rows = connection.execute("SELECT answer FROM turns WHERE conversation=? ORDER BY id", (conversation,))
        return [Answer.model_validate_json(row["answer"]) for row in rows]

    def conversations(self, principal: Principal, *, domain: str, limit: int = 50) -> list[Conversation]:
        """Return the principal's conversations in a domain, newest first."""
        rows = self._connect().execute(
            "SELECT id, domain, title, created_at FROM conversations WHERE principal=? AND domain=? AND deleted_at IS NULL ORDER BY created_at DESC, id LIMIT ?",
            (principal.name, domain, limit),
        )
        return [Conversation(**dict(row)) for row in rows]

    def delete(self, principal: Principal, conversation: str) -> None:
        """Hide a conversation; :meth:`restore` undoes it until :meth:`purge`."""
        with self._transaction() as connection:
            self._own(connection, principal, conversation)
            connection.execute("UPDATE conversations SET deleted_at=? WHERE id=?", (time.time(), conversation))

    def restore(self, principal: Principal, conversation: str) -> None:
        """Undo :meth:`delete`."""
        with self._transaction() as connection:
            connection.execute("UPDATE conversations SET deleted_at=NULL WHERE id=? AND principal=?", (conversation, principal.name))

    def purge(self, principal: Principal) -> int:
        """Erase the principal's deleted conversations for good; returns how many."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT id FROM conversations WHERE principal=? AND deleted_at IS NOT NULL", (principal.name,)).fetchall()
            for row in rows:
                connection.execute("DELETE FROM turns WHERE conversation=?", (row["id"],))
                connection.execute("DELETE FROM conversations WHERE id=?", (row["id"],))
        return len(rows)

    def rate(self, principal: Principal, *, answer_id: str, helpful: bool, comment: str = "") -> None:
        """Store whether an answer helped; a second rating replaces the first."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO feedback VALUES(?,?,?,?,?)", (answer_id, principal.name, int(helpful), comment[:2_000], time.time()))


def as_turns(answers: list[Answer]) -> tuple[Turn, ...]:
    """Return the history that a follow-up question needs."""
    return tuple(Turn(question=a.question, answer=a.text, title=a.claims[0].citations[0].title if a.claims else "") for a in answers)
