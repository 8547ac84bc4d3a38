"""A trained adapter is saved, checked, merged into the base and compiled; broken ones are refused in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_bert import make_tiny_bert

from core.encoder import Encoder, sha256_file
from core.encoder_compile import compile_encoder, merge_adapter
from core.errors import DomainkitError, IntegrityError, ModelError, UsageError
from core.models.adapters import check_adapter
from core.settings import Settings
from core.training.adapter_files import save_adapter
from core.training.checkpoint import Point
from core.training.loop import Trained
from core.training.retrieval import QueryModel, RetrievalRecipe

pytestmark = pytest.mark.usefixtures("home")
RECIPE = RetrievalRecipe(rank=4, alpha=8)
QUESTIONS = ["what is the cat", "why is a gold moon warm", "salt"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def trained(bert: Path, *, zero: bool = False) -> tuple[Trained, QueryModel]:
    """An adapter whose B is drawn at random, and the model that has it."""
    import torch

    model = QueryModel(bert, RECIPE)
    chance = np.random.default_rng(0)
    tensors = {}
    for name, parameter in model.parameters.items():
        value = parameter.detach().numpy().copy()
        if ".lora_B." in name and not zero:
            value = chance.standard_normal(value.shape).astype(np.float32)
        tensors[name] = value.astype(np.float16).astype(np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensors[name]))
    best = Point(step=1, loss=1.0, metrics={"recall_at_1": 0.5, "recall_at_5": 0.9, "mrr_at_10": 0.6})
    return Trained(tensors=tensors, best=best, history=(best,), finished=True, seconds=1.0), model


def saved(bert: Path, folder: Path, *, zero: bool = False) -> Path:
    adapter, _ = trained(bert, zero=zero)
    save_adapter(
        folder, adapter, recipe=RECIPE, base="tiny", base_sha256=sha256_file(bert / "model.safetensors"),
        tokenizer_sha256=sha256_file(bert / "tokenizer.json"), facts={"domain": "things", "data": ["things"]},
    )  # fmt: skip
    return folder


def base_model(bert: Path) -> object:
    from transformers import AutoModel

    return AutoModel.from_pretrained(bert, local_files_only=True).eval()


def test_saved_adapter_has_a_card_that_names_its_hashes(bert: Path, tmp_path: Path) -> None:
    folder = saved(bert, tmp_path / "adapter")
    card = json.loads((folder / "card.json").read_text())
    assert card["files"] == {name: sha256_file(folder / name) for name in ("adapter_config.json", "adapter_model.safetensors")}
    assert card["data"] == ["things"] and card["best_step"] == 1
    assert check_adapter("things", folder, task="FEATURE_EXTRACTION").base_sha256 == sha256_file(bert / "model.safetensors")
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "card.json"]


@pytest.mark.slow
def test_compiled_adapter_gives_the_vectors_of_the_trained_model(bert: Path, tmp_path: Path, settings: Settings) -> None:
    _, model = trained(bert)
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": str(bert)})
    adapter = check_adapter("things", saved(bert, tmp_path / "adapter"), task="FEATURE_EXTRACTION")
    merged = Encoder(compile_encoder(chosen, adapter=adapter), precision="fp32")
    plain = Encoder(compile_encoder(chosen), precision="fp32")
    assert adapter.sha256[:12] in merged.id and merged.folder != plain.folder
    assert np.abs(merged.encode(QUESTIONS) - model.encode(QUESTIONS)).max() < 1e-4
    assert np.abs(merged.encode(QUESTIONS) - plain.encode(QUESTIONS)).max() > 0.05


def test_merge_counts_the_modules_it_changes(bert: Path, tmp_path: Path) -> None:
    assert merge_adapter(base_model(bert), check_adapter("things", saved(bert, tmp_path / "adapter"), task="FEATURE_EXTRACTION")) == 2 * 6


def test_adapter_that_was_never_trained_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="every B is zero"):
        merge_adapter(base_model(bert), check_adapter("things", saved(bert, tmp_path / "adapter", zero=True), task="FEATURE_EXTRACTION"))


def renamed(folder: Path) -> None:
    tensors = {name.replace("encoder.layer.0", "encoder.block.0"): value for name, value in load_file(folder / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "card.json").unlink()


def half(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: value for name, value in tensors.items() if "layer.1.output.dense.lora_B" not in name}, folder / "adapter_model.safetensors")
    (folder / "card.json").unlink()


def tampered(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def pattern(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "(a+)+$"}))
    (folder / "card.json").unlink()


def rank(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    (folder / "card.json").unlink()


def pickled(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


@pytest.mark.parametrize(
    ("damage", "error", "reason"),
    [
        (renamed, ModelError, "no module of the base"),
        (half, ModelError, "half of it is missing"),
        (tampered, IntegrityError, "does not have the stated hash"),
        (pattern, ModelError, "target_modules"),
        (rank, ModelError, "not a LoRA checkpoint of rank 8"),
        (pickled, ModelError, "adapter_model.bin is not loaded"),
    ],
)
def test_broken_adapter_is_refused_in_words(bert: Path, tmp_path: Path, damage: Callable[[Path], None], error: type[DomainkitError], reason: str) -> None:
    folder = saved(bert, tmp_path / "adapter")
    damage(folder)
    with pytest.raises(error, match=re.escape(reason)):
        merge_adapter(base_model(bert), check_adapter("things", folder, task="FEATURE_EXTRACTION"))


def test_adapter_of_another_base_of_the_same_shape_is_refused_before_anything_is_compiled(bert: Path, tmp_path: Path, settings: Settings) -> None:
    other = make_tiny_bert(tmp_path / "other", seed=1)
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": str(other)})
    with pytest.raises(ModelError, match="trained on other base weights"):
        compile_encoder(chosen, adapter=check_adapter("things", saved(bert, tmp_path / "adapter"), task="FEATURE_EXTRACTION"))
    assert not (tmp_path / "home" / "encoders").exists()


def test_adapter_of_another_shape_is_refused(bert: Path, tmp_path: Path) -> None:
    wide = make_tiny_bert(tmp_path / "wide", width=64)
    with pytest.raises(ModelError, match=r"\(64, 64\) in the base, \(32, 32\) in the adapter"):
        merge_adapter(base_model(wide), check_adapter("things", saved(bert, tmp_path / "adapter"), task="FEATURE_EXTRACTION"))


def test_adapter_of_an_encoder_is_not_taken_for_one_of_a_language_model(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="task_type is FEATURE_EXTRACTION, wanted CAUSAL_LM"):
        check_adapter("things", saved(bert, tmp_path / "adapter"))


def test_adapter_that_is_too_large_to_ship_is_not_written(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.training.adapter_files.MAX_BYTES", 100)
    with pytest.raises(UsageError, match="lower rank"):
        saved(bert, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
