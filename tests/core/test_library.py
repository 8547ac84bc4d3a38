from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from passage_samples import DIMENSION, ENCODER, entry, index_bytes, sample_library, unit_vectors

from core.errors import LibraryError, UsageError
from core.library import Library
from core.library_schema import StoredQuestion

pytestmark = pytest.mark.usefixtures("home")
TULIPS = ["Plant tulips in October. Water them.", "Tulips need cold."]
ROSES = ["Prune roses in March."]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return sample_library(tmp_path / "library")


@pytest.fixture
def filled(library: Library) -> Library:
    library.add(
        [entry("tulips", TULIPS, aliases=("tulip bulbs",)), entry("roses", ROSES), entry("zh-tulips", ["郁金香应在十月种下。"], lang="zh", scope="notes")]
    )
    return library


def id_of(library: Library, external_id: str) -> str:
    (document_id,) = library.find(external_id)
    return document_id


def names(library: Library, *, removed: bool = False) -> list[str]:
    return sorted(row.external_id for row in library.documents(removed=removed))


def test_new_library_is_empty_and_makes_no_file_until_written(library: Library) -> None:
    assert not library.exists()
    assert library.generation() is None
    assert library.counts() == (0, 0)
    assert (library.revision(), library.encoder(), library.average_words()) == (0, "", 1.0)
    assert library.vectors()[0].tolist() == []
    assert library.keyword("", limit=5) == []


def test_add_stores_what_it_was_given(library: Library) -> None:
    document, passages, vectors = entry("tulips", TULIPS, aliases=("tulip bulbs",))
    library.add([(document, passages, vectors)])
    assert library.counts() == (1, 2)
    assert library.passages_of(document.id) == passages
    assert library.page_text(document.id, None) == document.pages[0].text
    rows, stored = library.vectors()
    assert np.abs(stored - [v.passage for v in vectors]).max() < 1e-3
    sentences = [library.passages(rows.tolist())[row][2] for row in rows.tolist()]
    assert [found.shape for found in sentences] == [(2, DIMENSION), (1, DIMENSION)]
    assert np.abs(sentences[0] - vectors[0].sentences).max() < 1e-3
    assert library.has(document.id)
    assert library.encoder() == ENCODER


def test_add_of_the_same_document_twice_is_one_document(filled: Library) -> None:
    filled.add([entry("tulips", TULIPS, aliases=("tulip bulbs",))])
    assert names(filled) == ["roses", "tulips", "zh-tulips"]
    assert filled.counts() == (3, 4)


def test_add_of_a_new_version_erases_the_old_one(filled: Library) -> None:
    old = id_of(filled, "tulips")
    filled.add([entry("tulips", ["Plant tulips in November."])])
    assert id_of(filled, "tulips") != old
    assert not filled.has(old)
    assert filled.keyword('"octob"', limit=5) == []
    assert len(filled.keyword('"novemb"', limit=5)) == 1


@pytest.mark.parametrize("change", [{"scope": "notes"}, {"lang": "zh"}, {"source": "other.md"}])
def test_add_of_another_scope_language_or_source_is_another_document(filled: Library, change: dict[str, str]) -> None:
    filled.add([entry("tulips", ["Something else."], **change)])  # type: ignore[arg-type]
    assert len(filled.find("tulips")) == 2


def test_add_is_one_transaction(filled: Library) -> None:
    revision = filled.revision()
    document, passages, vectors = entry("mint", ["Mint spreads."])
    with pytest.raises(ValueError, match="zip"):
        filled.add([entry("sage", ["Sage is dry."]), (document, passages, vectors + vectors)])
    assert names(filled) == ["roses", "tulips", "zh-tulips"]
    assert filled.revision() == revision


def test_add_with_another_encoder_is_refused(filled: Library) -> None:
    other = sample_library(filled.folder, encoder_id="other@1")
    with pytest.raises(LibraryError, match="built with encoder sample@0, not other@1; run `domainkit reindex"):
        other.add([entry("mint", ["Mint spreads."])])
    assert names(filled) == ["roses", "tulips", "zh-tulips"]


def test_remove_hides_at_once_and_restore_brings_back(filled: Library) -> None:
    tulips = id_of(filled, "tulips")
    rows = filled.keyword('"octob"', limit=5)
    assert filled.remove([tulips, tulips, "unknown"]) == [tulips]
    assert names(filled) == ["roses", "zh-tulips"]
    assert names(filled, removed=True) == ["tulips"]
    assert filled.counts() == (2, 2)
    assert filled.passages(rows) == {}
    assert filled.candidates(rows) == []
    assert len(filled.vectors()[0]) == 2
    assert sum(map(len, filled.rows_by_language().values())) == 2
    assert filled.places_of(external_id="tulips", lang="en", quote="Tulips need cold.") == []
    assert filled.remove([tulips]) == []
    assert filled.restore([tulips]) == [tulips]
    assert filled.restore([tulips]) == []
    assert filled.counts() == (3, 4)


def test_purge_erases_removed_documents_for_good(filled: Library) -> None:
    tulips = id_of(filled, "tulips")
    filled.remove([tulips])
    assert filled.purge() == 1
    assert filled.purge() == 0
    assert filled.restore([tulips]) == []
    with pytest.raises(UsageError, match="no document 'tulips'"):
        filled.find("tulips")
    with pytest.raises(UsageError, match="has no page"):
        filled.page_text(tulips, None)
    filled.close()
    with sqlite3.connect(filled.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert b"Plant tulips in October" not in b"".join(path.read_bytes() for path in filled.folder.iterdir() if path.is_file())


def test_remove_forgets_that_the_file_was_complete(filled: Library) -> None:
    filled.finish_file(scope="corpus", source="tulips.md", sha256="f0")
    assert filled.file_sha256(scope="corpus", source="tulips.md") == "f0"
    filled.remove([id_of(filled, "tulips")])
    assert filled.file_sha256(scope="corpus", source="tulips.md") is None


def test_finish_file_erases_what_the_earlier_version_held(library: Library) -> None:
    library.add([entry(name, [f"{name} text."], source="notes.jsonl", file_sha256="v1") for name in ("a", "b", "c")])
    assert library.finish_file(scope="corpus", source="notes.jsonl", sha256="v1") == 0
    library.refresh_file_hash(library.find("a"), "v2")
    library.add([entry("b", ["b changed."], source="notes.jsonl", file_sha256="v2")])
    revision = library.revision()
    assert library.finish_file(scope="corpus", source="notes.jsonl", sha256="v2") == 1
    assert names(library) == ["a", "b"]
    assert library.revision() == revision + 1
    assert library.file_sha256(scope="corpus", source="notes.jsonl") == "v2"
    assert library.file_sha256(scope="other", source="notes.jsonl") is None


def test_forget_files_erases_a_scopes_vanished_sources_only(filled: Library) -> None:
    assert filled.forget_files(scope="corpus", keep=["roses.md"]) == ["tulips.md"]
    assert names(filled) == ["roses", "zh-tulips"]
    assert filled.forget_files(scope="corpus", keep=["roses.md"]) == []


def test_revision_grows_with_every_change_and_with_nothing_else(library: Library) -> None:
    seen = [library.revision()]
    steps = [
        lambda: library.add([entry("tulips", TULIPS)]),
        lambda: library.remove(library.find("tulips")),
        lambda: library.restore(library.find("tulips")),
        lambda: library.remove(library.find("tulips")),
        lambda: library.purge(),
        lambda: library.set_questions([], sha256="x"),
    ]
    for step in steps:
        step()
        seen.append(library.revision())
    assert seen == sorted(set(seen))
    library.purge()
    library.restore(["unknown"])
    library.publish(index_bytes)
    assert library.revision() == seen[-1]


def test_publish_writes_a_generation_once_per_revision(filled: Library) -> None:
    first = filled.publish(index_bytes)
    path = filled.folder / "generations" / first.file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == first.sha256
    assert (first.passages, first.revision) == (4, filled.revision())
    assert filled.publish(lambda ids, vectors: pytest.fail("nothing changed")) == first == filled.generation()
    filled.remove([id_of(filled, "roses")])
    second = filled.publish(index_bytes)
    assert (second.number, second.passages) == (first.number + 1, 3)
    assert not [path for path in path.parent.iterdir() if path.suffix != ".index"]


def test_publish_again_makes_a_vanished_file_anew(filled: Library) -> None:
    first = filled.publish(index_bytes)
    (filled.folder / "generations" / first.file).unlink()
    second = filled.publish(index_bytes)
    assert (filled.folder / "generations" / second.file).is_file()
    assert second.sha256 == first.sha256


def test_publish_keeps_the_newest_two_files(filled: Library) -> None:
    made = []
    for number in range(4):
        filled.add([entry(f"d{number}", [f"Text {number}."])])
        made.append(filled.publish(index_bytes).file)
    assert {path.name for path in (filled.folder / "generations").iterdir()} == set(made[-2:])


def test_publish_that_fails_leaves_the_old_generation(filled: Library) -> None:
    first = filled.publish(index_bytes)
    filled.remove([id_of(filled, "roses")])

    def broken(ids: object, vectors: object) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        filled.publish(broken)
    assert filled.generation() == first


def test_second_writer_is_refused_and_the_lock_is_given_back(filled: Library) -> None:
    with filled.writing():
        with pytest.raises(LibraryError, match="being written by another process; wait"), Library(filled.folder).writing():
            pass
        assert filled.counts() == (3, 4)
    with filled.writing(), (filled.folder / "write.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_reader_in_another_thread_sees_committed_changes(filled: Library) -> None:
    found: list[tuple[int, int]] = []

    def read() -> None:
        found.append(filled.counts())
        filled.close()

    filled.remove([id_of(filled, "roses")])
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [(2, 3)]


@pytest.mark.parametrize(("version", "told"), [(99, "a newer"), (2, "an older")])
def test_library_of_another_version_is_refused(filled: Library, version: int, told: str) -> None:
    filled.close()
    connection = sqlite3.connect(filled.path)
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    with pytest.raises(LibraryError, match=f"written by {told} version of domainkit; move libraries/library out of DOMAINKIT_HOME"):
        Library(filled.folder).counts()


def test_library_that_is_no_database_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "library.sqlite3").write_bytes(b"this is no database" * 500)
    with pytest.raises(LibraryError, match="move its folder away and build it again"):
        Library(tmp_path).counts()


@pytest.mark.parametrize(
    ("damage", "read"),
    [
        ("UPDATE passages SET spans=x'0000000000000000'", lambda library: library.passages([1])),
        ("UPDATE passages SET text=text || '!'", lambda library: library.passages([1])),
        ("UPDATE passages SET sentence_vectors=x'00'", lambda library: library.passages([1])),
        ("UPDATE passages SET vector=x'000001' WHERE row=1", lambda library: library.vectors()),
        ("UPDATE documents SET lang='xx'", lambda library: library.documents()),
        ("UPDATE generations SET file='../../etc/passwd'", lambda library: library.generation()),
        ("UPDATE meta SET value='many' WHERE key='revision'", lambda library: library.revision()),
        ("DROP TABLE banks", lambda library: library.question_bank("en")),
        ("DROP TABLE questions", lambda library: library.question_count()),
        ("DROP TABLE keyword", lambda library: library.keyword('"tulip"', limit=5)),
    ],
)
def test_damaged_content_is_refused_in_one_line(filled: Library, damage: str, read: Callable[[Library], object]) -> None:
    filled.publish(index_bytes)
    filled.close()
    connection = sqlite3.connect(filled.path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(LibraryError, match="library 'library' cannot be read .* move its folder away and build it again") as caught:
        read(filled)
    assert "\n" not in str(caught.value)


def test_find_by_id_prefix_external_id_and_source(filled: Library) -> None:
    tulips = id_of(filled, "tulips")
    assert filled.find(tulips) == filled.find(tulips[:8]) == filled.find("tulips.md") == [tulips]
    filled.remove([tulips])
    assert filled.find("tulips") == [tulips]


@pytest.mark.parametrize("reference", ["nothing", "", "*", "????????", "[a-f0-9]*", "%", "'; DROP TABLE documents; --", "a" * 500])
def test_find_takes_a_reference_literally(filled: Library, reference: str) -> None:
    with pytest.raises(UsageError, match="no document") as caught:
        filled.find(reference)
    assert len(str(caught.value)) < 250


def test_page_text_of_a_numbered_page(library: Library) -> None:
    document, _, _ = entry("report", ["First."])
    pages = tuple(document.pages[0].model_copy(update={"number": n, "text": f"Page {n}.", "blocks": ()}) for n in (1, 2))
    library.add([(document.model_copy(update={"pages": pages}), [], [])])
    assert [library.page_text(document.id, n) for n in (1, 2)] == ["Page 1.", "Page 2."]
    with pytest.raises(UsageError, match="has no page 3"):
        library.page_text(document.id, 3)
    with pytest.raises(UsageError, match="has no page None"):
        library.page_text(document.id, None)


def test_rows_in_scopes_and_languages_partition_the_live_rows(filled: Library) -> None:
    everything = set(filled.vectors()[0].tolist())
    by_scope = [set(filled.rows_in_scopes([scope]).tolist()) for scope in ("corpus", "notes")]
    assert by_scope[0] | by_scope[1] == everything and not by_scope[0] & by_scope[1]
    assert set(filled.rows_in_scopes(["corpus", "notes"]).tolist()) == everything
    assert filled.rows_in_scopes(["unknown"]).tolist() == []
    assert {lang: len(rows) for lang, rows in filled.rows_by_language().items()} == {"en": 3, "zh": 1}


def test_document_frequencies_follow_every_revision(filled: Library) -> None:
    assert filled.document_frequencies(["tulip", "march", "none"]) == (4, {"tulip": 3, "march": 1, "none": 0})
    filled.add([entry("more", ["Tulip fields in March."])])
    assert filled.document_frequencies(["tulip", "march", "none"]) == (5, {"tulip": 4, "march": 2, "none": 0})


def test_keyword_finds_aliases_headings_and_chinese_words(filled: Library) -> None:
    assert len(filled.keyword('"bulb"', limit=9)) == 2
    assert len(filled.keyword('"rose"', limit=9)) == 1
    assert len(filled.keyword('"郁金香"', limit=9)) == 1


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("Plant tulips in October.", [(0, 0)]),
        ("Water them.", [(1, 1)]),
        ("October. Water", [(0, 1)]),
        ("Plant  tulips\nin October. Water them.", [(0, 1)]),
        ("Tulips need cold.", [(0, 0)]),
        ("Prune roses", []),
        ("tulips", [(0, 0)]),
    ],
)
def test_places_of_names_the_sentences_that_hold_a_quote(filled: Library, quote: str, expected: list[tuple[int, int]]) -> None:
    assert [(first, last) for _, first, last in filled.places_of(external_id="tulips", lang="en", quote=quote)] == expected
    assert filled.places_of(external_id="tulips", lang="zh", quote=quote) == []


def test_set_questions_replaces_the_bank(filled: Library) -> None:
    def question(text: str, places: tuple[tuple[int, int, int], ...]) -> StoredQuestion:
        return StoredQuestion(origin="q.jsonl", lang="en", text=text, words=("w", text), passages=places, vector=unit_vectors(text, 1)[0])

    filled.set_questions([question("old", ())], sha256="1")
    filled.set_questions([question("first", ((1, 0, 1),)), question("second", ())], sha256="2")
    stored = filled.questions("en")
    assert [(q.text, q.words, q.passages) for q in stored] == [("first", ("w", "first"), ((1, 0, 1),)), ("second", ("w", "second"), ())]
    assert np.abs(stored[0].vector - unit_vectors("first", 1)[0]).max() < 1e-3
    assert filled.questions("zh") == []
    assert filled.questions_sha256() == "2"


def test_set_questions_keeps_the_packed_bank_of_each_language(filled: Library) -> None:
    banks = {"en": {"count": b"2", "vectors": b"\0\xff"}, "zh": {"count": b"0"}}
    filled.set_questions([], sha256="1", banks={"en": {"count": b"9", "old": b"old"}})
    filled.set_questions([], sha256="2", banks=banks)  # type: ignore[arg-type]
    assert filled.question_bank("en") == banks["en"]
    assert filled.question_bank("zh") == banks["zh"]
    filled.set_questions([], sha256="3")
    assert filled.question_bank("en") == {}


def test_question_count_is_over_all_languages(filled: Library) -> None:
    assert filled.question_count() == 0
    nothing = np.zeros(0, dtype=np.float32)
    filled.set_questions(
        [StoredQuestion(origin="q", lang=lang, text=str(n), words=(), passages=(), vector=nothing) for n, lang in enumerate(("en", "zh", "zh"))], sha256="1"
    )
    assert filled.question_count() == 3


def test_questions_of_a_language_compared_by_words_alone_have_no_vector(filled: Library) -> None:
    filled.set_questions([StoredQuestion(origin="q", lang="zh", text="问", words=("问",), passages=(), vector=np.zeros(0, dtype=np.float32))], sha256="1")
    assert [question.vector.shape for question in filled.questions("zh")] == [(0,)]


def test_corpus_sha256_depends_on_the_live_documents_only(filled: Library) -> None:
    before = filled.corpus_sha256()
    filled.remove([id_of(filled, "roses")])
    assert filled.corpus_sha256() != before
    filled.restore([id_of(filled, "roses")])
    filled.publish(index_bytes)
    assert filled.corpus_sha256() == before


class LibraryMachine(RuleBasedStateMachine):
    """add, remove, restore and purge in any order against a dict from name to (version, live)."""

    NAMES = st.sampled_from(["a", "b", "c"])

    @initialize()
    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.library = sample_library(Path(self._folder.name) / "library")
        self.model: dict[str, tuple[int, bool]] = {}

    @rule(name=NAMES, version=st.integers(0, 2))
    def add(self, name: str, version: int) -> None:
        self.library.add([entry(name, [f"{name} version{version} text."])])
        self.model[name] = (version, True)

    def _ids(self, name: str) -> list[str]:
        return self.library.find(name) if name in self.model else []

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        changed = self.library.remove(self._ids(name))
        assert bool(changed) == (name in self.model and self.model[name][1])
        if changed:
            self.model[name] = (self.model[name][0], False)

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        changed = self.library.restore(self._ids(name))
        assert bool(changed) == (name in self.model and not self.model[name][1])
        if changed:
            self.model[name] = (self.model[name][0], True)

    @rule()
    def purge(self) -> None:
        gone = [name for name, (_, live) in self.model.items() if not live]
        assert self.library.purge() == len(gone)
        for name in gone:
            del self.model[name]

    @rule()
    def publish(self) -> None:
        generation = self.library.publish(index_bytes)
        assert generation.passages == sum(live for _, live in self.model.values())

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        live = sorted(name for name, (_, shown) in self.model.items() if shown)
        assert names(self.library) == live
        assert names(self.library, removed=True) == sorted(set(self.model) - set(live))
        assert self.library.counts() == (len(live), len(live))
        rows, _ = self.library.vectors()
        assert len(rows) == len(live)
        for name, (version, shown) in self.model.items():
            found = self.library.candidates(self.library.keyword(f'"{name}"', limit=20) or [0])
            assert len(found) == int(shown)
            texts = [self.library.passages([candidate.row])[candidate.row][0].passage.text for candidate in found]
            assert texts == [f"{name} version{version} text."] * int(shown)

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.library.close()
            self._folder.cleanup()


LibraryMachine.TestCase.settings = examples(max_examples=40, stateful_step_count=25, deadline=None)
TestLibraryMachine = LibraryMachine.TestCase
