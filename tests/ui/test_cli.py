"""The commands over a home of their own: what they change, print and exit with."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.encoder import Encoder
from core.library import Library
from core.registry import Domain
from core.settings import ROOT

MINT = "# Mint\n\nMint spreads by runners. Plant it in a pot.\n"


@pytest.fixture
def cli(tmp_path: Path, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    """A command line whose home and domain folder the test may change."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    own = Domain(manifest=garden.manifest, folder=folder, door="test")
    return command_line(tmp_path / "home", home=home, garden=own, library=garden_library)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with a good file, a broken one and one of a kind that is not read."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "mint.md").write_text(MINT)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "program.exe").write_bytes(b"MZ")
    return folder


def test_domains_lists_the_shipped_ones_and_the_garden(cli: CommandLine) -> None:
    rows = {row["name"]: row for row in cli("domains", "--json").json["domains"]}
    assert set(rows) == {"education", "finance", "garden", "medical"}
    assert {"name", "title", "version", "languages", "documents", "passages", "adapter", "gate"} <= set(rows["garden"])
    assert (rows["garden"]["documents"], rows["medical"]["documents"]) == (5, 0)
    plain = cli("domains").out
    assert "garden" in plain and "no library: `domainkit reindex`" in plain


def test_domains_reports_a_broken_domain_and_lists_the_rest(cli: CommandLine) -> None:
    (cli.domains / "domain.toml").write_text("name = 3\n")
    result = cli("domains", "--json").json
    assert {row["name"] for row in result["domains"]} == {"education", "finance", "medical"}
    assert [item["name"] for item in result["broken"]] == ["garden"]
    assert "BROKEN: garden/domain.toml" in cli("domains").out
    outcome = cli("ask", "garden", "tulips")
    assert (outcome.code, outcome.out) == (2, "")
    assert "garden/domain.toml: " in outcome.advice


def test_add_reports_what_it_did_and_search_finds_it(cli: CommandLine, notes: Path) -> None:
    result = cli("add", "garden", str(notes), "--scope", "mine", "--json").json
    assert (result["added"], result["unchanged"], result["documents"]) == (1, 0, 6)
    assert [item["file"] for item in result["failed"]] == ["broken.pdf"]
    assert [item["file"] for item in result["skipped"]] == ["program.exe"]
    hits = cli("search", "garden", "does mint spread", "--scope", "mine", "--json").json["hits"]
    assert [hit["title"] for hit in hits] == ["Mint"]
    assert cli("status", "garden", "--json").json["scopes"] == {"corpus": 5, "mine": 1}
    again = cli("add", "garden", str(notes), "--scope", "mine", "--json").json
    assert (again["added"], again["unchanged"]) == (0, 1)


def test_add_takes_the_external_id_of_a_record(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"id": "PMID:123", "text": "Basil likes sun and warmth.", "title": "Basil", "url": "https://example.org/1"}) + "\n")
    assert cli("add", "garden", str(path), "--json").code == 0
    (hit,) = cli("search", "garden", "basil sun", "--scope", "added", "--json").json["hits"]
    assert (hit["external_id"], hit["title"]) == ("PMID:123", "Basil")


def test_add_of_only_broken_files_exits_2(cli: CommandLine, notes: Path) -> None:
    outcome = cli("add", "garden", str(notes / "broken.pdf"))
    assert outcome.code == 2
    assert outcome.advice == "nothing was added: 1 file(s) could not be read"
    assert "not added: broken.pdf" in outcome.err


@pytest.mark.parametrize("scope", ["", "x" * 81, "a\nb"])
def test_add_refuses_an_odd_scope(cli: CommandLine, notes: Path, scope: str) -> None:
    assert "--scope is a short printable name" in cli("add", "garden", str(notes), "--scope", scope).advice


def test_add_to_a_library_of_another_encoder_names_what_to_do(cli: CommandLine, notes: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(cli.home / "libraries" / "garden" / "library.sqlite3")
    connection.execute("UPDATE meta SET value='other@0' WHERE key='encoder'")
    connection.commit()
    connection.close()
    outcome = cli("add", "garden", str(notes))
    assert outcome.code == 2
    assert "was built with encoder other@0" in outcome.advice


def test_remove_hides_and_undo_brings_back(cli: CommandLine) -> None:
    question = ["ask", "garden", "When should tulip bulbs be planted?", "--json"]
    removed = cli("remove", "garden", "tulips", "--json").json
    assert len(removed["removed"]) == 2  # one per language
    assert cli(*question).json["status"] == "abstained"
    assert cli("status", "garden", "--json").json["removed"] == 2
    assert len(cli("remove", "garden", "tulips", "--undo", "--json").json["restored"]) == 2
    assert cli(*question).json["status"] == "answered"


def test_remove_purge_erases(cli: CommandLine) -> None:
    assert cli("remove", "garden", "roses", "--purge", "--json").json["purged"]
    status = cli("status", "garden", "--json").json
    assert (status["documents"], status["removed"]) == (3, 0)
    assert cli("remove", "garden", "roses", "--undo").code == 2


def test_status_of_a_domain_without_library_is_zero(cli: CommandLine) -> None:
    status = cli("status", "medical", "--json").json
    assert (status["documents"], status["generation"]) == (0, 0)
    outcome = cli("ask", "medical", "What is a burn?")
    assert outcome.code == 2
    assert outcome.advice == "domain 'medical' has no library yet: run `domainkit reindex medical`"
    assert cli("search", "medical", "burn").advice == outcome.advice


def test_status_lists_documents(cli: CommandLine) -> None:
    listed = cli("status", "garden", "--documents", "--json").json["list"]
    assert sorted((row["title"], row["lang"]) for row in listed)[:2] == [("Compost", "en"), ("Roses", "en")]
    assert "Tulips" in cli("status", "garden", "--documents").out


def test_reindex_follows_the_corpus(cli: CommandLine) -> None:
    before = cli("status", "garden", "--json").json
    assert before["current"]
    same = cli("reindex", "garden", "--json").json
    assert (same["added"], same["unchanged"], same["generation"]) == (0, 5, before["generation"])
    article = cli.domains / "corpus" / "en" / "compost.md"
    article.write_text(article.read_text().replace("6 to 12 months", "about 9 months"))
    (cli.domains / "corpus" / "en" / "roses.md").unlink()
    changed = cli("reindex", "garden", "--json").json
    assert (changed["added"], changed["unchanged"], changed["documents"]) == (1, 3, 4)
    answer = cli("ask", "garden", "How long does compost take to be ready?", "--json").json
    assert "about 9 months" in answer["text"]


def test_reindex_of_an_unknown_domain_is_refused(cli: CommandLine) -> None:
    assert "did you mean 'garden'" in cli("reindex", "gardne").advice


def test_reindex_keeps_what_a_user_added(cli: CommandLine, notes: Path) -> None:
    cli("add", "garden", str(notes / "mint.md"))
    assert cli("reindex", "garden", "--json").json["documents"] == 6


def test_doctor_finds_everything_in_order_but_libraries_not_built(cli: CommandLine) -> None:
    outcome = cli("doctor", "--json")
    findings = {finding["name"]: finding for finding in outcome.json["findings"]}
    assert findings["encoder"]["ok"] and findings["domain garden"]["ok"] and findings["import names"]["ok"]
    assert not findings["domain medical"]["ok"]
    assert findings["domain medical"]["advice"] == "domainkit reindex medical"
    assert outcome.code == 1
    assert "domain medical" in outcome.advice


def test_doctor_names_a_damaged_encoder_and_a_damaged_library(cli: CommandLine, home: Path, encoder: Encoder) -> None:
    (cli.home / "encoders").unlink()
    shutil.copytree(home / "encoders", cli.home / "encoders")
    graph = cli.home / "encoders" / encoder.folder.name / "int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    for path in (cli.home / "libraries" / "garden").glob("library.sqlite3*"):
        path.write_bytes(b"rubbish" * 1_000)
    outcome = cli("doctor", "--json")
    findings = {finding["name"]: finding for finding in outcome.json["findings"]}
    assert findings["encoder"]["advice"] == "domainkit doctor --fix"
    assert "was changed on disk" in findings["encoder"]["detail"]
    assert "domainkit reindex garden" in findings["domain garden"]["advice"]
    assert outcome.code == 1
    for command in (["ask", "garden", "tulips"], ["search", "garden", "tulips"]):
        refused = cli(*command)
        assert (refused.code, refused.out) == (2, "")
        assert "domainkit doctor --fix" in refused.advice


def test_ask_without_a_compiled_encoder_names_what_to_do(cli: CommandLine) -> None:
    (cli.home / "encoders").unlink()
    outcome = cli("ask", "garden", "tulips")
    assert (outcome.code, outcome.out) == (2, "")
    assert "run `domainkit doctor --fix`" in outcome.advice


def test_ask_prints_an_answer_with_numbered_sources(cli: CommandLine) -> None:
    out = cli("ask", "garden", "When should tulip bulbs be planted?").out
    assert "Plant tulip bulbs in October, about 15 cm deep. [1]" in out
    assert "[1] Tulips" in out
    assert "General gardening information." in out
    assert "answered, confidence" in out
    abstained = cli("ask", "garden", "Who won the football world cup in 1998?").out
    assert "I don't know" in abstained and "Nearest topics: " in abstained
    assert cli("ask", "garden", "我不想活了").out.count("请立即拨打当地急救电话。") == 1


def test_search_shows_one_passage_per_document_unless_asked_for_all(cli: CommandLine) -> None:
    short = cli("search", "garden", "tulips", "--json").json["hits"]
    every = cli("search", "garden", "tulips", "--every-passage", "--json").json["hits"]
    assert len(short) == len({hit["document_id"] for hit in short}) < len(every)
    assert cli("search", "garden", "tulips", "--scope", "none").out == "nothing found\n"


def test_eval_stores_a_run_and_gates_on_the_manifests_floors(cli: CommandLine, tmp_path: Path) -> None:
    result = cli("eval", "garden", "--out", str(tmp_path / "run"), "--json").json
    assert (result["items"], result["gate"]) == (4, {"checked": False, "failed": []})
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "cost.json",
        "environment.json",
        "items.jsonl",
        "lock.json",
        "report.html",
        "scores.json",
    ]
    refused = cli("eval", "garden", "--out", str(tmp_path / "run"))
    assert "'run' is not empty; name a new folder with --out" in refused.advice
    manifest = cli.domains / "domain.toml"
    manifest.write_text(manifest.read_text() + "\n[gate.floors]\nspans_hold = 1.0\nescalation = 1.0\n")
    assert cli("eval", "garden", "--gate").code == 0
    manifest.write_text(manifest.read_text() + "no_such_metric = 0.1\n")
    failed = cli("eval", "garden", "--gate", "--json")
    assert (failed.code, failed.json["gate"]["failed"]) == (1, ["no_such_metric is missing from the run"])


def test_eval_compares_runs_gates_against_one_and_writes_junit(cli: CommandLine, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert cli("eval", "garden", "--out", str(first)).code == 0
    again = cli("eval", "garden", "--out", str(second), "--gate", "--baseline", str(first), "--seed", "4", "--junit", str(tmp_path / "j.xml"), "--json")
    assert (again.code, again.json["gate"]) == (0, {"checked": True, "failed": []})
    assert (second / "gate.json").is_file() and "<testcase" in (tmp_path / "j.xml").read_text()
    found = cli("eval", "garden", "--compare", str(first), str(second), "--json").json
    assert (found["items"], found["flips"], found["changed"]) == (4, [], [])
    said = cli("eval", "garden", "--compare", str(first), str(second), "--out", str(tmp_path / "new" / "page"))
    assert "no item flipped" in said.out and "report.html" in said.out
    page = (tmp_path / "new" / "page" / "report.html").read_text()
    assert "<h2>Against " in page
    (tmp_path / "file").write_text("")
    assert "cannot write into 'file'" in cli("eval", "garden", "--compare", str(first), str(second), "--out", str(tmp_path / "file")).advice


def test_pack_is_unpacked_elsewhere_and_answers(cli: CommandLine, tmp_path: Path) -> None:
    packed = cli("pack", "garden", "--out", str(tmp_path), "--json").json
    assert packed["files"] > 5 and Path(packed["path"]).is_file()
    assert "--replace puts the pack in its place" in cli("unpack", packed["path"]).advice
    made = cli("unpack", packed["path"], "--into", str(tmp_path / "there"), "--json", DOMAINKIT_DOMAINS="")
    assert (made.code, made.json["sha256"]) == (0, packed["sha256"])
    assert (tmp_path / "there" / "garden" / "domain.toml").is_file()


def test_eval_of_a_file_with_a_bad_line_names_it(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"id": "a", "question": "tulips"}\n{"id": "b", "questoin": "x"}\n')
    outcome = cli("eval", "garden", "--set", str(path))
    assert outcome.code == 2
    assert "set.jsonl:2: " in outcome.advice and "question" in outcome.advice


def test_calibrate_needs_enough_questions(cli: CommandLine) -> None:
    outcome = cli("calibrate", "garden")
    assert outcome.code == 2
    assert not (cli.domains / "calibration.json").exists()


def test_setting_of_a_wrong_profile_is_named(cli: CommandLine) -> None:
    assert cli("ask", "garden", "tulips", DOMAINKIT_PROFILE="cloud").advice.startswith("DOMAINKIT_PROFILE: ")


@pytest.mark.slow
def test_interrupted_add_says_that_it_can_go_on_and_leaves_the_lock_free(cli: CommandLine, tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{n}", "text": f"Record number {n} tells of plant {n}. " * 12}) + "\n" for n in range(4_000)))
    command = [sys.executable, "-m", "ui.cli", "add", "garden", str(path), "--json"]
    # A suite that was started in the background has its children ignore Ctrl+C; a person's terminal does not.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=cli.environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, preexec_fn=heeding) as process:
        library = Library(cli.home / "libraries" / "garden", encoder_id=encoder.id)
        ends = time.monotonic() + 60
        while library.counts()[0] <= 5 and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err) == ("", "interrupted; what was finished is kept, run the same command again to go on\n")
    kept = library.counts()[0]
    assert 5 < kept < 4_005
    with library.writing():
        pass
    library.close()


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import output

    now = [0.0]
    monkeypatch.setattr("ui.output.time.monotonic", lambda: now[0])
    with output.progress("train garden", quiet=False) as progress:
        for second in range(100):
            now[0] = float(second)
            progress("training", second, 1_000)
    assert capsys.readouterr().err.splitlines() == [f"train garden: training {n} of 1,000" for n in (30, 60, 90)]
