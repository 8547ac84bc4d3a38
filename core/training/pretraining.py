"""Pre-training: a decoder learns the next token, an encoder learns masked tokens. Knows no file and no domain.

Masking: 15 % of the tokens; of those 80 % become [MASK], 10 % a random token, 10 % stay (Devlin et al., "BERT", 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.training.corpora import CorpusText
from core.training.loop import autocast
from core.training.model_task import ModelTask
from core.training.quiet import quiet
from core.training.schedule import LoopRecipe

END, PAD = "<|endoftext|>", "<|pad|>"
PADDING = -1
"""Fills up a block; not a token, since a base without one of its own pads with its end mark, which has to be learned."""
Blocks = NDArray[np.int64]


class DecoderShape(BaseModel):
    """Size of a decoder trained from nothing: a Llama (Touvron et al., 2023), embeddings tied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(default=8_000, ge=300, le=200_000)
    hidden: int = Field(default=256, ge=16, le=8_192)
    layers: int = Field(default=6, ge=1, le=128)
    heads: int = Field(default=8, ge=1, le=128)
    intermediate: int = Field(default=688, ge=16, le=32_768)
    context: int = Field(default=0, ge=0, le=1_000_000)
    """Longest input that the model says it reads, in tokens; 0: a block. Positions beyond a block are rotary and untrained."""


class PretrainingRecipe(LoopRecipe):
    """Every hyperparameter of a run."""

    objective: Literal["causal", "masked"] = "causal"
    learning_rate: float = Field(default=1e-3, gt=0, le=0.1)
    batch: int = Field(default=32, ge=1, le=4_096)
    steps: int = Field(default=1_000, ge=1, le=10_000_000)
    block: int = Field(default=256, ge=16, le=8_192)
    """Tokens that are read at once."""
    mask: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens that a masked objective asks for."""


def train_tokenizer(texts: Sequence[CorpusText], *, vocabulary: int, context: int) -> Any:
    """Return a fast tokenizer: byte-level BPE (Sennrich et al., 2016; Radford et al., 2019), so that every text of every language comes back as it went in.

    Args:
        texts: what it is trained on.
        vocabulary: how many tokens at most.
        context: longest input that the model will read, in tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[END, PAD], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator((text.text for text in texts), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=PAD, model_max_length=context
    )


def new_decoder(shape: DecoderShape, *, vocabulary: int, context: int, seed: int) -> Any:
    """Return a decoder with random weights that follow from the seed.

    Args:
        shape: its size.
        vocabulary: tokens of its tokenizer.
        context: longest input, in tokens.
        seed: of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads, intermediate_size=shape.intermediate, max_position_embeddings=context, tie_word_embeddings=True,
            bos_token_id=0, eos_token_id=0, pad_token_id=1,
        )
    )  # fmt: skip


def to_blocks(texts: Sequence[CorpusText], tokenizer: Any, *, block: int, objective: str) -> Blocks:
    """Return texts as blocks (n, block) of tokens, filled up with :data:`PADDING` where a text or all of them end.

    A decoder reads the texts one after the other with an end mark between them; an encoder's blocks begin and end as its tokenizer marks a text.
    """
    tokenizer.backend_tokenizer.no_truncation()  # some encoders' tokenizers cut every text by default
    tokenizer.backend_tokenizer.no_padding()
    every = [tokenizer.backend_tokenizer.encode(text.text, add_special_tokens=False).ids for text in texts]
    if objective == "causal":
        stream = [token for ids in every for token in [*ids, tokenizer.eos_token_id]]
        rows = [stream[at : at + block] for at in range(0, len(stream), block)]
    else:
        rows = []
        for ids in every:
            rows += [[tokenizer.cls_token_id, *ids[at : at + block - 2], tokenizer.sep_token_id] for at in range(0, len(ids), block - 2)]
    return np.array([[*row, *[PADDING] * (block - len(row))] for row in rows], dtype=np.int64).reshape(-1, block)


def masked(rows: Blocks, *, tokenizer: Any, share: float, chance: np.random.Generator) -> tuple[Blocks, NDArray[np.bool_]]:
    """Return blocks with tokens masked, and which ones are asked for (n, block)."""
    special = np.isin(rows, np.array([PADDING, *sorted(set(tokenizer.all_special_ids))], dtype=np.int64))
    asked = (chance.random(rows.shape) < share) & ~special
    draw = chance.random(rows.shape)
    hidden = np.where(asked & (draw < 0.8), tokenizer.mask_token_id, rows)
    hidden = np.where(asked & (draw >= 0.8) & (draw < 0.9), chance.integers(0, len(tokenizer), rows.shape), hidden)
    return hidden, asked


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A model and its tokenizer on their device."""

    model: Any
    tokenizer: Any
    recipe: PretrainingRecipe
    accelerator: Any
    new: tuple[str, ...] = ()
    """Names of the weights that the base did not have."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The trainable ones, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def loss(self, rows: Blocks, *, chance: np.random.Generator) -> tuple[Any, int]:
        """Return the summed negative log-likelihood, in nats, with gradients, and of how many tokens.

        Args:
            rows: blocks (n, block).
            chance: draws the tokens that a masked objective asks for.
        """
        import torch

        device, there = self.accelerator.device, rows != PADDING
        shown, wanted = rows, np.where(there, rows, -100)
        if self.recipe.objective == "masked":
            shown, asked = masked(rows, tokenizer=self.tokenizer, share=self.recipe.mask, chance=chance)
            wanted = np.where(asked, rows, -100)
        ids, mask, labels = (torch.from_numpy(part).to(device) for part in (np.where(there, shown, 0), there.astype(np.int64), wanted))
        with autocast(self.accelerator, self.recipe):
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        if self.recipe.objective == "causal":
            logits, labels = logits[:, :-1], labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), ignore_index=-100, reduction="sum")
        return loss, int((labels != -100).sum())

    def measure(self, rows: Blocks, *, size: int = 32) -> tuple[float, int]:
        """Return the summed negative log-likelihood, in nats, of blocks and of how many tokens; the same tokens are masked each time."""
        import torch

        total, count = 0.0, 0
        for at in range(0, len(rows), size):
            with torch.no_grad():
                loss, tokens = self.loss(rows[at : at + size], chance=np.random.default_rng((self.recipe.seed, 1, at)))
            total, count = total + float(loss), count + tokens
        return total, count


def perplexity(nats: float, tokens: int) -> float:
    """Return exp(mean negative log-likelihood) of so many tokens; of masked tokens alone it is a pseudo-perplexity (Salazar et al., 2020)."""
    return math.exp(min(700.0, nats / max(1, tokens)))


@dataclass(frozen=True, kw_only=True)
class PretrainingTask(ModelTask):
    """Blocks of tokens; what :mod:`core.training.loop` runs."""

    model: LanguageModel
    train: Blocks
    valid: Mapping[str, Blocks]
    """What a checkpoint is chosen by, by language."""
    goal: str = "perplexity"

    def loss(self, number: int) -> Any:
        """Return the mean negative log-likelihood of a batch's tokens."""
        loss, tokens = self.model.loss(self.train[self.rows(number)], chance=np.random.default_rng((self.model.recipe.seed, 0, number)))
        return loss / max(1, tokens)

    def validate(self) -> dict[str, float]:
        """Return the perplexity of the validation texts, together and by language."""
        found = {name: self.model.measure(rows) for name, rows in self.valid.items()}
        together = perplexity(sum(nats for nats, _ in found.values()), sum(tokens for _, tokens in found.values()))
        parts = {f"perplexity_{name}": round(perplexity(*one), 6) for name, one in found.items()} if len(found) > 1 else {}
        return {"perplexity": round(together, 6)} | parts


def load_encoder(base: Path) -> tuple[Any, Any, tuple[str, ...]]:
    """Return an encoder with a masked-language head, its tokenizer, and the names of weights that are new.

    A sentence encoder has no such head: it starts new, its output tied to the embeddings.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    load: Any = AutoModelForMaskedLM.from_pretrained  # with loading info a pair comes back, which the annotations do not say
    with quiet():
        model, loaded = load(base, use_safetensors=True, local_files_only=True, output_loading_info=True)
    return model, AutoTokenizer.from_pretrained(base, local_files_only=True), tuple(sorted(loaded["missing_keys"]))
