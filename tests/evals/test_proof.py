"""An adapter is proved on the questions of every domain: it must win at home and harm nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.encoder import Encoder, sha256_file
from core.errors import CheckFailed
from core.library import Library
from core.models.adapters import CARD, CONFIG, WEIGHTS
from core.registry import Domain
from core.settings import Settings
from evals.proof import Cell, Pipeline, _reasons, prove
from evals.seeking import Sought, reciprocal_ranks


def cell(domain: str, adapter: str, verdict: str) -> Cell:
    return Cell(domain=domain, adapter=adapter, n=10, base=0.5, value=0.6, low=0.0, high=0.2, p=0.01, verdict=verdict)


def test_adapter_passes_that_wins_at_home_and_changes_nothing_elsewhere() -> None:
    assert _reasons("a", [cell("a", "a", "better"), cell("b", "a", "same"), cell("b", "b", "worse")], None) == ()


def test_adapter_that_does_not_win_at_home_is_named() -> None:
    assert _reasons("a", [cell("a", "a", "same")], None) == ("does not win at home: MRR 0.500 → 0.600 (p = 0.01)",)


def test_adapter_that_harms_another_domain_is_named() -> None:
    assert _reasons("a", [cell("a", "a", "better"), cell("b", "a", "worse")], None) == ("harms b: MRR 0.500 → 0.600 (p = 0.01)",)


def test_adapter_that_makes_the_assistant_worse_is_named() -> None:
    pipeline = Pipeline(n=10, base=0.9, value=0.5, better=0, worse=4, p=0.01, verdict="worse")
    assert _reasons("a", [cell("a", "a", "better")], pipeline) == ("the assistant answers fewer questions right with it: 0.900 → 0.500 (p = 0.01)",)


def test_domain_without_dev_questions_proves_nothing() -> None:
    assert _reasons("a", [cell("b", "a", "same")], None) == ("has no dev questions at home to be measured on",)


def test_reciprocal_ranks_count_passages_of_the_question_s_language_alone() -> None:
    vectors = np.eye(4, dtype=np.float32)
    found = Sought(
        ids=("a", "b", "c"), questions=("q", "r", "s"), languages=("en", "zh", "en"), right=(frozenset({11}), frozenset({14}), frozenset({14})),
        rows={"en": np.array([10, 11]), "zh": np.array([13, 14])}, row_ids=np.array([10, 11, 13, 14]), vectors=vectors,
    )  # fmt: skip
    asked = np.array([[0.9, 0.8, 0, 0], [1, 1, 0.1, 0.5], [1, 0, 0, 1]], dtype=np.float32)
    # The first is behind one of its language; the second is first, though English passages are nearer; the third's passage is of another language.
    assert reciprocal_ranks(asked, found).tolist() == [0.5, 1.0, 0.0]


def random_adapter(folder: Path, encoder: Encoder) -> None:
    """An adapter of all query projections of MiniLM with random weights, in good form."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    tensors = {}
    for layer in range(6):
        key = f"base_model.model.encoder.layer.{layer}.attention.self.query.lora_{{}}.weight"
        tensors |= {
            key.format("A"): chance.standard_normal((2, 384)).astype(np.float32),
            key.format("B"): chance.standard_normal((384, 2)).astype(np.float32),
        }
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}))
    manifest = encoder.manifest
    facts = {"base_sha256": manifest.base_sha256, "tokenizer_sha256": manifest.files["tokenizer.json"], "domain": "garden"}
    (folder / CARD).write_text(json.dumps({"files": {name: sha256_file(folder / name) for name in (CONFIG, WEIGHTS)}} | facts))


@pytest.fixture
def measured(garden: Domain, tmp_path: Path) -> Domain:
    """The garden with its questions as ``dev`` items."""
    folder = shutil.copytree(garden.folder, tmp_path / "garden")
    path = folder / "evals" / "items.jsonl"
    path.write_text(path.read_text("utf-8").replace('"split": "test"', '"split": "dev"'), "utf-8")
    return Domain(manifest=garden.manifest, folder=folder, door="test")


@pytest.mark.slow
def test_random_adapter_in_good_form_is_applied_but_not_proved(measured: Domain, garden_library: Library, settings: Settings, encoder: Encoder) -> None:
    random_adapter(measured.folder / "adapter", encoder)
    found = prove(measured, [measured], settings=settings)
    assert found.binding.modules == 6 and found.probe > 0.1
    assert not found.passed and found.reasons[0].startswith("does not win at home")
    assert [(cell.domain, cell.adapter, cell.n) for cell in found.matrix] == [("garden", "garden", 2)]
    assert found.pipeline is not None and found.pipeline.n == 2


def test_domain_without_an_adapter_says_how_to_train_one(garden: Domain, garden_library: Library, settings: Settings) -> None:
    with pytest.raises(CheckFailed, match="has no adapter; train one with `domainkit train retrieval garden`"):
        prove(garden, [garden], settings=settings)


def test_refused_adapter_is_a_no_not_a_crash(measured: Domain, garden_library: Library, settings: Settings, encoder: Encoder) -> None:
    random_adapter(measured.folder / "adapter", encoder)
    path = measured.folder / "adapter" / CARD
    path.write_text(path.read_text().replace('"garden"', '"roses"'))
    with pytest.raises(CheckFailed, match="refused: adapter 'garden' belongs to domain 'roses'"):
        prove(measured, [measured], settings=settings)
