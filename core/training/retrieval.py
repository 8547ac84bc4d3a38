"""Fine-tunes a query-side LoRA adapter by contrast: a question near the text that answers it, apart from all other texts.

The texts' vectors are those of the base encoder and never change, so that an index stays as it is. The loss is InfoNCE over all training
texts (van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018). Knows no domain and no index.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.encoder import sha256_file
from core.text import normalize
from core.training.loop import Progress, Trained, autocast, batch, fingerprint, passes, run
from core.training.lora import TuningRecipe, tuned
from core.training.pairs import Pair

Vectors = NDArray[np.float32]


class RetrievalRecipe(TuningRecipe):
    """Every hyperparameter of a run, as its TOML file holds them."""

    method: Literal["lora"] = "lora"
    targets: tuple[Literal["query", "key", "value", "dense"], ...] = ("query", "key", "value", "dense")
    temperature: float = Field(default=0.05, gt=0, le=1)


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Pairs and, for each, the row of its text among the text vectors."""

    pairs: tuple[Pair, ...]
    rows: NDArray[np.int64]
    """(n,), by pair."""
    vectors: Vectors
    """Of the distinct texts, (t, d) float32, unit norm, by the base encoder."""


def training_set(pairs: Sequence[Pair], encode: Callable[[Sequence[str]], Vectors]) -> TrainingSet:
    """Encode the distinct texts of pairs.

    Args:
        pairs: what to train or validate on.
        encode: returns the base encoder's vectors (n, d), unit norm, of texts.
    """
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    index = {text: n for n, text in enumerate(texts)}
    return TrainingSet(pairs=tuple(pairs), rows=np.array([index[pair.text] for pair in pairs], dtype=np.int64), vectors=encode(texts))


def question_ranks(questions: Vectors, right: Sequence[set[int]], texts: Vectors) -> NDArray[np.int64]:
    """Return the rank (n,), from 1, of each question's first right text among texts (t, d)."""
    ranks = np.zeros(len(questions), dtype=np.int64)
    for at in range(0, len(questions), 256):
        scores = questions[at : at + 256] @ texts.T
        for row, scored in enumerate(scores, start=at):
            ranks[row] = 1 + int((scored > max(scored[list(right[row])])).sum())
    return ranks


def rank_figures(ranks: NDArray[np.int64]) -> dict[str, float]:
    """Return ``recall_at_1``, ``recall_at_5`` and ``mrr_at_10`` of ranks (n,).

    MRR is the mean of 1 / rank of the first right text, 0 behind rank 10 (Voorhees, TREC-8 QA track, 1999).
    """
    return {
        "recall_at_1": round(float((ranks <= 1).mean()), 6),
        "recall_at_5": round(float((ranks <= 5).mean()), 6),
        "mrr_at_10": round(float(np.where(ranks <= 10, 1 / ranks, 0.0).mean()), 6),
    }


def rank_metrics(questions: Vectors, right: Sequence[set[int]], texts: Vectors) -> dict[str, float]:
    """Return the :func:`rank_figures` of questions (n, d) over texts (t, d)."""
    return rank_figures(question_ranks(questions, right, texts))


def right_rows(data: TrainingSet) -> list[set[int]]:
    """Return for each pair the rows of all texts that answer its question: the same question may stand beside several texts."""
    rows: dict[str, set[int]] = defaultdict(set)
    keys = [normalize(pair.question) for pair in data.pairs]
    for key, row in zip(keys, data.rows.tolist(), strict=True):
        rows[key].add(row)
    return [rows[key] for key in keys]


class QueryModel:
    """A sentence encoder in torch with a fresh LoRA adapter; mean pooling, unit norm. Deterministic under a seed.

    Args:
        base: folder of the base encoder (safetensors).
        recipe: rank, targets, precision, seed.
    """

    def __init__(self, base: Path, recipe: RetrievalRecipe) -> None:
        import torch
        from accelerate import Accelerator
        from transformers import AutoModel, AutoTokenizer

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = AutoModel.from_pretrained(base, attn_implementation="sdpa", use_safetensors=True, local_files_only=True)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # has no part in a mean of token states
        self.accelerator = Accelerator()
        self.model, self.parameters = tuned(model, recipe, device=self.accelerator.device)

    def __call__(self, questions: Sequence[str]) -> Any:
        """Return vectors (n, d), unit norm, with gradients."""
        import torch

        encoded = self.tokenizer(list(questions), padding=True, truncation=True, max_length=self.recipe.max_tokens, return_tensors="pt").to(
            self.accelerator.device
        )
        with autocast(self.accelerator, self.recipe):
            states = self.model(**encoded).last_hidden_state
        mask = encoded["attention_mask"][..., None].float()
        pooled = (states.float() * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)

    def encode(self, questions: Sequence[str]) -> Vectors:
        """Return vectors (n, d) float32, unit norm, without gradients."""
        import torch

        with torch.no_grad():
            return np.concatenate([self(questions[at : at + 256]).cpu().numpy() for at in range(0, len(questions), 256)])


@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Questions towards their texts; what :mod:`core.training.loop` runs."""

    model: QueryModel
    train: TrainingSet
    valid: TrainingSet
    texts: Any
    """Vectors of the training texts (t, d), a tensor on the model's device."""
    right: Sequence[set[int]]
    right_valid: Sequence[set[int]]
    goal: str = "mrr_at_10"

    @property
    def parameters(self) -> dict[str, Any]:
        """The adapter's."""
        return self.model.parameters

    @property
    def accelerator(self) -> Any:
        """The model's."""
        return self.model.accelerator

    @property
    def epoch(self) -> int:
        """Batches of all training questions."""
        return passes(len(self.train.pairs), self.model.recipe)

    def loss(self, number: int) -> Any:
        """Return the cross-entropy of each question's own text among all texts."""
        import torch

        chosen = batch(len(self.train.pairs), self.model.recipe, number)
        logits = self.model([self.train.pairs[n].question for n in chosen]) @ self.texts.T / self.model.recipe.temperature
        wanted = self.train.rows[chosen]
        for place, n in enumerate(chosen):
            # Other right answers to the same question are neither rewarded nor punished.
            others = [row for row in self.right[n] if row != wanted[place]]
            if others:
                logits[place, others] = -math.inf
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(wanted).to(logits.device))

    def validate(self) -> dict[str, float]:
        """Return how well the validation questions find their texts."""
        return rank_metrics(self.model.encode([pair.question for pair in self.valid.pairs]), self.right_valid, self.valid.vectors)


def train_retrieval(
    train: TrainingSet,
    valid: TrainingSet,
    *,
    base: Path,
    recipe: RetrievalRecipe,
    folder: Path,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """Train until the steps are done or validation no longer gains; resumes what the folder holds of the same run.

    Args:
        train: pairs to learn from; every text is a negative of every other's question.
        valid: pairs that share nothing with them, for early stopping and the choice of the best checkpoint.
        base: folder of the base encoder.
        recipe: hyperparameters.
        folder: where checkpoints go; another run's are refused.
        progress: told the step and what validation says.
        stop: asked before each step whether to stop.

    Returns:
        The best adapter; None when it was stopped before the first validation.

    Raises:
        UsageError: the folder holds another run. IntegrityError: it holds a checkpoint that was changed on disk.
    """
    import torch

    stated = fingerprint(
        recipe, sha256_file(base / "model.safetensors"), *(f"{p.question}\0{p.text}" for data in (train, valid) for p in data.pairs),
        *(np.ascontiguousarray(data.vectors).tobytes() for data in (train, valid)),
    )  # fmt: skip
    model = QueryModel(base, recipe)
    task = RetrievalTask(
        model=model, train=train, valid=valid, texts=torch.from_numpy(train.vectors).to(model.accelerator.device), right=right_rows(train),
        right_valid=right_rows(valid),
    )  # fmt: skip
    return run(task, recipe, folder=folder, stated=stated, progress=progress, stop=stop)
