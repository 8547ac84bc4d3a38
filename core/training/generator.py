"""A generator: a causal language model that learns to write answers, by LoRA or in full. Knows no file and no metric but perplexity.

Only the answer's tokens are learned; a prompt becomes tokens exactly as :mod:`core.models.causal` makes it when a user asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.errors import ModelError
from core.models.drafting import neutralize
from core.training.instructions import Prompted
from core.training.loop import autocast
from core.training.lora import TuningRecipe, dropping, tuned
from core.training.model_task import ModelTask
from core.training.pretraining import perplexity
from core.training.quiet import quiet


class GeneratorRecipe(TuningRecipe):
    """Every hyperparameter of a run."""

    targets: tuple[Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    learning_rate: float = Field(default=2e-4, gt=0, le=0.1)
    batch: int = Field(default=8, ge=1, le=4_096)
    steps: int = Field(default=500, ge=1, le=10_000_000)
    max_tokens: int = Field(default=1_024, ge=8, le=32_768)
    """Of a prompt with its answer."""
    answer_tokens: int = Field(default=128, ge=1, le=4_096)
    """Most that it writes when it is measured."""


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """A prompt and its answer in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Generator:
    """A causal language model with what learns of it. Deterministic under a seed.

    Args:
        base: folder of the model (safetensors).
        recipe: method, precision, length, seed.

    Raises:
        ModelError: it cannot be loaded, lacks weights, or has no end mark. UsageError: it has none of the recipe's targets.
    """

    def __init__(self, base: Path, recipe: GeneratorRecipe) -> None:
        import torch
        from accelerate import Accelerator

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer, model, self._markers = _load(base, half=recipe.method == "lora" and recipe.precision == "bf16")
        self.end = int(self.tokenizer.eos_token_id)
        self._pad = int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end)
        longest = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000)
        self.longest = min(recipe.max_tokens, longest, int(min(self.tokenizer.model_max_length, 1_000_000)))
        self.accelerator = Accelerator()
        self.model, self.parameters = tuned(model, recipe, device=self.accelerator.device)

    def row(self, one: Prompted) -> TokenRow:
        """Return a prompt as the kit's own runtime reads it, and the answer with the end mark."""
        chat = self.tokenizer.chat_template is not None
        text = neutralize(one.prompt, markers=self._markers)
        if chat:
            text = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False, enable_thinking=False)
        answer = neutralize(one.answer, markers=self._markers)
        # Without a chat's markup the prompt ends in a colon, behind which English goes on with a space.
        begun = answer if chat or one.lang == "zh" else f" {answer}"
        prompt = self.tokenizer(text, add_special_tokens=not chat)["input_ids"]
        return TokenRow(prompt=tuple(prompt), answer=(*self.tokenizer(begun, add_special_tokens=False)["input_ids"], self.end))

    def fits(self, one: Prompted) -> bool:
        """Whether a prompt with its answer is within what is read at once."""
        row = self.row(one)
        return len(row.prompt) + len(row.answer) <= self.longest

    def loss(self, rows: Sequence[TokenRow]) -> tuple[Any, NDArray[np.int64]]:
        """Return the negative log-likelihood of each token of the answers, in nats, with gradients (k,), and which row it belongs to (k,)."""
        import torch

        width = max(len(row.prompt) + len(row.answer) for row in rows)
        ids, labels, mask = (np.full((len(rows), width), fill, dtype=np.int64) for fill in (self._pad, -100, 0))
        for n, row in enumerate(rows):
            begin, end = len(row.prompt), len(row.prompt) + len(row.answer)
            ids[n, :end], labels[n, begin:end], mask[n, :end] = [*row.prompt, *row.answer], row.answer, 1
        shown, wanted, there = (torch.from_numpy(part).to(self.accelerator.device) for part in (ids, labels, mask))
        with autocast(self.accelerator, self.recipe):
            logits = self.model(input_ids=shown, attention_mask=there).logits[:, :-1]
        asked = wanted[:, 1:] != -100  # the vocabulary is wide: what is not asked for is dropped before it is made float32
        losses = torch.nn.functional.cross_entropy(logits[asked].float(), wanted[:, 1:][asked], reduction="none")
        return losses, np.nonzero(labels[:, 1:] != -100)[0]

    def measure(self, rows: Sequence[TokenRow], *, size: int = 16) -> list[tuple[float, int]]:
        """Return for each row the summed negative log-likelihood of its answer, in nats, and its tokens."""
        import torch

        order = sorted(range(len(rows)), key=lambda n: len(rows[n].prompt) + len(rows[n].answer))
        found = [(0.0, 0)] * len(rows)
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            with torch.no_grad():
                losses, owners = self.loss([rows[n] for n in chosen])
            sums = np.bincount(owners, weights=losses.cpu().numpy(), minlength=len(chosen))
            for place, n in enumerate(chosen):
                found[n] = (float(sums[place]), len(rows[n].answer))
        return found

    def write(self, rows: Sequence[TokenRow], *, size: int = 16) -> list[str]:
        """Return what the model writes to each prompt: the likeliest token each time, until the end mark."""
        import torch
        from transformers import GenerationConfig

        make: Any = GenerationConfig
        config = make(do_sample=False, max_new_tokens=self.recipe.answer_tokens, eos_token_id=self.end, pad_token_id=self._pad, use_cache=True)
        self.model.generation_config = config  # a model's own defaults (penalties, sampling) must not colour what is measured
        order = sorted(range(len(rows)), key=lambda n: len(rows[n].prompt))
        found = [""] * len(rows)
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            width = max(len(rows[n].prompt) for n in chosen)
            ids, mask = (np.full((len(chosen), width), fill, dtype=np.int64) for fill in (self._pad, 0))
            for place, n in enumerate(chosen):
                ids[place, width - len(rows[n].prompt) :], mask[place, width - len(rows[n].prompt) :] = rows[n].prompt, 1
            shown, there = (torch.from_numpy(part).to(self.accelerator.device) for part in (ids, mask))
            with torch.no_grad(), autocast(self.accelerator, self.recipe):
                output = self.model.generate(input_ids=shown, attention_mask=there, generation_config=config)
            for place, n in enumerate(chosen):
                found[n] = self.tokenizer.decode(output[place, width:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return found

    def taken(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of what learns."""
        return {name: parameter.detach().float().cpu().numpy().copy() for name, parameter in self.parameters.items()}


def _load(base: Path, *, half: bool) -> tuple[Any, Any, tuple[str, ...]]:
    """Return tokenizer, model and the control markers that no text may hold; a frozen base may be held in half the memory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    load: Any = AutoModelForCausalLM.from_pretrained  # with loading info a pair comes back, which the annotations do not say
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
            dtype = torch.bfloat16 if half else torch.float32
            model, loaded = load(base, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True)
    except Exception as error:  # configs and tokenizers raise classes of their own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"cannot load '{base.name}': name a folder of a causal language model with safetensors as `base` ({reason})") from error
    missing = sorted(loaded.get("missing_keys", ()))
    if missing:
        raise ModelError(f"model '{base.name}' lacks {len(missing)} of its weights, e.g. {missing[0]}; it is no causal language model, or download it again")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"model '{base.name}' has a tokenizer without an end mark; name another base")
    return tokenizer, model, tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


@dataclass(frozen=True, kw_only=True)
class GeneratorTask(ModelTask):
    """Answers that are learned; what :mod:`core.training.loop` runs."""

    model: Generator
    train: Sequence[TokenRow]
    valid: Sequence[TokenRow]
    goal: str = "perplexity"

    def loss(self, number: int) -> Any:
        """Return the mean negative log-likelihood of the tokens of a batch's answers."""
        with dropping(self.model.model, self.model.recipe):
            losses, _ = self.model.loss([self.train[n] for n in self.rows(number)])
        return losses.mean()

    def validate(self) -> dict[str, float]:
        """Return the perplexity of the answers of the validation part."""
        found = self.model.measure(self.valid)
        return {"perplexity": round(perplexity(sum(nats for nats, _ in found), sum(tokens for _, tokens in found)), 6)}
