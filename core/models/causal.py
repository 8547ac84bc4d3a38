"""A causal language model of Hugging Face with LoRA adapters, as the engine's thread owns it: loads, generates, inspects itself.

Called from one thread only; knows no queue, no prompt template of a domain and no evidence. Code from a model's repository
is never run, and weights are read from safetensors only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, LoraModel, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load as load_safetensors
from torch.nn.modules import module as torch_module
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from core.errors import IntegrityError, ModelError
from core.models.adapters import Adapter, base_weights_sha256, read_weights
from core.models.device import choose_device, choose_dtype
from core.models.drafting import neutralize
from core.models.engine import Cancelled, Generation, Job

MAX_LOADED = 8
"""Adapters kept in memory; the one unused for longest makes room."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MARKER = re.compile(r"<[|｜].*[|｜]>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>", re.DOTALL)


class CausalRuntime:
    """A loaded model, its tokenizer and its adapters; satisfies :class:`core.models.engine.Runtime`.

    Args:
        model: a folder, or a hub id.
        revision: revision of a hub id.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: CPU threads of one matrix product.

    Raises:
        ModelError: no such model, no safetensors, an unknown architecture, or weights are missing.
    """

    def __init__(self, model: str, *, revision: str, device: str, threads: int) -> None:
        self._source = model
        self._revision = revision
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device)
        if self.device == "cpu":
            torch.set_num_threads(threads)
        self._tokenizer, self._model = self._load()
        self._end = self._end_tokens()
        self._markers = self._control_markers()
        self._window = self._context_window()
        self._loaded: dict[str, Adapter] = {}
        self._tuner: Any = None
        self._known_hooks = frozenset(id(hook) for _, hook in self._hooks())
        self._tainted = ""
        self._base_sha256 = ""

    def _load(self) -> tuple[Any, Any]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._source, revision=self._revision)
            # Typed loosely: with loading info a pair comes back, which transformers' annotations do not say.
            load: Any = AutoModelForCausalLM.from_pretrained
            model, report = load(self._source, revision=self._revision, dtype=self.dtype, use_safetensors=True, output_loading_info=True)
        except Exception as error:  # configs, tokenizers and drivers raise classes of their own
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"cannot load DOMAINKIT_MODEL='{self._source}': name a folder or hub id of a causal LM with safetensors ({reason})") from error
        missing = sorted(report.get("missing_keys", ()))
        if missing:
            raise ModelError(f"model '{self._source}' lacks {len(missing)} of its weights, e.g. {missing[0]}; download it again")
        return tokenizer, model.to(self.device).eval()

    def _end_tokens(self) -> list[int]:
        stated = self._model.generation_config.eos_token_id
        ends = [stated] if isinstance(stated, int) else list(stated or ())
        if self._tokenizer.eos_token_id is not None and self._tokenizer.eos_token_id not in ends:
            ends.append(self._tokenizer.eos_token_id)
        # The model's own defaults (temperature, penalties) must not colour an answer that has to be reproducible.
        self._model.generation_config = _generation_config()
        return ends

    def _control_markers(self) -> tuple[str, ...]:
        added = self._tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special or _MARKER.fullmatch(token.content))

    def _context_window(self) -> int:
        stated = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return min(int(stated or 1_000_000), int(min(self._tokenizer.model_max_length, 1_000_000)))

    def run(self, job: Job, *, emit: Callable[[str], None], cancelled: Callable[[], bool]) -> Generation:
        """Generate greedily: the same job gives the same text.

        Raises:
            ModelError: the prompt does not fit, or the adapter does not belong to this model. Cancelled: it was.
        """
        tokens = self._tokenize(job.prompt)
        room = self._window - int(tokens["input_ids"].shape[1])
        if room < 1:
            raise ModelError(
                f"the prompt has {tokens['input_ids'].shape[1]:,} tokens and the model reads {self._window:,}: lower DOMAINKIT_TOP_K, ask in fewer "
                "words, or choose a model with a longer context"
            )
        if cancelled():
            raise Cancelled
        writer = _Writer(self._tokenizer, emit)
        config = _generation_config(
            do_sample=False, max_new_tokens=min(job.max_tokens, room), eos_token_id=self._end or None, pad_token_id=self._pad_token(), use_cache=True
        )
        with self._active(job.adapter), torch.inference_mode():
            self._model.generate(**tokens, generation_config=config, streamer=writer, stopping_criteria=StoppingCriteriaList([_WhenCancelled(cancelled)]))
        if cancelled():
            raise Cancelled
        finish = "stop" if writer.tokens and writer.tokens[-1] in self._end else "length"
        return Generation(text=writer.text, prompt_tokens=int(tokens["input_ids"].shape[1]), completion_tokens=len(writer.tokens), finish=finish)

    def logits(self, prompt: str, *, adapter: Adapter | None = None) -> torch.Tensor:
        """Return the next-token logits after a prompt, ``(vocabulary,)`` float32: what proves that an adapter acts."""
        with self._active(adapter), torch.inference_mode():
            scores: torch.Tensor = self._model(**self._tokenize(prompt)).logits[0, -1].float().cpu()
        return scores

    def problems(self) -> list[str]:
        """Return what a request left behind; empty when the model is as it was loaded."""
        found = [self._tainted] if self._tainted else []
        found += [f"hook left on {where}" for where, hook in self._hooks() if id(hook) not in self._known_hooks][:3]
        for name, layer in self._layers():
            if layer.merged:
                found.append(f"adapter merged into {name}")
            elif not layer.disable_adapters or layer.active_adapters:
                found.append(f"adapter active on {name}")
        if self._model.training:
            found.append("model in training mode")
        return found

    def _tokenize(self, prompt: str) -> dict[str, torch.Tensor]:
        text = neutralize(prompt.encode("utf-8", "replace").decode("utf-8"), markers=self._markers)
        chat = self._tokenizer.chat_template is not None
        if chat:
            # Models that can reason aloud are told not to: only the answer is checked against the evidence.
            text = self._tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False, enable_thinking=False)
        tokens = self._tokenizer(text, return_tensors="pt", add_special_tokens=not chat)
        return {key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask")}

    def _pad_token(self) -> int:
        if self._tokenizer.pad_token_id is not None:
            return int(self._tokenizer.pad_token_id)
        return self._end[0] if self._end else 0

    def _layers(self) -> Iterator[tuple[str, BaseTunerLayer]]:
        return ((name, module) for name, module in self._model.named_modules() if isinstance(module, BaseTunerLayer))

    def _hooks(self) -> Iterator[tuple[str, Any]]:
        for name, module in self._model.named_modules():
            for kind in _HOOKS:
                yield from ((name or "the model", hook) for hook in getattr(module, kind).values())
        for kind in ("_global_forward_hooks", "_global_forward_pre_hooks"):
            yield from (("every module", hook) for hook in getattr(torch_module, kind).values())

    @contextmanager
    def _active(self, adapter: Adapter | None) -> Iterator[None]:
        """Switch an adapter on for the block, and every adapter off after it, whatever happens inside."""
        if adapter is None:
            yield
            return
        try:
            key = self._ensure_loaded(adapter)
            for _, layer in self._layers():
                layer.set_adapter([key], inference_mode=True)
                layer.enable_adapters(True)
            yield
        finally:
            self._switch_off()

    def _switch_off(self) -> None:
        for _, layer in self._layers():
            layer.set_adapter([], inference_mode=True)
            layer.enable_adapters(False)

    def _ensure_loaded(self, adapter: Adapter) -> str:
        if adapter.base_sha256 and adapter.base_sha256 != self._base_hash():
            raise ModelError(f"adapter '{adapter.name}' was trained on other base weights than '{self._source}'; train it again on this model")
        # Content-addressed, so that a name registered again can never be answered with the old weights.
        key = "a" + adapter.sha256[:24]
        if key in self._loaded:
            self._loaded[key] = self._loaded.pop(key)
            return key
        weights = self._check_weights(adapter, load_safetensors(read_weights(adapter)))
        while len(self._loaded) >= MAX_LOADED:
            self._unload(next(iter(self._loaded)))
        config = adapter.config
        alpha: Any = config.lora_alpha
        told = LoraConfig(
            task_type="CAUSAL_LM",
            r=config.r,
            lora_alpha=alpha,
            target_modules=list(config.target_modules),
            use_rslora=config.use_rslora,
            inference_mode=True,
        )
        try:
            if self._tuner is None:
                self._tuner = LoraModel(self._model, told, key)
            else:
                self._tuner.peft_config[key] = told
                self._tuner.inject_adapter(self._model, key)
            # Which adapter is active is said per layer and per request; the tuner's own idea of it must not name an unloaded one.
            self._tuner.active_adapter = []
            result: Any = set_peft_model_state_dict(self._model, weights, adapter_name=key)
        except Exception:
            self._tainted = f"adapter '{adapter.name}' was loaded in part"
            raise
        if result.unexpected_keys:
            self._tainted = f"adapter '{adapter.name}' has weights without a place"
            raise ModelError(f"adapter '{adapter.name}' does not fit model '{self._source}'; train it on this model")
        self._loaded[key] = adapter
        return key

    def _unload(self, key: str) -> None:
        for _, layer in self._layers():
            layer.delete_adapter(key)
        self._tuner.peft_config.pop(key, None)
        del self._loaded[key]

    def _check_weights(self, adapter: Adapter, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Check that every weight has its layer, its shape and finite values before peft changes the model."""
        for key, value in weights.items():
            path, half = key.removeprefix("base_model.model.").rsplit(".lora_", 1)
            try:
                layer: Any = self._model.get_submodule(path)
            except AttributeError as error:
                raise ModelError(f"adapter '{adapter.name}' wants layer {path}, which model '{self._source}' has not; train it on this model") from error
            base = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
            if not isinstance(base, torch.nn.Linear):
                raise ModelError(f"adapter '{adapter.name}' targets {path}, which is not a linear layer; only linear layers are supported")
            fits = value.shape[1] == base.in_features if half.startswith("A") else value.shape[0] == base.out_features
            if not fits:
                raise ModelError(f"adapter '{adapter.name}' has another size than layer {path} of '{self._source}'; train it on this model")
            if not bool(torch.isfinite(value).all()):
                raise IntegrityError(f"adapter '{adapter.name}' holds numbers that are not finite; train it again")
        return weights

    def _base_hash(self) -> str:
        if not self._base_sha256:
            folder = Path(self._source)
            if not folder.is_dir():
                from transformers.utils.hub import cached_file

                folder = Path(str(cached_file(self._source, "config.json", revision=self._revision))).parent
            self._base_sha256 = base_weights_sha256(folder)
        return self._base_sha256


def _generation_config(**values: Any) -> Any:
    make: Any = GenerationConfig
    return make(**values)


class _Writer(BaseStreamer):  # type: ignore[misc]
    """Turns tokens into text as they come. A character that needs several tokens is held back until it is whole."""

    def __init__(self, tokenizer: Any, emit: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._emit = emit
        self._prompt_seen = False
        self.tokens: list[int] = []
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt (first call) or the next token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.tokens.extend(value.flatten().tolist())
        self._write(final=False)

    def end(self) -> None:
        """Write what was held back."""
        self._write(final=True)

    def _write(self, *, final: bool) -> None:
        whole = self._tokenizer.decode(self.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if (final or not whole.endswith("\ufffd")) and whole.startswith(self.text) and len(whole) > len(self.text):
            piece = whole[len(self.text) :]
            self.text = whole
            self._emit(piece)


class _WhenCancelled(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._cancelled(), dtype=torch.bool, device=input_ids.device)
