from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from head_samples import head_tensors, sample_head, write_heads
from safetensors.numpy import save

from core.encoder import Encoder, compiled_folder
from core.errors import IntegrityError, LibraryError, ManifestError, UsageError
from core.eval_items import training_files
from core.ingest import Ingest, IngestReport, bring_up_to_date, encode_anew, encode_passages, is_up_to_date
from core.library import Library
from core.manifest import load_manifest
from core.questions import QuestionBank
from core.registry import Domain
from core.retrieval import Retriever
from core.settings import Settings

MINT = "# Mint\n\nMint spreads by runners. Plant it in a pot.\n"
SAGE = "# Sage\n\nSage likes dry soil.\n"


class Workshop:
    """A library of its own and a folder of files to bring into it."""

    def __init__(self, folder: Path, encoder: Encoder, settings: Settings) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self.library = Library(folder / "library", encoder_id=encoder.id)
        self.encoder = encoder
        self.settings = settings
        self.progress: list[tuple[str, int, int]] = []

    def write(self, name: str, text: str) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def add(self, *paths: Path, scope: str = "added", prune: bool = False) -> IngestReport:
        ingest = Ingest(self.library, self.encoder, settings=self.settings, progress=lambda *step: self.progress.append(step))
        return ingest.add_paths(paths or [self.files], scope=scope, prune=prune)

    def sources(self) -> list[str]:
        return sorted(row.source for row in self.library.documents())

    def ids(self) -> list[str]:
        return sorted(row.external_id for row in self.library.documents())

    def titles(self, question: str) -> list[str]:
        return [hit.title for hit in Retriever(self.library, self.encoder).search(question, k=3, lang="en").hits]


@pytest.fixture(scope="module")
def exact(settings: Settings) -> Encoder:
    """The encoder in full precision, whose vectors do not depend on the batch."""
    return Encoder(compiled_folder(settings), precision="fp32")


@pytest.fixture
def own(garden: Domain, tmp_path: Path) -> Domain:
    """A copy of the garden that a test may change."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    return Domain(manifest=load_manifest(folder), folder=folder, door="test")


@pytest.fixture
def shop(tmp_path: Path, encoder: Encoder, settings: Settings) -> Workshop:
    return Workshop(tmp_path, encoder, settings)


def lines(*records: dict[str, object]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def test_add_paths_stores_and_publishes(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    shop.write("deep/er/sage.md", SAGE)
    report = shop.add()
    assert (report.added, report.unchanged, report.passages, report.failed) == (2, 0, 2, ())
    assert shop.sources() == ["deep/er/sage.md", "mint.md"]
    assert shop.titles("does mint spread?")[0] == "Mint"
    generation = shop.library.generation()
    assert generation is not None and generation.revision == shop.library.revision()
    assert shop.progress[0][1:] == (0, 2) and shop.progress[-1] == ("index", 2, 2)


def test_progress_within_a_file_of_many_documents_counts_them(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.BATCH_PASSAGES", 2)
    shop.write("notes.jsonl", lines(*({"id": f"n{n}", "text": f"Herb number {n} likes sun."} for n in range(5))))
    shop.add()
    assert [name for name, _, _ in shop.progress] == ["notes.jsonl", "notes.jsonl (2)", "notes.jsonl (4)", "notes.jsonl (5)", "index"]


def test_unchanged_files_are_neither_parsed_nor_encoded_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("mint.md", MINT)
    shop.write("notes.jsonl", lines({"id": "a", "text": "Basil likes sun."}))
    shop.add()
    before = (shop.library.revision(), shop.library.generation())
    monkeypatch.setattr("core.ingest.read_documents", lambda *a, **k: pytest.fail("an unchanged file was parsed"))
    report = shop.add()
    assert (report.added, report.unchanged, report.erased) == (0, 2, 0)
    assert (shop.library.revision(), shop.library.generation()) == before


def test_touched_file_with_equal_text_is_unchanged(shop: Workshop) -> None:
    path = shop.write("mint.md", MINT)
    shop.add()
    os.utime(path, (1, 1))
    assert shop.add().unchanged == 1
    path.write_text(MINT.replace("\n", "\r\n"))
    report = shop.add()
    assert (report.added, report.unchanged) == (0, 1)
    assert shop.sources() == ["mint.md"]


def test_changed_file_replaces_its_document(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    shop.write("sage.md", SAGE)
    shop.add()
    shop.write("mint.md", "# Mint\n\nMint has a strong smell of menthol.\n")
    report = shop.add()
    assert (report.added, report.unchanged) == (1, 1)
    assert shop.library.counts() == (2, 2)
    assert shop.library.keyword('"runner"', limit=5) == []


def test_changed_jsonl_keeps_equal_records_and_drops_vanished_ones(shop: Workshop) -> None:
    shop.write("notes.jsonl", lines({"id": "a", "text": "Basil likes sun."}, {"id": "b", "text": "Dill grows tall."}, {"id": "c", "text": "Chives are hardy."}))
    shop.add()
    shop.write(
        "notes.jsonl", lines({"id": "a", "text": "Basil likes sun."}, {"id": "b", "text": "Dill grows very tall."}, {"id": "d", "text": "Thyme creeps."})
    )
    report = shop.add()
    assert (report.added, report.unchanged, report.erased) == (2, 1, 1)
    assert shop.ids() == ["a", "b", "d"]


def test_broken_file_does_not_stop_the_folder(shop: Workshop) -> None:
    shop.write("a.md", MINT)
    (shop.files / "b.pdf").write_bytes(b"%PDF-1.7 this is no pdf")
    (shop.files / "c.docx").write_bytes(b"PK\x03\x04 broken")
    shop.write("d.jsonl", lines({"id": "x", "text": "Good record."}) + "{broken\n")
    shop.write("e.md", "")
    shop.write("f.exe", "x")
    shop.write("z.md", SAGE)
    report = shop.add()
    assert {name for name, _ in report.failed} == {"b.pdf", "c.docx", "d.jsonl", "e.md"}
    assert all(reason.startswith(name) and "\n" not in reason for name, reason in report.failed)
    assert [name for name, _ in report.skipped] == ["f.exe"]
    assert set(shop.sources()) >= {"a.md", "z.md"}


def test_broken_file_is_tried_again_and_its_good_records_stay(shop: Workshop) -> None:
    good = lines({"id": "x", "text": "Good record."})
    shop.write("d.jsonl", good + "{broken\n")
    assert len(shop.add().failed) == 1
    assert shop.ids() == ["x"]
    shop.write("d.jsonl", good + lines({"id": "y", "text": "Mended record."}))
    report = shop.add()
    assert (report.added, report.unchanged, report.failed) == (1, 1, ())
    assert shop.ids() == ["x", "y"]


def test_file_that_vanishes_during_the_run_does_not_stop_it(shop: Workshop) -> None:
    shop.write("a.md", MINT)
    doomed = shop.write("b.md", SAGE)
    shop.write("c.md", "# Dill\n\nDill grows tall.\n")
    ingest = Ingest(shop.library, shop.encoder, settings=shop.settings, progress=lambda name, done, total: doomed.unlink(missing_ok=True))
    report = ingest.add_paths([shop.files], scope="added")
    assert [name for name, _ in report.failed] == ["b.md"]
    assert shop.sources() == ["a.md", "c.md"]


def test_two_files_of_one_name_in_one_run_do_not_overwrite_each_other_silently(shop: Workshop) -> None:
    first, second = shop.write("one/notes.md", MINT), shop.write("two/notes.md", SAGE)
    report = shop.add(first, second)
    assert shop.titles("mint")[0] == "Mint"
    assert [name for name, _ in report.failed] == ["notes.md"]
    assert "add the folder above both" in report.failed[0][1]
    assert shop.add(first, first).failed == ()
    assert shop.add(shop.files).failed == ()
    assert {"one/notes.md", "two/notes.md"} <= set(shop.sources())


def test_path_that_does_not_exist_is_refused(shop: Workshop) -> None:
    with pytest.raises(UsageError, match="no such file or folder: 'nowhere'"):
        shop.add(shop.files / "nowhere")


def test_prune_erases_documents_of_files_that_are_gone(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    gone = shop.write("sage.md", SAGE)
    shop.add(scope="corpus", prune=True)
    shop.add(gone, scope="other")
    shop.write("kept.md", "# Kept\n\nAnother scope stays.\n")
    shop.add(shop.files / "kept.md", scope="other")
    (shop.files / "kept.md").unlink()
    gone.unlink()
    report = shop.add(scope="corpus", prune=True)
    assert report.erased == 1
    assert shop.sources() == ["kept.md", "mint.md"]


def test_prune_keeps_the_old_version_of_a_file_that_broke(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    shop.add(scope="corpus", prune=True)
    shop.write("mint.md", "")
    report = shop.add(scope="corpus", prune=True)
    assert len(report.failed) == 1
    assert shop.sources() == ["mint.md"]


def test_without_prune_vanished_files_stay(shop: Workshop) -> None:
    shop.write("mint.md", MINT).touch()
    shop.add()
    (shop.files / "mint.md").unlink()
    shop.write("sage.md", SAGE)
    shop.add()
    assert shop.sources() == ["mint.md", "sage.md"]


def test_removed_document_comes_back_when_its_file_is_added_again(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    shop.add()
    shop.library.remove([row.id for row in shop.library.documents()])
    report = shop.add()
    assert report.added == 1
    assert shop.sources() == ["mint.md"]


def test_second_writer_is_refused_before_it_reads_a_file(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    with shop.library.writing(), pytest.raises(LibraryError, match="being written by another process"):
        shop.add()
    assert shop.library.counts() == (0, 0)


def test_interrupted_run_keeps_its_batches_and_resumes(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.BATCH_PASSAGES", 4)
    for number in range(10):
        shop.write(f"n{number}.md", f"# Herb {number}\n\nHerb number {number} grows here.\n")

    def stop(name: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ingest(shop.library, shop.encoder, settings=shop.settings, progress=stop).add_paths([shop.files], scope="added")
    assert shop.library.counts() == (4, 4)
    report = shop.add()
    assert (report.added, report.unchanged) == (6, 4)
    assert shop.library.counts() == (10, 10)


def test_ingest_in_small_and_large_batches_gives_the_same_vectors(exact: Encoder, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, size, tokens in (("small", 1, 256), ("large", 1_000, 65_536)):
        monkeypatch.setattr("core.ingest.BATCH_PASSAGES", size)
        (tmp_path / name).mkdir()
        shop = Workshop(tmp_path / name, exact, settings.model_copy(update={"batch_tokens": tokens}))
        for number in range(6):
            shop.write(f"n{number}.md", f"# Herb {number}\n\n" + f"Herb number {number} grows here. " * (1 + 9 * number))
        shop.add()
        found.append(shop.library.vectors()[1])
    assert found[0].shape == found[1].shape
    assert (found[0] * found[1]).sum(axis=1).min() > 0.9999


def test_encode_passages_keeps_the_order_given(exact: Encoder) -> None:
    from core.documents.blocks import verbatim_page
    from core.documents.parsed import Limits, OutputBudget
    from core.documents.splitting import split
    from core.types import Document

    texts = ["Long text. " * 30, "Short.", "Middle text here. " * 5, "Tiny."]
    items = []
    for number, text in enumerate(texts):
        page = verbatim_page(text, OutputBudget(Limits()))
        document = Document(id=f"{number:064}", external_id=str(number), title="T", source="s", lang="en", pages=(page,), aliases=("alias",))
        items.append((next(iter(split(document))), document.aliases))
    together = encode_passages(exact, items, batch_tokens=300)
    alone = [encode_passages(exact, [item], batch_tokens=300)[0] for item in items]
    for left, right in zip(together, alone, strict=True):
        assert np.abs(left.passage - right.passage).max() < 1e-3


def test_set_questions_points_at_the_sentences_that_hold_the_quotes(garden_library: Library) -> None:
    stored = {question.text: question for question in garden_library.questions("en")}
    (place,) = stored["best time of year to put tulips in"].passages
    row, first, last = place
    passage = garden_library.passages([row])[row][0].passage
    sentence = passage.text[passage.sentences[first].start - passage.start : passage.sentences[last].end - passage.start]
    assert sentence == "Plant tulip bulbs in October, about 15 cm deep."
    assert stored["which fertiliser do tulips like"].passages == ()


def test_set_questions_is_free_when_nothing_changed(garden: Domain, shop: Workshop) -> None:
    shop.add(garden.corpus, scope="corpus")
    files = training_files(garden.folder, garden.manifest)
    ingest = Ingest(shop.library, shop.encoder, settings=shop.settings)
    assert ingest.set_questions(files, query_encoder=shop.encoder) == 2
    revision = shop.library.revision()
    assert ingest.set_questions(files, query_encoder=shop.encoder) == 2
    assert shop.library.revision() == revision


def test_set_questions_packs_a_damaged_bank_anew(garden: Domain, shop: Workshop) -> None:
    files = training_files(garden.folder, garden.manifest)
    ingest = Ingest(shop.library, shop.encoder, settings=shop.settings)
    ingest.add_paths([garden.corpus], scope="corpus")
    ingest.set_questions(files, query_encoder=shop.encoder)
    sound = shop.library.question_bank("en")
    with shop.library._transaction() as connection:
        connection.execute("UPDATE banks SET data=? WHERE lang='en' AND part='shape'", (b"[1, 2]",))
    ingest.set_questions(files, query_encoder=shop.encoder)
    assert shop.library.question_bank("en") == sound


def test_set_questions_leaves_out_questions_whose_article_is_gone(garden: Domain, shop: Workshop) -> None:
    shop.add(garden.corpus, scope="corpus")
    shop.library.remove([row.id for row in shop.library.documents() if row.title == "Tulips"])
    files = training_files(garden.folder, garden.manifest)
    assert Ingest(shop.library, shop.encoder, settings=shop.settings).set_questions(files, query_encoder=shop.encoder) == 1


def test_set_questions_follows_a_document_that_was_removed_and_added_again(garden: Domain, shop: Workshop) -> None:
    files = training_files(garden.folder, garden.manifest)

    def add_both() -> None:
        shop.add(garden.corpus, scope="corpus")
        Ingest(shop.library, shop.encoder, settings=shop.settings).set_questions(files, query_encoder=shop.encoder)

    add_both()
    shop.library.remove([row.id for row in shop.library.documents() if row.title == "Tulips"])
    add_both()
    rows = set(shop.library.vectors()[0].tolist())
    assert {row for question in shop.library.questions("en") for row, _, _ in question.passages} <= rows


QUOTE = "Plant tulip bulbs in October, about 15 cm deep."


def test_set_questions_reads_groups_and_places_each_of_their_questions(current: Workshop, own: Domain) -> None:
    (own.folder / "training" / "batch.jsonl").write_text(
        lines(
            {"lang": "en", "document": "tulips", "quote": QUOTE, "questions": ["tulips when", "which month for tulips"]},
            {"lang": "en", "document": "tulips", "answerable": False, "questions": ["what do tulips cost"]},
            {"lang": "zh", "document": "roses", "quote": "在朝外的芽上方剪断。", "questions": ["玫瑰剪在哪里"]},
            {"lang": "en", "document": "tulips", "quote": "A sentence that no article holds.", "questions": ["is it lost"]},
        ),
        "utf-8",
    )
    files = training_files(own.folder, own.manifest)
    assert Ingest(current.library, current.encoder, settings=current.settings).set_questions(files, query_encoder=current.encoder) == 6
    stored = {question.text: question for question in [*current.library.questions("en"), *current.library.questions("zh")]}
    assert stored["tulips when"].passages == stored["which month for tulips"].passages == stored["best time of year to put tulips in"].passages
    assert stored["what do tulips cost"].passages == ()
    assert (len(stored["玫瑰剪在哪里"].passages), stored["玫瑰剪在哪里"].origin) == (1, "batch.jsonl")
    assert "is it lost" not in stored


def test_set_questions_encodes_no_question_of_a_language_compared_by_words_alone(current: Workshop, own: Domain) -> None:
    (own.folder / "training" / "zh.jsonl").write_text(
        lines({"lang": "zh", "document": "roses", "answerable": False, "questions": ["玫瑰多少钱", "玫瑰香吗"]}), "utf-8"
    )
    Ingest(current.library, current.encoder, settings=current.settings).set_questions(training_files(own.folder, own.manifest), query_encoder=current.encoder)
    assert [question.vector.shape for question in current.library.questions("zh")] == [(0,), (0,)]
    assert [question.vector.shape for question in current.library.questions("en")] == [(current.encoder.dimension,)] * 2


def test_set_questions_packs_a_bank_that_knows_its_questions(shop: Workshop, own: Domain) -> None:
    shop.add(own.corpus, scope="corpus")
    Ingest(shop.library, shop.encoder, settings=shop.settings).set_questions(training_files(own.folder, own.manifest), query_encoder=shop.encoder)
    bank = QuestionBank(shop.library.question_bank("en"), "en")
    text = "best time of year to put tulips in"
    (place,) = next(question.passages for question in shop.library.questions("en") if question.text == text)
    found = bank.compare(text, shop.encoder.encode([text])[0])
    assert len(bank) == 2
    assert found.passages[place[0]] > 0.95 > found.unanswerable
    assert len(QuestionBank(shop.library.question_bank("zh"), "zh")) == 0


def test_set_questions_packs_anew_when_a_head_is_another(current: Workshop, own: Domain) -> None:
    files, revisions = training_files(own.folder, own.manifest), []
    for seed in (None, 1, 2, 2):
        heads = {} if seed is None else {"en": sample_head(["tulips"], encoded=current.encoder.dimension, seed=seed)}
        Ingest(current.library, current.encoder, settings=current.settings).set_questions(files, query_encoder=current.encoder, heads=heads)
        revisions.append(current.library.revision())
        assert current.library.question_bank("en").get("head", b"").decode() == (heads["en"].sha256 if heads else "")
    assert revisions[0] < revisions[1] < revisions[2] == revisions[3]


def test_set_questions_that_cannot_be_read_leave_the_bank_as_it_was(current: Workshop, own: Domain) -> None:
    ingest = Ingest(current.library, current.encoder, settings=current.settings)
    ingest.set_questions(training_files(own.folder, own.manifest), query_encoder=current.encoder)
    (own.folder / "training" / "z.jsonl").write_text('{"questions": []}\n')
    with pytest.raises(ManifestError, match=r"z.jsonl:1"):
        ingest.set_questions(training_files(own.folder, own.manifest), query_encoder=current.encoder)
    assert current.library.question_count() == 2


def test_set_questions_tells_its_progress(shop: Workshop, own: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.QUESTIONS_PER_BATCH", 1)
    shop.add(own.corpus, scope="corpus")
    steps: list[tuple[str, int, int]] = []
    ingest = Ingest(shop.library, shop.encoder, settings=shop.settings, progress=lambda *step: steps.append(step))
    ingest.set_questions(training_files(own.folder, own.manifest), query_encoder=shop.encoder)
    assert steps == [("questions", 0, 2), ("questions", 1, 2)]


def test_set_questions_encodes_only_questions_that_the_bank_did_not_hold(shop: Workshop, own: Domain) -> None:
    shop.add(own.corpus, scope="corpus")
    steps: list[tuple[str, int, int]] = []
    ingest = Ingest(shop.library, shop.encoder, settings=shop.settings, progress=lambda *step: steps.append(step))
    ingest.set_questions(training_files(own.folder, own.manifest), query_encoder=shop.encoder)
    before = {question.text: question.vector for question in shop.library.questions("en")}
    (own.folder / "training" / "more.jsonl").write_text(
        lines({"lang": "en", "document": "roses", "answerable": False, "questions": ["what do roses cost"]}), "utf-8"
    )
    ingest.set_questions(training_files(own.folder, own.manifest), query_encoder=shop.encoder)
    assert steps == [("questions", 0, 2), ("questions", 0, 1)]
    after = {question.text: question.vector for question in shop.library.questions("en")}
    assert all(np.array_equal(after[text], vector) for text, vector in before.items())
    assert np.linalg.norm(after["what do roses cost"]) == pytest.approx(1.0, abs=1e-2)


@pytest.fixture
def current(shop: Workshop, garden_library: Library) -> Workshop:
    """A workshop whose library holds what the garden holds."""
    shutil.copytree(garden_library.folder, shop.library.folder)
    return shop


def update(shop: Workshop, domain: Domain) -> IngestReport:
    return bring_up_to_date(domain, shop.library, shop.encoder, settings=shop.settings)


def test_bring_up_to_date_stores_corpus_questions_and_an_index(shop: Workshop, own: Domain) -> None:
    report = update(shop, own)
    assert (report.added, report.erased, report.failed) == (5, 0, ())
    assert shop.library.question_count() == 2
    generation = shop.library.generation()
    assert generation is not None and generation.revision == shop.library.revision()


def test_bring_up_to_date_again_changes_nothing(current: Workshop, own: Domain) -> None:
    revision = current.library.revision()
    assert (update(current, own).added, current.library.revision()) == (0, revision)


def test_bring_up_to_date_erases_removed_documents_for_good(current: Workshop, own: Domain) -> None:
    current.write("mint.md", MINT)
    current.add()
    removed = current.library.find("mint.md")
    current.library.remove(removed)
    update(current, own)
    assert current.library.restore(removed) == []


def test_bring_up_to_date_keeps_what_a_user_added(current: Workshop, own: Domain) -> None:
    current.write("mint.md", MINT)
    current.add()
    update(current, own)
    assert "mint.md" in current.sources()


def test_bring_up_to_date_leaves_out_questions_whose_sentence_was_rewritten(current: Workshop, own: Domain) -> None:
    article = own.corpus / "en" / "tulips.md"
    article.write_text(article.read_text("utf-8").replace("in October", "in November"), "utf-8")
    update(current, own)
    assert [question.text for question in current.library.questions("en")] == ["which fertiliser do tulips like"]


def test_bring_up_to_date_packs_the_bank_with_the_domains_heads(current: Workshop, own: Domain) -> None:
    data = save(head_tensors(["tulips"], encoded=current.encoder.dimension))
    write_heads(own.folder / "training", {"en": data}, encoder_id=current.encoder.id)
    update(current, own)
    assert {"head", "learned"} <= set(current.library.question_bank("en"))
    write_heads(own.folder / "training", {"en": data}, encoder_id="other@1")
    update(current, own)
    assert not {"head", "learned"} & set(current.library.question_bank("en"))


def test_bring_up_to_date_refuses_a_head_that_was_changed(shop: Workshop, own: Domain) -> None:
    write_heads(own.folder / "training", {"en": save(head_tensors(["tulips"], encoded=shop.encoder.dimension))}, encoder_id=shop.encoder.id)
    (own.folder / "training" / "head-en.safetensors").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="does not have the hash"):
        update(shop, own)


def test_bring_up_to_date_of_a_domain_without_corpus_and_questions_is_an_empty_library(shop: Workshop, own: Domain) -> None:
    shutil.rmtree(own.corpus)
    shutil.rmtree(own.folder / "training")
    assert update(shop, own).added == 0
    assert (shop.library.counts(), shop.library.question_count()) == ((0, 0), 0)
    assert shop.library.generation() is not None


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_library_is_up_to_date_only_after_it_was_brought_so(shop: Workshop, own: Domain) -> None:
    assert not is_up_to_date(own, shop.library, shop.encoder)
    assert not shop.library.exists()
    update(shop, own)
    assert is_up_to_date(own, shop.library, shop.encoder)


@pytest.mark.parametrize(
    "change",
    [
        lambda shop, own: rewrite(own.corpus / "en" / "tulips.md", "in October", "in November"),
        lambda shop, own: (own.corpus / "en" / "mint.md").write_text(MINT),
        lambda shop, own: (own.corpus / "en" / "tulips.md").unlink(),
        lambda shop, own: rewrite(own.folder / "training" / "questions.jsonl", "best time", "best day"),
        lambda shop, own: (own.folder / "training" / "questions.jsonl").unlink(),
        lambda shop, own: write_heads(own.folder / "training", {"en": save(head_tensors(["x"], encoded=shop.encoder.dimension))}, encoder_id=shop.encoder.id),
        lambda shop, own: shop.library.remove([shop.library.documents()[0].id]),
    ],
)
def test_library_is_out_of_date_when_anything_of_the_domain_changed(current: Workshop, own: Domain, change: Callable[[Workshop, Domain], object]) -> None:
    assert is_up_to_date(own, current.library, current.encoder)
    change(current, own)
    assert not is_up_to_date(own, current.library, current.encoder)
    update(current, own)
    assert is_up_to_date(own, current.library, current.encoder)


def test_library_with_a_users_file_can_be_up_to_date(current: Workshop, own: Domain) -> None:
    current.write("mint.md", MINT)
    current.add()
    update(current, own)
    assert is_up_to_date(own, current.library, current.encoder)


def test_ingest_leaves_a_sound_database(shop: Workshop) -> None:
    shop.write("mint.md", MINT)
    shop.add()
    shop.write("mint.md", SAGE)
    shop.add()
    connection = sqlite3.connect(shop.library.path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("INSERT INTO keyword(keyword) VALUES('integrity-check')")
    connection.close()


def test_library_of_another_encoder_is_encoded_anew(current: Workshop, own: Domain, exact: Encoder) -> None:
    notes = current.write("mint.md", MINT)
    current.add(notes)
    assert update(current, own) is not None
    before, questions = current.library.vectors()[1], current.library.question_count()
    other = Library(current.library.folder, encoder_id=exact.id)
    assert not is_up_to_date(own, other, exact)
    report = bring_up_to_date(own, other, exact, settings=current.settings)
    assert (report.added, report.erased) == (0, 0)
    assert other.encoder() == exact.id and is_up_to_date(own, other, exact)
    after = other.vectors()[1]
    assert after.shape == before.shape and not np.array_equal(after, before)
    assert (after * before).sum(axis=1).min() > 0.95
    assert other.question_count() == questions > 0
    assert Retriever(other, exact).search("does mint spread?", k=1, lang="en").hits[0].title == "Mint"
    assert not encode_anew(other, exact, settings=current.settings)


def test_library_keeps_its_vectors_when_encoding_anew_fails(current: Workshop, exact: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    before, built_with = current.library.vectors()[1], current.library.encoder()
    monkeypatch.setattr("core.ingest.BATCH_PASSAGES", 2)
    calls: list[int] = []

    def fails(*arguments: object, **options: object) -> list[object]:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return encode_passages(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("core.ingest.encode_passages", fails)
    other = Library(current.library.folder, encoder_id=exact.id)
    with pytest.raises(KeyboardInterrupt):
        encode_anew(other, exact, settings=current.settings)
    assert np.array_equal(other.vectors()[1], before)
    assert other.encoder() == built_with
