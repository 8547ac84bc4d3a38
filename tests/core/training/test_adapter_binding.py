"""An adapter is bound to base, tokenizer and domain by hash; what would be left out or change nothing is refused in words."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_bert import make_tiny_bert

from core.encoder import sha256_file
from core.errors import DomainkitError, IntegrityError, ModelError
from core.models.adapters import check_adapter
from core.training.adapter_files import save_adapter
from core.training.checkpoint import Point
from core.training.loop import Trained
from core.training.proof import Binding, bind
from core.training.retrieval import RetrievalRecipe

pytestmark = pytest.mark.usefixtures("home")
RECIPE = RetrievalRecipe(rank=4, alpha=8)
MODULES = [
    f"encoder.layer.{layer}.{name}"
    for layer in (0, 1)
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense")
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """An adapter for every module of the tiny BERT."""
    shapes = {"intermediate.dense": (64, 32), "output.dense": (32, 64)}
    chance = np.random.default_rng(0)
    tensors = {}
    for module in MODULES:
        rows, columns = shapes.get(module.partition(".layer.")[2].partition(".")[2], (32, 32))
        tensors[f"base_model.model.{module}.lora_A.default.weight"] = chance.standard_normal((4, columns)).astype(np.float32)
        tensors[f"base_model.model.{module}.lora_B.default.weight"] = chance.standard_normal((rows, 4)).astype(np.float32)
    point = Point(step=1, loss=1.0, metrics={"mrr_at_10": 0.6})
    trained = Trained(tensors=tensors, best=point, history=(point,), finished=True, seconds=1.0)
    save_adapter(
        tmp_path / "adapter", trained, recipe=RECIPE, base="tiny", base_sha256=sha256_file(bert / "model.safetensors"),
        tokenizer_sha256=sha256_file(bert / "tokenizer.json"), facts={"domain": "things"},
    )  # fmt: skip
    return tmp_path / "adapter"


def bound(folder: Path, base: Path, *, domain: str = "things") -> Binding:
    return bind(check_adapter("things", folder, task="FEATURE_EXTRACTION"), domain=domain, base=base)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Change the weights and restate their hash, as someone would who made them so."""
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    card = json.loads((folder / "card.json").read_text())
    card["files"][path.name] = sha256_file(path)
    (folder / "card.json").write_text(json.dumps(card))


def restate(folder: Path, **facts: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | facts))


def reconfigure(folder: Path, **keys: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    card = json.loads((folder / "card.json").read_text())
    card["files"][path.name] = sha256_file(path)
    (folder / "card.json").write_text(json.dumps(card))


def test_good_adapter_is_bound_by_hash_and_changes_every_module(folder: Path, bert: Path) -> None:
    found = bound(folder, bert)
    assert found.modules == len(MODULES) == 12
    assert (found.base_sha256, found.tokenizer_sha256) == (sha256_file(bert / "model.safetensors"), sha256_file(bert / "tokenizer.json"))
    assert found.weights_sha256 == sha256_file(folder / "adapter_model.safetensors")


def renamed_prefix(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name.replace("base_model.model.encoder", "base_model.model.model.encoder"): value for name, value in tensors.items()})


def untrained(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: value * 0 if ".lora_B." in name else value for name, value in tensors.items()})


def tampered(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def bin_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def rank_out_of_bounds(folder: Path) -> None:
    reconfigure(folder, r=100_000)


def wildcard_targets(folder: Path) -> None:
    reconfigure(folder, target_modules=["qu*ry"])


def hanging_pattern(folder: Path) -> None:
    reconfigure(folder, target_modules="(.*.*.*.*)*x")


def one_module_left_out(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: value for name, value in tensors.items() if "layer.1.attention.self.key" not in name})


def half_left_out(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: value for name, value in tensors.items() if "layer.1.attention.self.key.lora_A" not in name})


def not_finite(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: np.full_like(value, np.nan) if "layer.0.output" in name else value for name, value in tensors.items()})


def without_card(folder: Path) -> None:
    (folder / "card.json").unlink()


BROKEN: list[tuple[Callable[[Path], None], type[DomainkitError], str]] = [
    (renamed_prefix, ModelError, "is no module of the base (24 such keys); it would be left out in silence".replace("24", "12")),
    (untrained, ModelError, "every B is zero; it was never trained"),
    (tampered, IntegrityError, "does not have the stated hash"),
    (bin_weights, ModelError, "adapter_model.bin is not loaded"),
    (rank_out_of_bounds, ModelError, "adapter_config.json: r: Input should be less than or equal to 256"),
    (wildcard_targets, ModelError, "adapter_config.json: target_modules.0"),
    (hanging_pattern, ModelError, "adapter_config.json: target_modules"),
    (one_module_left_out, ModelError, "'encoder.layer.1.attention.self.key' has no adapter or only half of one (1 of 12 modules)"),
    (half_left_out, ModelError, "'encoder.layer.1.attention.self.key' has no adapter or only half of one"),
    (not_finite, ModelError, "not finite"),
    (without_card, ModelError, "nothing says which base and domain it belongs to"),
    (lambda folder: restate(folder, base_sha256="0" * 64), ModelError, "was trained with another base weights (000000000000"),
    (lambda folder: restate(folder, tokenizer_sha256="1" * 64), ModelError, "was trained with another tokenizer (111111111111"),
    (lambda folder: restate(folder, domain="other"), ModelError, "belongs to domain 'other', not to 'things'"),
]


@pytest.mark.parametrize(("damage", "error", "reason"), BROKEN)
def test_broken_adapter_is_refused_in_words_and_at_once(
    folder: Path, bert: Path, damage: Callable[[Path], None], error: type[DomainkitError], reason: str
) -> None:
    damage(folder)
    begun = time.monotonic()
    with pytest.raises(error, match=re.escape(reason)):
        bound(folder, bert)
    assert time.monotonic() - begun < 5


def test_base_of_the_same_shape_but_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was trained with another base weights"):
        bound(folder, make_tiny_bert(tmp_path / "other", seed=1))
