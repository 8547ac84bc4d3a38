from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pydantic import ValidationError

from core.errors import LibraryError, UsageError
from core.memory import LOCAL, Memory, Principal, as_turns
from core.types import Answer, Status, Timings

ANNA, BEN = Principal(name="anna"), Principal(name="ben@example.org")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "state" / "memory.sqlite3")


def answer(text: str, *, number: int = 0) -> Answer:
    return Answer(
        id=f"a{number}", domain="garden", question=f"q {text}", lang="en", status=Status.ABSTAINED, text=text, notice="", claims=(), hits=(), confidence=0.5,
        profile="embedded", model="quoting", adapter="", generation=1, timings_ms=Timings(retrieve=1, answer=1, total=2),
    )  # fmt: skip


def test_append_and_answers_keep_order_and_content(memory: Memory) -> None:
    conversation = memory.start(ANNA, domain="garden", title="t" * 500)
    given = [answer(f"text {n}\u2028郁金香", number=n) for n in range(3)]
    for item in given:
        memory.append(ANNA, conversation.id, item)
    assert memory.answers(ANNA, conversation.id) == given
    assert len(conversation.title) == 120
    assert [turn.question for turn in as_turns(given)] == [item.question for item in given]


def test_conversations_lists_a_domains_newest_first(memory: Memory) -> None:
    made = [memory.start(LOCAL, domain="garden", title=str(n)).id for n in range(3)]
    memory.start(LOCAL, domain="kitchen", title="other")
    assert [c.id for c in memory.conversations(LOCAL, domain="garden")] == made[::-1]
    assert len(memory.conversations(LOCAL, domain="garden", limit=2)) == 2


@pytest.mark.parametrize("name", ["", "a b", "x" * 81, "a/b", "a\n", "'; --", "ü"])
def test_principal_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Principal(name=name)


def test_foreign_conversation_is_answered_like_an_unknown_one(memory: Memory) -> None:
    conversation = memory.start(ANNA, domain="garden", title="t")
    messages = set()
    for principal, wanted in ((BEN, conversation.id), (ANNA, "unknown")):
        for call in (
            lambda p=principal, c=wanted: memory.answers(p, c),
            lambda p=principal, c=wanted: memory.append(p, c, answer("x")),
            lambda p=principal, c=wanted: memory.delete(p, c),
        ):
            with pytest.raises(UsageError) as caught:
                call()
            messages.add(str(caught.value))
    assert messages == {"no such conversation; start a new one"}


def test_deleted_conversation_is_hidden_until_restored(memory: Memory) -> None:
    conversation = memory.start(ANNA, domain="garden", title="t")
    memory.append(ANNA, conversation.id, answer("kept"))
    memory.delete(ANNA, conversation.id)
    assert memory.conversations(ANNA, domain="garden") == []
    with pytest.raises(UsageError):
        memory.answers(ANNA, conversation.id)
    memory.restore(BEN, conversation.id)
    assert memory.conversations(ANNA, domain="garden") == []
    memory.restore(ANNA, conversation.id)
    assert [a.text for a in memory.answers(ANNA, conversation.id)] == ["kept"]


def test_purge_erases_for_good(memory: Memory, tmp_path: Path) -> None:
    conversation = memory.start(ANNA, domain="garden", title="t")
    memory.append(ANNA, conversation.id, answer("A-VERY-SECRET-WORD"))
    memory.delete(ANNA, conversation.id)
    assert memory.purge(BEN) == 0
    assert memory.purge(ANNA) == 1
    memory.restore(ANNA, conversation.id)
    assert memory.conversations(ANNA, domain="garden") == []
    connection = sqlite3.connect(tmp_path / "state" / "memory.sqlite3")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert b"A-VERY-SECRET-WORD" not in b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())


def test_rate_replaces_the_same_principals_rating(memory: Memory, tmp_path: Path) -> None:
    memory.rate(ANNA, answer_id="a1", helpful=True)
    memory.rate(ANNA, answer_id="a1", helpful=False, comment="x" * 5_000)
    memory.rate(BEN, answer_id="a1", helpful=True)
    connection = sqlite3.connect(tmp_path / "state" / "memory.sqlite3")
    rows = connection.execute("SELECT principal, helpful, length(comment) FROM feedback ORDER BY principal").fetchall()
    connection.close()
    assert rows == [("anna", 0, 2_000), ("ben@example.org", 1, 0)]


def test_memory_outlives_the_process_and_serves_threads(memory: Memory, tmp_path: Path) -> None:
    conversation = memory.start(ANNA, domain="garden", title="t")
    threads = [threading.Thread(target=memory.append, args=(ANNA, conversation.id, answer(str(n), number=n))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = Memory(tmp_path / "state" / "memory.sqlite3")
    assert {a.text for a in again.answers(ANNA, conversation.id)} == {str(n) for n in range(16)}


def test_memory_that_is_no_database_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "memory.sqlite3").write_bytes(b"no database at all" * 300)
    with pytest.raises(LibraryError, match="move memory.sqlite3 away to start afresh"):
        Memory(tmp_path / "memory.sqlite3").start(ANNA, domain="garden", title="t")


class MemoryMachine(RuleBasedStateMachine):
    """Three principals do everything to every conversation; each sees exactly its own."""

    PEOPLE = st.sampled_from([ANNA, BEN, LOCAL])
    conversations = Bundle("conversations")

    @initialize()
    def open(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.memory = Memory(Path(self._folder.name) / "memory.sqlite3")
        self.owner: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.texts: dict[str, list[str]] = {}

    @rule(target=conversations, who=PEOPLE)
    def start(self, who: Principal) -> str:
        made = self.memory.start(who, domain="garden", title=f"of {who.name}").id
        self.owner[made], self.texts[made] = who.name, []
        return made

    def _may(self, who: Principal, conversation: str) -> bool:
        return self.owner.get(conversation) == who.name and conversation not in self.deleted

    @rule(who=PEOPLE, conversation=conversations, number=st.integers(0, 99))
    def append(self, who: Principal, conversation: str, number: int) -> None:
        text = f"{who.name} says {number}"
        if self._may(who, conversation):
            self.memory.append(who, conversation, answer(text))
            self.texts[conversation].append(text)
        else:
            with pytest.raises(UsageError):
                self.memory.append(who, conversation, answer(text))

    @rule(who=PEOPLE, conversation=conversations)
    def delete(self, who: Principal, conversation: str) -> None:
        if self._may(who, conversation):
            self.memory.delete(who, conversation)
            self.deleted.add(conversation)
        else:
            with pytest.raises(UsageError):
                self.memory.delete(who, conversation)

    @rule(who=PEOPLE, conversation=conversations)
    def restore(self, who: Principal, conversation: str) -> None:
        self.memory.restore(who, conversation)
        if self.owner.get(conversation) == who.name:
            self.deleted.discard(conversation)

    @rule(who=PEOPLE)
    def purge(self, who: Principal) -> None:
        gone = {c for c in self.deleted if self.owner[c] == who.name}
        assert self.memory.purge(who) == len(gone)
        self.deleted -= gone
        for conversation in gone:
            del self.owner[conversation]

    @invariant()
    def each_sees_its_own(self) -> None:
        if not hasattr(self, "owner"):
            return
        for who in (ANNA, BEN, LOCAL):
            own = {c for c, name in self.owner.items() if name == who.name and c not in self.deleted}
            assert {c.id for c in self.memory.conversations(who, domain="garden")} == own
            for conversation in self.texts:
                if conversation in own:
                    assert [a.text for a in self.memory.answers(who, conversation)] == self.texts[conversation]
                else:
                    with pytest.raises(UsageError):
                        self.memory.answers(who, conversation)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory._connect().close()
            self._folder.cleanup()


MemoryMachine.TestCase.settings = examples(max_examples=40, stateful_step_count=25, deadline=None)
TestMemoryMachine = MemoryMachine.TestCase
