"""Hostile and damaged adapter folders are refused before peft or safetensors see a byte of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.errors import DomainkitError, IntegrityError, ModelError
from core.models.adapters import CARD, CONFIG, WEIGHTS, AdapterShelf, base_weights_sha256, check_adapter, check_header, read_weights


@pytest.fixture
def folder(adapter_folder: Path, tmp_path: Path) -> Path:
    """A copy of a good adapter that a test may spoil."""
    return Path(shutil.copytree(adapter_folder, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking must never reach peft or safetensors."""

    def reached(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a parser was called")

    monkeypatch.setattr("peft.PeftConfig.from_pretrained", reached)
    monkeypatch.setattr("peft.LoraConfig.__init__", reached)
    monkeypatch.setattr("safetensors.torch.load", reached)
    monkeypatch.setattr("safetensors.torch.load_file", reached)


def configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps({**config, **changes}), "utf-8")


def test_adapters_accept_what_peft_saves(adapter_folder: Path) -> None:
    adapter = check_adapter("garden", adapter_folder)
    assert adapter.config.r == 4
    assert sorted(adapter.config.target_modules) == ["q_proj", "v_proj"]
    assert adapter.id == f"garden@{adapter.sha256[:12]}"
    assert hashlib.sha256(read_weights(adapter)).hexdigest() == adapter.weights_sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": "(a+)+$"}, {"target_modules": "all-linear"}, {"target_modules": ["(a+)+$"]}, {"target_modules": []},
        {"target_modules": [f"m{n}" for n in range(65)]}, {"target_modules": ["x" * 101]}, {"target_modules": ["q_proj\n"]}, {"target_modules": {"q_proj": 1}},
        {"r": 100_000}, {"r": 0}, {"r": -1}, {"r": 257}, {"r": "8"}, {"r": True}, {"r": 8.5}, {"lora_alpha": 1e9}, {"lora_alpha": 0},
        {"use_dora": True}, {"peft_type": "LOHA"}, {"peft_type": None}, {"task_type": "FEATURE_EXTRACTION"}, {"bias": "all"}, {"fan_in_fan_out": True},
        {"rank_pattern": {"(a+)+$": 8}}, {"alpha_pattern": {".*": 9}}, {"layers_pattern": "(a+)+$"}, {"layers_to_transform": [0]}, {"exclude_modules": "(a+)+$"},
        {"modules_to_save": ["lm_head"]}, {"auto_mapping": {"base_model_class": "os", "parent_library": "os"}}, {"init_lora_weights": "pissa"},
        {"layer_replication": [[0, 1000]]}, {"megatron_config": {"x": 1}}, {"megatron_core": "os"}, {"target_parameters": ["w"]}, {"surprise": "yes"},
        {"lora_dropout": float("nan")}, {"lora_alpha": float("inf")}, {"trainable_token_indices": [1]}, {"qalora_group_size": 3},
    ],
)  # fmt: skip
def test_adapters_refuse_a_hostile_config(folder: Path, changes: dict[str, Any]) -> None:
    configure(folder, **changes)
    begun = time.perf_counter()
    with pytest.raises(ModelError, match="adapter 'x'") as caught:
        check_adapter("x", folder)
    assert time.perf_counter() - begun < 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 60_000, "{" + '"a":{' * 9_000, "\xff", "x" * 70_000])
def test_adapters_refuse_what_is_no_config(folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text, "latin-1")
    with pytest.raises(ModelError):
        check_adapter("x", folder)


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "x.PKL", "modeling.py", "lib.so", "a.ckpt"])
def test_adapters_refuse_a_folder_with_unsafe_files(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelError, match=r"only adapter_model\.safetensors"):
        check_adapter("x", folder)


def test_adapters_refuse_weights_without_safetensors(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="cannot read"):
        check_adapter("x", folder)
    with pytest.raises(ModelError, match="no readable folder"):
        check_adapter("x", folder / "nowhere")


def test_adapters_never_wait_on_a_pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    with pytest.raises(ModelError, match="is not a file"):
        check_adapter("x", folder)


def test_adapters_refuse_weights_of_another_hash(folder: Path) -> None:
    digest = check_adapter("x", folder).weights_sha256
    check_adapter("x", folder, weights_sha256=digest)
    with pytest.raises(IntegrityError, match="stated hash"):
        check_adapter("x", folder, weights_sha256="0" * 64)
    (folder / CARD).write_text(json.dumps({"files": {WEIGHTS: digest}}), "utf-8")
    check_adapter("x", folder)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(IntegrityError, match="stated hash"):
        check_adapter("x", folder)


def test_adapters_refuse_a_config_of_another_hash(folder: Path) -> None:
    (folder / CARD).write_text(json.dumps({"files": {CONFIG: "0" * 64}}), "utf-8")
    with pytest.raises(IntegrityError, match=CONFIG):
        check_adapter("x", folder)


def test_adapters_notice_a_change_after_registration(folder: Path) -> None:
    adapter = AdapterShelf().register("x", folder)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(IntegrityError, match="changed on disk"):
        read_weights(adapter)


def test_adapters_differ_in_id_when_their_scale_differs(folder: Path) -> None:
    before = check_adapter("x", folder)
    configure(folder, lora_alpha=8)
    assert check_adapter("x", folder).sha256 != before.sha256


def test_adapters_shelf_answers_a_wrong_name_with_the_right_ones(adapter_folder: Path) -> None:
    shelf = AdapterShelf()
    shelf.register("medical", adapter_folder)
    with pytest.raises(ModelError, match="did you mean 'medical'"):
        shelf.get("medcal")
    for name in ("", "../x", "a b", "a/b", "x\n"):
        with pytest.raises(ModelError, match="adapter name"):
            shelf.register(name, adapter_folder)


def reheader(data: bytes, change: Any) -> bytes:
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def first(header: dict[str, Any]) -> Any:
    return next(value for key, value in header.items() if key != "__metadata__")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: first(header).update(dtype="I64"), lambda header: first(header).update(shape=[4, 10**12]), lambda header: first(header).update(shape=[True, 64]),
        lambda header: first(header).update(data_offsets=[0, 10**15]), lambda header: first(header).update(data_offsets=[-4, 4]), lambda header: first(header).clear(),
        lambda header: header.update({"evil": first(header)}), lambda header: header.update({"base_model.model.lm_head.lora_A.weight": first(header)}),
        lambda header: header.clear(), lambda header: first(header).update(shape=[8, 32]), lambda header: first(header).update(shape=None),
    ],
)  # fmt: skip
def test_adapters_refuse_a_forged_header(folder: Path, change: Any) -> None:
    (folder / WEIGHTS).write_bytes(reheader((folder / WEIGHTS).read_bytes(), change))
    with pytest.raises(ModelError, match="not a LoRA checkpoint"):
        check_adapter("x", folder)


@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_adapters_header_check_never_fails_otherwise(adapter_folder: Path, data: st.DataObject) -> None:
    config = check_adapter("x", adapter_folder).config
    good = (adapter_folder / WEIGHTS).read_bytes()
    mutant = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, min(len(mutant) - 1, 2_500)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutant)))
    for candidate in (bytes(mutant), bytes(mutant[:cut])):
        try:
            check_header(candidate, config=config, name="x")
        except DomainkitError as error:
            assert "\n" not in str(error)


def test_base_weights_hash_is_the_files_own_for_one_file(tiny_model: Path, tmp_path: Path) -> None:
    assert base_weights_sha256(tiny_model) == hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
    for name in ("b.safetensors", "a.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    two = base_weights_sha256(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "c.safetensors")
    assert base_weights_sha256(tmp_path) != two
    with pytest.raises(ModelError, match="no safetensors"):
        base_weights_sha256(tmp_path / "nowhere")
