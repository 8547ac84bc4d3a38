"""Damaged files under DOMAINKIT_HOME are refused or rebuilt; a native parser never sees them and nothing crashes."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.assistant import Assistant
from core.encoder import Encoder, compiled_folder
from core.errors import DomainkitError
from core.library import Library
from core.registry import Domain
from core.retrieval import Retriever
from core.settings import Settings
from core.types import Answer

pytestmark = pytest.mark.slow
MUTANTS = 200
QUESTION = "When should tulip bulbs be planted?"


def mutants(data: bytes, *, seed: int) -> Iterator[bytes]:
    """Yield changed copies: flipped bits, other bytes, cuts, insertions, zeroed blocks, swapped halves."""
    chance = random.Random(seed)
    made = 0
    while made < MUTANTS:
        kind, at = chance.randrange(6), chance.randrange(len(data))
        size = chance.choice([1, 4, 64, 4_096])
        changed = bytearray(data)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + size] = chance.randbytes(len(changed[at : at + size]))
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            changed[at:at] = chance.randbytes(size)
        elif kind == 4:
            changed[at : at + size] = bytes(len(changed[at : at + size]))
        else:
            changed[:] = changed[at:] + changed[:at]
        if bytes(changed) != data:
            made += 1
            yield bytes(changed)


@pytest.fixture
def own(garden_library: Library, encoder: Encoder, tmp_path: Path) -> Library:
    """A copy of the garden's library in one file, without a write-ahead log."""
    folder = tmp_path / "libraries" / "garden"
    shutil.copytree(garden_library.folder, folder)
    connection = sqlite3.connect(folder / "library.sqlite3")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return Library(folder, encoder_id=encoder.id)


def test_mutants_of_an_index_generation_are_rebuilt_unseen_by_faiss(own: Library, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    expected = Retriever(own, encoder).search(QUESTION, k=5, lang="en").hits
    generation = own.generation()
    assert generation is not None
    path = own.folder / "generations" / generation.file
    monkeypatch.setattr(faiss, "deserialize_index", lambda data: pytest.fail("FAISS parsed a mutant"))
    for mutant in mutants(path.read_bytes(), seed=1):
        path.write_bytes(mutant)
        assert Retriever(own, encoder).search(QUESTION, k=5, lang="en").hits == expected


@pytest.mark.parametrize("name", ["int8.onnx", "tokenizer.json"])
def test_mutants_of_an_encoder_file_are_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(compiled_folder(settings), folder)
    manifest = json.loads((folder / "encoder.json").read_text()) | {"seal": ""}
    for other in ("int8.onnx", "tokenizer.json"):
        # Hashing 20 MB two hundred times proves nothing more than hashing its first 64 KB.
        (folder / other).write_bytes((folder / other).read_bytes()[:65_536])
        manifest["files"][other] = hashlib.sha256((folder / other).read_bytes()).hexdigest()
    (folder / "encoder.json").write_text(json.dumps(manifest))
    Encoder(folder)
    for mutant in mutants((folder / name).read_bytes(), seed=2):
        (folder / name).write_bytes(mutant)
        with pytest.raises(DomainkitError, match="domainkit doctor --fix"):
            Encoder(folder)


def test_mutants_of_an_encoder_manifest_are_refused_or_change_nothing(settings: Settings, encoder: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(compiled_folder(settings), folder)
    path = folder / "encoder.json"
    texts = ["When do I plant tulips?", "word " * 300]
    expected = encoder.encode(texts)
    accepted = 0
    for mutant in mutants(path.read_bytes(), seed=3):
        path.write_bytes(mutant)
        try:
            opened = Encoder(folder)
        except DomainkitError as error:
            assert "\n" not in str(error)
            continue
        accepted += 1
        assert opened.id == encoder.id
        assert np.array_equal(opened.encode(texts), expected)
    assert accepted < MUTANTS / 10


def test_changed_digits_of_an_encoder_manifest_are_noticed(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(compiled_folder(settings), folder)
    manifest = json.loads((folder / "encoder.json").read_text())
    for change in ({"max_tokens": 156}, {"dimension": 385}, {"pooling": "cls"}, {"base": "other"}, {"base_sha256": "0" * 64}):
        (folder / "encoder.json").write_text(json.dumps(manifest | change))
        with pytest.raises(DomainkitError, match="domainkit doctor --fix"):
            Encoder(folder)


def test_mutants_of_the_librarys_pointer_are_refused_or_rebuilt(own: Library, encoder: Encoder) -> None:
    expected = Retriever(own, encoder).search(QUESTION, k=5, lang="en").hits
    chance = random.Random(4)
    files = ["", "..", "/etc/passwd", "../library.sqlite3", "a\0b", "x" * 5_000, "\n", "none.index", b"\xff\xfe"]
    values = {
        "file": files,
        "sha256": ["", "0" * 64, "not a hash", "a\0b", 7, b"\xff"],
        "revision": [-1, 0, 2**62, "text", 1.5, b"\xff"],
        "passages": [-1, 0, 2**62, "text", b"\xff"],
        "number": [-5, 0, 2**62],
    }
    own.close()
    data = own.path.read_bytes()
    for _ in range(MUTANTS):
        own.path.write_bytes(data)
        for name in ("-wal", "-shm"):
            Path(f"{own.path}{name}").unlink(missing_ok=True)
        connection = sqlite3.connect(own.path)
        for column in chance.sample(sorted(values), chance.randint(1, 3)):
            value = chance.choice(values[column])
            connection.execute(f"UPDATE generations SET {column}=? WHERE number=(SELECT MAX(number) FROM generations)", (value,))
        connection.commit()
        connection.close()
        try:
            assert Retriever(own, encoder).search(QUESTION, k=5, lang="en").hits == expected
        except DomainkitError as error:
            assert "\n" not in str(error)
        finally:
            own.close()


def test_mutants_of_the_librarys_file_are_refused_or_answered(own: Library, garden: Domain, settings: Settings, encoder: Encoder, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"home": tmp_path})
    own.close()
    refused = 0
    for mutant in mutants(own.path.read_bytes(), seed=5):
        for name in ("-wal", "-shm"):
            Path(f"{own.path}{name}").unlink(missing_ok=True)
        own.path.write_bytes(mutant)
        assistant = Assistant(garden, settings=chosen, encoder=encoder)
        try:
            assert isinstance(assistant.ask(QUESTION), Answer)
        except DomainkitError as error:
            assert "\n" not in str(error)
            refused += 1
        finally:
            assistant.library.close()
    assert refused > MUTANTS / 10
