"""Documents that people added travel in a pack: with their ids, passages and citations, readable by ``add``, and never unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.assistant import Assistant, library_folder
from core.documents.loading import read_documents as parsed
from core.encoder import Encoder
from core.errors import IntegrityError, UsageError
from core.ingest import Ingest, bring_up_to_date
from core.library import Library
from core.packing import pack, read_index, restore_documents, unpack
from core.packing.documents import look_up, read_documents, write_documents
from core.registry import Domain
from core.settings import Settings


@pytest.fixture
def desk(garden: Domain, home: Path, settings: Settings, encoder: Encoder, tmp_path: Path) -> Library:
    """A garden library to which two collections were added: pages of a manual, and a table."""
    own = place_of(tmp_path / "one", home, settings)
    library = Library(library_folder(own, garden.name), encoder_id=encoder.id)
    bring_up_to_date(garden, library, encoder, settings=own)
    (tmp_path / "manual.jsonl").write_text(
        "".join(
            json.dumps({"id": "manual", "title": "Mower manual", "url": "https://example.org/m", "page": n, "text": text}) + "\n"
            for n, text in ((3, "Sharpen the blade of the mower every 25 hours. Wear gloves."), (4, "The tank of the mower holds 0.8 litres of petrol."))
        )
    )
    (tmp_path / "notes.md").write_text("# 温室\n\n## 温度\n\n温室在夜间应保持在12度以上。\n", "utf-8")
    (tmp_path / "old.md").write_text("# Old shed\n\nThe old shed was green.\n")
    ingest = Ingest(library, encoder, settings=settings)
    ingest.add_paths([tmp_path / "manual.jsonl"], scope="manuals")
    ingest.add_paths([tmp_path / "notes.md", tmp_path / "old.md"], scope="added")
    library.remove(library.find("old.md"))
    return library


def place_of(folder: Path, home: Path, settings: Settings) -> Settings:
    """Settings of a fresh home that shares the compiled encoder."""
    folder.mkdir()
    for name in ("encoders", "segmenter"):
        if (home / name).exists():
            (folder / name).symlink_to(home / name)
    return settings.model_copy(update={"home": folder})


def moved(path: Path, garden: Domain, there: Settings, encoder: Encoder, *, times: int = 1) -> Library:
    """Unpack a pack under another home and store its documents there, as the command does."""
    documents = there.home / "documents.jsonl"
    made = unpack(path, into=there.home / "domains", documents=documents, replace=True)
    library = Library(library_folder(there, garden.name), encoder_id=encoder.id)
    bring_up_to_date(Domain(manifest=garden.manifest, folder=made.path, door="test"), library, encoder, settings=there)
    for _ in range(times):
        restore_documents(documents, library=library, encoder=encoder, settings=there)
    bring_up_to_date(Domain(manifest=garden.manifest, folder=made.path, door="test"), library, encoder, settings=there)
    return library


def test_added_documents_stay_behind_unless_they_are_asked_for(garden: Domain, desk: Library, tmp_path: Path) -> None:
    alone = pack(garden, out=tmp_path / "alone.domainkit").path
    assert read_index(alone).documents is None and b"mower" not in alone.read_bytes()
    found = read_index(pack(garden, out=tmp_path / "all.domainkit", library=desk).path).documents
    assert found is not None and found.count == 2


def test_pack_with_documents_is_its_owners_alone_and_the_same_each_time(garden: Domain, desk: Library, tmp_path: Path) -> None:
    one, two = (pack(garden, out=tmp_path / name, library=desk).path for name in ("one.domainkit", "two.domainkit"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_mode & 0o077 == 0


def test_library_without_added_documents_gives_a_pack_without_them(garden: Domain, garden_library: Library, tmp_path: Path) -> None:
    assert pack(garden, out=tmp_path, library=garden_library).documents == 0


def test_moved_library_holds_the_same_documents_passages_and_collections(
    garden: Domain, desk: Library, home: Path, settings: Settings, encoder: Encoder, tmp_path: Path
) -> None:
    library = moved(pack(garden, out=tmp_path, library=desk).path, garden, place_of(tmp_path / "two", home, settings), encoder)
    assert library.corpus_sha256() == desk.corpus_sha256() and library.passages_sha256() == desk.passages_sha256()
    for one in desk.added_documents():
        assert library.document(one) == desk.document(one)
        assert library.passages_of(one) == desk.passages_of(one)
    assert {row.scope for row in library.documents()} == {"corpus", "manuals", "added"}
    with pytest.raises(UsageError, match=r"no document 'old.md'"):
        library.find("old.md")


@pytest.mark.slow
def test_moved_assistant_gives_the_same_answer_from_an_added_document(
    garden: Domain, desk: Library, home: Path, settings: Settings, encoder: Encoder, tmp_path: Path
) -> None:
    there = place_of(tmp_path / "two", home, settings)
    moved(pack(garden, out=tmp_path, library=desk).path, garden, there, encoder)
    one = Assistant(garden, settings=settings.model_copy(update={"home": tmp_path / "one"}), encoder=encoder)
    two = Assistant(garden, settings=there, encoder=encoder)
    for question in ("how much petrol fits into the mower tank", "温室夜间保持多少度", "when do I plant tulips"):
        first, second = one.ask(question), two.ask(question)
        assert first.hits and (first.status, first.text) == (second.status, second.text)
        assert [hit.passage_id for hit in first.hits] == [hit.passage_id for hit in second.hits]
        assert [claim.citations for claim in first.claims] == [claim.citations for claim in second.claims]
        # The int8 encoder rounds by what else is in a batch, and documents are encoded in other batches than they were added in.
        assert second.confidence == pytest.approx(first.confidence, abs=0.01)
    assert two.ask("how much petrol fits into the mower tank").hits[0].page == 4


def test_documents_that_are_there_already_cost_nothing(garden: Domain, desk: Library, home: Path, settings: Settings, encoder: Encoder, tmp_path: Path) -> None:
    with (tmp_path / "documents.jsonl").open("wb") as file:
        write_documents(desk, file)
    before = desk.revision()
    assert restore_documents(tmp_path / "documents.jsonl", library=desk, encoder=encoder, settings=settings) == (0, 2)
    assert desk.revision() == before


def test_packed_documents_are_read_by_add_as_well(desk: Library, settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "documents.jsonl").open("wb") as file:
        write_documents(desk, file)
    found = list(parsed(tmp_path / "documents.jsonl", scope="added", settings=settings))
    assert {document.id for document in found} == set(desk.added_documents())


def test_file_that_was_added_where_it_came_from_is_known_where_it_went(
    garden: Domain, desk: Library, home: Path, settings: Settings, encoder: Encoder, tmp_path: Path
) -> None:
    library = moved(pack(garden, out=tmp_path, library=desk).path, garden, place_of(tmp_path / "two", home, settings), encoder, times=2)
    report = Ingest(library, encoder, settings=settings).add_paths([tmp_path / "manual.jsonl"], scope="manuals")
    assert (report.added, report.unchanged, report.erased) == (0, 1, 0)


def test_eval_item_about_an_added_document_is_checked_against_the_pack(garden: Domain, desk: Library, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    item = {
        "id": "m1",
        "question": "size of the fuel tank",
        "lang": "en",
        "answers": ["0.8"],
        "sources": [{"document": "manual", "page": 4, "quote": "0.8 litres"}],
    }
    with (folder / "evals" / "items.jsonl").open("a") as file:
        file.write(json.dumps(item) + "\n")
    from core.checking import check_folder
    from ui.commands.verticals import library_lookup

    look = library_lookup(garden.name, Settings(home=tmp_path / "one"))
    domain = Domain(manifest=garden.manifest, folder=folder, door="test")
    path = pack(domain, out=tmp_path, library=desk, report=check_folder(folder, elsewhere=look)).path
    assert unpack(path, into=tmp_path / "there").documents == 2


def test_look_up_finds_documents_by_every_name_and_asks_on(desk: Library, tmp_path: Path) -> None:
    with (tmp_path / "documents.jsonl").open("wb") as file:
        write_documents(desk, file)
    look = look_up(tmp_path / "documents.jsonl", otherwise=lambda document, page: f"asked {document}")
    assert look("manual", 4) == look("manual.jsonl", 4) == "The tank of the mower holds 0.8 litres of petrol."
    assert look("manual", 9) == "" and look("other", None) == "asked other"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"text": "The tank holds 5 litres."}, "not have the id|leaves its page"),
        ({"scope": "corpus"}, "the corpus is part of the domain"),
        ({"title": "Another"}, "not have the id"),
        ({"passages": [{"start": 0, "end": 10_000, "heading": "x", "sentences": []}]}, "a passage leaves its page"),
        ({"passages": [{"start": 0, "end": 5, "heading": "x", "sentences": [[2, 9]]}]}, "a sentence leaves its passage"),
        ({"passages": [{"start": 0, "end": 5, "heading": "x", "sentences": []}] * 2}, "has a passage twice"),
        ({"more": 1}, "not valid"),
        ({"page": 0}, "not valid"),
    ],
)
def test_packed_document_that_says_something_else_is_refused(desk: Library, tmp_path: Path, change: dict[str, object], match: str) -> None:
    path = tmp_path / "documents.jsonl"
    with path.open("wb") as file:
        write_documents(desk, file)
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]) + "\n")
    with pytest.raises(IntegrityError, match=match):
        list(read_documents(path))


@pytest.mark.parametrize("line", ["", "{", "[" * 100_000, "null"])
def test_line_that_is_no_document_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "documents.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(IntegrityError, match="line 1 of the packed documents is not valid"):
        list(read_documents(path))


def test_document_whose_pages_are_apart_is_refused(desk: Library, tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    with path.open("wb") as file:
        write_documents(desk, file)
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == 3
    path.write_text("\n".join([lines[0], lines[2], lines[1]]) + "\n", "utf-8")
    with pytest.raises(IntegrityError, match="does not have the id"):
        list(read_documents(path))
