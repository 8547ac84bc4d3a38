"""A domain's adapter is found, checked, compiled once and applied to what passages are sought by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.assistant import Assistant
from core.encoder import Encoder, sha256_file
from core.errors import IntegrityError, ModelError
from core.library import Library
from core.models.adapters import CARD, CONFIG, WEIGHTS
from core.query_adapter import ensure_query_encoder, find_adapter, is_compiled, query_encoder
from core.registry import Domain
from core.retrieval import Retriever
from core.settings import Settings


def write_adapter(folder: Path, encoder: Encoder, *, base_sha256: str = "") -> None:
    """An adapter of the query projection of MiniLM's first layer, with random weights."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    key = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
    save_file(
        {key.format("A"): chance.standard_normal((2, 384)).astype(np.float32), key.format("B"): chance.standard_normal((384, 2)).astype(np.float32)},
        folder / WEIGHTS,
    )
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}))
    files = {name: sha256_file(folder / name) for name in (CONFIG, WEIGHTS)}
    (folder / CARD).write_text(json.dumps({"files": files, "base_sha256": base_sha256 or encoder.manifest.base_sha256, "domain": "garden"}))


@pytest.fixture
def adapted(garden: Domain, encoder: Encoder, tmp_path: Path) -> Domain:
    """The garden with an adapter of its own."""
    folder = shutil.copytree(garden.folder, tmp_path / "garden")
    write_adapter(folder / "adapter", encoder)
    return Domain(manifest=garden.manifest, folder=folder, door="test")


def test_domain_without_an_adapter_needs_none(garden: Domain, settings: Settings) -> None:
    assert find_adapter(garden, settings) is None
    assert is_compiled(None, settings) and query_encoder(None, settings) is None and ensure_query_encoder(None, settings) is None


def test_adapter_that_is_not_compiled_says_what_to_do(adapted: Domain, garden_library: Library, settings: Settings, encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="is not compiled yet: run `domainkit reindex garden`"):
        Assistant(adapted, settings=settings, encoder=encoder)


def test_adapters_can_be_switched_off(adapted: Domain, settings: Settings) -> None:
    assert find_adapter(adapted, settings.model_copy(update={"adapters": False})) is None


def test_changed_adapter_stops_the_assistant(adapted: Domain, garden_library: Library, settings: Settings, encoder: Encoder) -> None:
    path = adapted.folder / "adapter" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(IntegrityError, match="does not have the stated hash"):
        Assistant(adapted, settings=settings, encoder=encoder)


def test_adapter_of_another_base_is_refused_before_it_is_compiled(adapted: Domain, settings: Settings, encoder: Encoder, tmp_path: Path) -> None:
    shutil.rmtree(adapted.folder / "adapter")
    write_adapter(adapted.folder / "adapter", encoder, base_sha256="0" * 64)
    with pytest.raises(ModelError, match="or set DOMAINKIT_ADAPTERS=false"):
        ensure_query_encoder(find_adapter(adapted, settings), settings)


@pytest.mark.slow
def test_answer_names_the_adapter_that_sought_its_passages(adapted: Domain, garden_library: Library, settings: Settings, encoder: Encoder) -> None:
    adapter = find_adapter(adapted, settings)
    tuned = ensure_query_encoder(adapter, settings)
    assert adapter is not None and tuned is not None and is_compiled(adapter, settings)
    assert np.abs(tuned.encode(["tulips"]) - encoder.encode(["tulips"])).max() > 0.01
    question = "which month should tulip bulbs go into the ground"
    with_it = Assistant(adapted, settings=settings, encoder=encoder).ask(question)
    without = Assistant(adapted, settings=settings, encoder=encoder, adapter="none").ask(question)
    assert with_it.adapter == f"garden@{adapter.sha256[:12]}" and without.adapter == ""
    assert [hit.score for hit in with_it.hits] != [hit.score for hit in without.hits]


class Diverted:
    """Encodes everything as one other text."""

    def __init__(self, encoder: Encoder, text: str) -> None:
        self.vector = encoder.encode([text])

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.repeat(self.vector, len(texts), axis=0)


def test_passages_are_sought_by_the_query_encoder_and_questions_compared_by_the_base(garden_library: Library, encoder: Encoder) -> None:
    diverted = Retriever(garden_library, encoder, tuned=Diverted(encoder, "Black spot is a fungus on rose leaves"))  # type: ignore[arg-type]
    plain = Retriever(garden_library, encoder)
    question = "what about it"
    bank = plain.bank("en")
    found, before = (retriever.candidates(question, k=8, lang="en", bank=bank) for retriever in (diverted, plain))
    assert found.facts[0].heading == "Roses › Black spot on roses" != before.facts[0].heading
    assert found.facts[0].tuned > 0.6 > found.facts[0].cosine
    assert all(fact.tuned == fact.cosine for fact in before.facts)
    assert found.likeness == before.likeness and np.array_equal(found.vector, before.vector)
