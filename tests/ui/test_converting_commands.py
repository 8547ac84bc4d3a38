"""``convert``, ``export`` and ``eval --set``: a set of another format is added, asked and marked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.library import Library
from core.registry import Domain


@pytest.fixture
def cli(tmp_path: Path, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    return command_line(tmp_path / "home", home=home, garden=Domain(manifest=garden.manifest, folder=folder, door="test"), library=garden_library)


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    context = "The greenhouse at Elmfield was built in 1931. Its boiler burns wood pellets."
    questions = [
        {"id": "s1", "question": "When was the greenhouse at Elmfield built?", "answers": [{"text": "1931", "answer_start": 40}], "is_impossible": False},
        {"id": "s2", "question": "Who was the first gardener at Elmfield?", "answers": [], "is_impossible": True},
    ]
    path = tmp_path / "elmfield.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "Elmfield", "paragraphs": [{"context": context, "qas": questions}]}]}, indent=1))
    return path


@pytest.mark.slow
def test_set_is_converted_added_and_asked(cli: CommandLine, squad: Path, tmp_path: Path) -> None:
    made = cli("convert", str(squad), "--into", str(tmp_path / "out"), "--json").json
    assert (made["format"], made["items"], made["documents"], made["files"]) == ("squad", 2, 1, ["documents.jsonl", "items.jsonl"])
    assert cli("add", "garden", str(tmp_path / "out" / "documents.jsonl"), "--scope", "elmfield").code == 0
    by_items = cli("eval", "garden", "--set", str(tmp_path / "out" / "items.jsonl"), "--json").json
    straight = cli("eval", "garden", "--set", str(squad), "--out", str(tmp_path / "run"), "--json").json
    scores = {(score["metric"], score["slice"]): score["value"] for score in straight["scores"]}
    assert by_items["items"] == straight["items"] == 2 and scores["passage_right", "all"] == 1.0
    assert (tmp_path / "run" / "report.html").is_file()


def test_people_are_told_what_to_do_next(cli: CommandLine, squad: Path, tmp_path: Path) -> None:
    out = cli("convert", str(squad), "--into", str(tmp_path / "out"), "--limit", "1").out
    assert "squad: 1 items, 1 documents" in out and "1. domainkit add DOMAIN" in out and "2. domainkit eval DOMAIN --set" in out


def test_export_writes_and_says_so(cli: CommandLine, tmp_path: Path) -> None:
    assert cli("export", "garden", "--format", "beir", "--into", str(tmp_path / "b"), "--split", "all", "--json").json["files"][0] == "corpus.jsonl"
    assert "lm_eval --include_path ." in cli("export", "garden", "--format", "lm-eval", "--into", str(tmp_path / "h"), "--split", "all").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("convert", "none.json", "--into", "x"), "no such eval set: 'none.json'"),
        (("convert", "none.json", "--into", "x", "--split", "train"), "unknown split 'train'"),
        (("export", "garden", "--format", "beri", "--into", "x"), "did you mean 'beir'"),
        (("export", "garden", "--format", "beir", "--into", "x", "--split", "x"), "unknown split"),
    ],
)
def test_bad_calls_say_what_to_do(cli: CommandLine, arguments: tuple[str, ...], words: str) -> None:
    found = cli(*arguments)
    assert found.code == 2 and words in found.advice
