"""``pack`` and ``unpack`` on the command line: what they ask, say and print, and that they open no socket."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
from command_line import CommandLine, command_line

from core.library import Library
from core.packing import pack, read_index
from core.registry import Domain
from ui.commands import packing


@pytest.fixture
def cli(tmp_path: Path, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    """A command line over the garden, whose library the test may change."""
    return command_line(tmp_path / "home", home=home, garden=garden, library=garden_library)


@pytest.fixture
def desk(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """The same after a document was added."""
    (tmp_path / "mower.md").write_text("# Mower\n\nThe tank of the mower holds 0.8 litres of petrol.\n")
    assert cli("add", "garden", str(tmp_path / "mower.md"), "--scope", "manuals").code == 0
    return cli


@pytest.fixture
def other(tmp_path: Path, home: Path, garden: Domain) -> CommandLine:
    """A command line over another home that knows no garden."""
    made = command_line(tmp_path / "other", home=home, garden=garden, library=None)
    made.domains = tmp_path / "none"
    made.domains.mkdir()
    return made


def test_pack_says_what_it_wrote(cli: CommandLine, tmp_path: Path) -> None:
    said = cli("pack", "garden", "--out", str(tmp_path))
    made = cli("pack", "garden", "--out", str(tmp_path), "--json").json
    assert f"packed garden 0.1.0: {made['files']} files" in said.out and f"sha256 {made['sha256']}" in said.out
    assert set(made) == {"domain", "version", "path", "files", "bytes", "sha256", "encoder", "code", "documents"}
    assert made["encoder"].startswith("53aa51172d142c89") and (made["code"], made["documents"]) == ("", 0)


def test_pack_of_a_domain_that_is_not_valid_is_a_no(cli: CommandLine, garden: Domain, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    cli.domains = folder
    (folder / "corpus" / "en" / "x.pkl").write_bytes(b"\x80")
    found = cli("pack", "garden", "--out", str(tmp_path))
    assert found.code == 1 and "'garden' is not valid, so it was not packed (corpus/en/x.pkl: " in found.advice
    assert not list(tmp_path.glob("*.domainkit"))


def test_pack_of_documents_that_nobody_confirms_is_refused(desk: CommandLine, tmp_path: Path) -> None:
    for more in ((), ("--json",)):
        found = desk("pack", "garden", "--with-documents", "--out", str(tmp_path), *more)
        assert found.code == 2 and "say --yes if they may" in found.advice
        assert "1 document(s) were added to 'garden' (collections: manuals), for instance 'Mower'" in found.err
        assert "whoever has the file can read their whole text" in found.err
    assert not list(tmp_path.glob("*.domainkit"))


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2)])
def test_pack_of_documents_asks_a_person(desk: CommandLine, tmp_path: Path, answer: str, code: int) -> None:
    with mock.patch.object(sys, "stdin") as stdin, mock.patch("typer.confirm", return_value=answer == "y") as asked:
        stdin.isatty.return_value = True
        found = desk("pack", "garden", "--with-documents", "--out", str(tmp_path))
    assert found.code == code and asked.call_args.args == ("Pack them?",)
    assert len(list(tmp_path.glob("*.domainkit"))) == (1 if code == 0 else 0)
    assert ("it holds 1 added document(s), readable by whoever has the file" in found.out) == (code == 0)


def test_pack_of_documents_where_none_was_added_says_so(cli: CommandLine, tmp_path: Path) -> None:
    found = cli("pack", "garden", "--with-documents", "--out", str(tmp_path), "--json")
    assert (found.code, found.json["documents"]) == (0, 0) and "no document was added to 'garden'" in found.err


def test_unpacked_documents_are_in_the_library_and_answer(desk: CommandLine, other: CommandLine, tmp_path: Path) -> None:
    path = desk("pack", "garden", "--with-documents", "--yes", "--out", str(tmp_path), "--json").json["path"]
    made = other("unpack", path, "--json").json
    assert (made["documents"], made["documents_stored"], made["found"], made["same_encoder"]) == (1, 1, True, True)
    assert other("status", "garden", "--json").json["scopes"] == desk("status", "garden", "--json").json["scopes"]
    hit = other("search", "garden", "how much petrol fits into the mower tank", "--json").json["hits"][0]
    assert (hit["title"], hit["external_id"]) == ("Mower", "mower.md")
    assert not list(other.home.rglob(packing.DOCUMENTS))
    again = other("unpack", path, "--replace")
    assert "0 of 1 added document(s) stored, the others were there already" in again.out


def test_documents_are_left_out_where_the_domain_is_not_found(desk: CommandLine, other: CommandLine, tmp_path: Path) -> None:
    path = desk("pack", "garden", "--with-documents", "--yes", "--out", str(tmp_path), "--json").json["path"]
    found = other("unpack", path, "--into", str(tmp_path / "shelf"))
    assert found.code == 0 and "1 added document(s) were left out" in found.err
    assert f"it is not found there yet: export DOMAINKIT_DOMAINS={tmp_path / 'shelf'}" in found.out
    assert not list(other.home.rglob(packing.DOCUMENTS))


def test_failure_of_the_library_says_that_the_domain_is_installed(desk: CommandLine, other: CommandLine, tmp_path: Path) -> None:
    path = desk("pack", "garden", "--with-documents", "--yes", "--out", str(tmp_path), "--json").json["path"]
    library = Library(other.home / "libraries" / "garden")
    with library.writing():
        found = other("unpack", path)
    assert found.code == 2 and found.advice.startswith("the domain is installed, its added documents are not all stored: library 'garden' is being written")
    assert (other.home / "domains" / "garden" / "domain.toml").is_file()
    assert other("unpack", path, "--replace", "--json").json["documents_stored"] == 1


def test_pack_whose_evals_need_added_documents_says_how(desk: CommandLine, garden: Domain, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    desk.domains = folder
    item = {"id": "m1", "question": "size of the fuel tank", "lang": "en", "answers": ["0.8"], "sources": [{"document": "mower.md", "quote": "0.8 litres"}]}
    with (folder / "evals" / "items.jsonl").open("a") as file:
        file.write(json.dumps(item) + "\n")
    found = desk("pack", "garden", "--out", str(tmp_path))
    assert found.code == 2 and "pack them as well with --with-documents" in found.advice
    path = desk("pack", "garden", "--with-documents", "--yes", "--out", str(tmp_path), "--json").json["path"]
    assert read_index(Path(path)).documents


def test_unpack_says_when_the_encoder_is_another(garden: Domain, other: CommandLine, tmp_path: Path) -> None:
    found = other("unpack", str(pack(garden, out=tmp_path, encoder="a" * 64).path), "--json")
    assert (found.code, found.json["same_encoder"]) == (0, False)
    assert "another base encoder" in found.err


def test_unpack_names_the_next_step_and_is_found_at_once(garden: Domain, other: CommandLine, tmp_path: Path) -> None:
    said = other("unpack", str(pack(garden, out=tmp_path).path))
    assert "next: domainkit reindex garden" in said.out and "not found" not in said.out
    assert "garden" in [one["name"] for one in other("domains", "--json").json["domains"]]


def test_unpack_refuses_a_changed_pack_with_exit_code_2_and_writes_nothing(garden: Domain, other: CommandLine, tmp_path: Path) -> None:
    path = pack(garden, out=tmp_path).path
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    found = other("unpack", str(path), "--json")
    assert (found.code, found.out) == (2, "") and "its hash does not fit" in found.advice
    assert not (other.home / "domains").exists()


def test_unpack_of_code_has_to_be_allowed_in_words(other: CommandLine, tmp_path: Path) -> None:
    from core.manifest import load_manifest

    folder = Path(__file__).resolve().parents[1] / "plugin_package" / "src" / "acme_gardening"
    domain = Domain(manifest=load_manifest(folder), folder=folder, door="test")
    path = str(pack(domain, out=tmp_path).path)
    found = other("unpack", path)
    assert found.code == 2 and "holds code (tools.py)" in found.advice and "--allow-code" in found.advice
    assert other("unpack", path, "--allow-code", "--json").json["code"] == "tools.py"


def test_domain_of_a_listed_folder_is_replaced_only_there(cli: CommandLine, garden: Domain, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "shelf" / "garden"))
    cli.domains = folder.parent
    path = str(pack(garden, out=tmp_path).path)
    assert "there is a domain 'garden' 0.1.0 already" in cli("unpack", path).advice
    assert "--into that folder replaces it there" in cli("unpack", path, "--replace").advice
    (folder / "mine.md").write_text("x")
    assert cli("unpack", path, "--replace", "--into", str(folder.parent)).code == 0
    assert not (folder / "mine.md").exists() and (folder / "domain.toml").is_file()
