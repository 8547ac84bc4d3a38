"""Killed at any moment, a library loses nothing that it had acknowledged and the next run finishes the work."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.encoder import Encoder
from core.library import Library
from core.registry import Domain
from core.retrieval import Retriever
from core.settings import ROOT

pytestmark = pytest.mark.slow
RECORDS = 2_000
KILLS = 10


@pytest.fixture
def cli(tmp_path: Path, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    return command_line(tmp_path / "home", home=home, garden=garden, library=garden_library)


def committed(library: Library) -> set[str]:
    """Return what a reader sees now, through a connection of its own."""
    found = {row.external_id for row in library.documents(scope="added")}
    library.close()
    return found


def sound(path: Path) -> None:
    """Check the whole database and its full-text index."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("INSERT INTO keyword(keyword) VALUES('integrity-check')")
    connection.close()


def test_killed_add_loses_no_acknowledged_document(cli: CommandLine, tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "records.jsonl"
    lines = (json.dumps({"id": f"r{n}", "text": f"Specimen number {n} grows in bed {n % 97}. It flowers in week {n % 52}."}) for n in range(RECORDS))
    path.write_text("\n".join(lines) + "\n")
    library = Library(cli.home / "libraries" / "garden", encoder_id=encoder.id)
    command = [sys.executable, "-m", "ui.cli", "add", "garden", str(path), "--json"]
    chance = random.Random(20_261)
    acknowledged: set[str] = set()
    killed = 0
    for number in range(KILLS):
        before = library.counts()[0]
        with subprocess.Popen(command, env=cli.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            # Every third kill falls into the start, the others into the writing, soon after a batch was committed.
            while number % 3 and process.poll() is None and library.counts()[0] == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.15 if number % 3 else 1.0))
            acknowledged |= committed(library)
            process.send_signal(signal.SIGKILL)
            killed += process.wait(30) == -signal.SIGKILL
        assert committed(library) >= acknowledged
        hits = Retriever(library, encoder).search("When should tulip bulbs be planted?", k=3, lang="en").hits
        assert hits[0].title == "Tulips"
        sound(library.path)
        library.close()
    assert killed >= 6
    assert acknowledged
    outcome = cli.process("add", "garden", str(path), "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["documents"] == RECORDS + 5
    assert committed(library) == {f"r{n}" for n in range(RECORDS)}
    for number in (0, 777, RECORDS - 1):
        hits = Retriever(library, encoder).search(f"Specimen number {number}", k=5, lang="en").hits
        assert f"r{number}" in {hit.external_id for hit in hits}
    sound(library.path)
    generation = library.generation()
    assert generation is not None and generation.revision == library.revision()
    names = {entry.name for entry in (library.folder / "generations").iterdir() if not entry.name.startswith(".")}
    assert generation.file in names and len(names) <= 2
