"""Fine-tunes a query-side LoRA adapter by contrast: a question near the text that answers it, apart from all other texts.

The texts' vectors are those of the base encoder and never change, so that an index stays as it is. The loss is InfoNCE over all training
texts (van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018). Knows no domain and no index.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.encoder import sha256_file
from core.text import normalize
from core.training.loop import Progress, Trained, autocast, ended_run, fingerprint, run
from core.training.lora import TuningRecipe, dropping, tuned
from core.training.model_task import ModelTask
from core.training.pairs import Pair
from core.training.quiet import quiet
from core.training.schedule import batch

Vectors = NDArray[np.float32]
ALIKE = 32
"""Texts of like length that pass through the model together on a CPU: a batch of 128 questions, each padded to the longest, costs 1.5 to 2 times as much."""


class RetrievalRecipe(TuningRecipe):
    """Every hyperparameter of a run, as its TOML file holds them."""

    method: Literal["lora"] = "lora"
    targets: tuple[Literal["query", "key", "value", "dense"], ...] = ("query", "key", "value", "dense")
    temperature: float = Field(default=0.05, gt=0, le=1)
    anchor: float = Field(default=0.0, ge=0, le=1_000)
    """Weight of keeping the vectors of anchor questions where the base has them: what the adapter is not for stays as it is."""
    anchor_batch: int = Field(default=0, ge=0, le=4_096)
    """Anchor questions of one backward pass; 0: as many as questions."""


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


def base_vectors(base: Path, texts: Sequence[str], *, max_tokens: int, progress: Progress | None = None) -> Vectors:
    """Return the base encoder's vectors (n, d), unit norm, of texts, by torch on whatever device there is.

    For a machine with a GPU; on a CPU the compiled encoder is quicker.
    """
    import torch

    model = _Pooled(base, max_tokens=max_tokens)
    model.model = model.model.to(model.accelerator.device).eval()
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    found = np.zeros((len(texts), int(model.model.config.hidden_size)), dtype=np.float32)
    for at in range(0, len(order), 256):
        if progress is not None:
            progress("encoding texts", at, len(order))
        chosen = order[at : at + 256]
        with torch.no_grad():
            found[chosen] = model.vectors([texts[n] for n in chosen]).cpu().numpy()
    return found


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


class _Pooled:
    """A sentence encoder in torch: mean pooling, unit norm."""

    def __init__(self, base: Path, *, max_tokens: int) -> None:
        from accelerate import Accelerator
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        with quiet():
            self.model: Any = AutoModel.from_pretrained(base, attn_implementation="sdpa", use_safetensors=True, local_files_only=True)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # has no part in a mean of token states
        self.accelerator = Accelerator()
        self.max_tokens = max_tokens

    def vectors(self, texts: Sequence[str], precision: Callable[[], Any] = nullcontext) -> Any:
        """Return vectors (n, d), unit norm, with gradients; ``precision`` makes the context of a forward pass."""
        import torch

        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        order = sorted(range(len(texts)), key=lambda n: len(encoded["input_ids"][n]))
        size = ALIKE if self.accelerator.device.type == "cpu" else len(texts)
        found = []
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            padded = self.tokenizer.pad({key: [encoded[key][n] for n in chosen] for key in encoded}, return_tensors="pt").to(self.accelerator.device)
            with precision():
                states = self.model(**padded).last_hidden_state
            mask = padded["attention_mask"][..., None].float()
            found.append((states.float() * mask).sum(1) / mask.sum(1))
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.nn.functional.normalize(torch.cat(found)[back.to(self.accelerator.device)], dim=-1)


class QueryModel(_Pooled):
    """A sentence encoder in torch with a fresh LoRA adapter. Deterministic under a seed.

    Args:
        base: folder of the base encoder (safetensors).
        recipe: rank, targets, precision, seed.
    """

    def __init__(self, base: Path, recipe: RetrievalRecipe) -> None:
        import torch

        torch.manual_seed(recipe.seed)
        super().__init__(base, max_tokens=recipe.max_tokens)
        self.recipe = recipe
        self.model, self.parameters = tuned(self.model, recipe, device=self.accelerator.device)

    def __call__(self, questions: Sequence[str]) -> Any:
        """Return vectors (n, d), unit norm, with gradients and the recipe's dropout."""
        with dropping(self.model, self.recipe):
            return self.vectors(questions, lambda: autocast(self.accelerator, self.recipe))

    def encode(self, questions: Sequence[str]) -> Vectors:
        """Return vectors (n, d) float32, unit norm, without gradients."""
        import torch

        with torch.no_grad():
            return np.concatenate(
                [self.vectors(questions[at : at + 256], lambda: autocast(self.accelerator, self.recipe)).cpu().numpy() for at in range(0, len(questions), 256)]
            )


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Questions whose vectors are to stay, and where the base has them, a tensor (n, d) on the model's device."""

    questions: Sequence[str]
    vectors: Any


@dataclass(frozen=True, kw_only=True)
class RetrievalTask(ModelTask):
    """Questions towards their texts; what :mod:`core.training.loop` runs."""

    model: QueryModel
    train: Sequence[Pair]
    text_rows: NDArray[np.int64]
    """(n,), the row of each pair's text among the texts."""
    valid: TrainingSet
    texts: Any
    """Vectors of the training texts (t, d), a tensor on the model's device."""
    right: Sequence[set[int]]
    right_valid: Sequence[set[int]]
    anchors: Anchors | None = None
    goal: str = "mrr_at_10"

    def loss(self, number: int) -> Any:
        """Return the cross-entropy of each question's own text among all texts, and how far anchor questions moved (1 - cosine)."""
        import torch

        chosen = self.rows(number)
        logits = self.model([self.train[n].question for n in chosen]) @ self.texts.T / self.model.recipe.temperature
        wanted = self.text_rows[chosen]
        for place, n in enumerate(chosen):
            # Other right answers to the same question are neither rewarded nor punished.
            others = [row for row in self.right[n] if row != wanted[place]]
            if others:
                logits[place, others] = -math.inf
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(wanted).to(logits.device))
        if self.anchors is None or not self.model.recipe.anchor:
            return loss
        size = self.model.recipe.anchor_batch or self.model.recipe.batch
        held = batch(len(self.anchors.questions), self.model.recipe.model_copy(update={"batch": size}), number)
        cosine = (self.model([self.anchors.questions[n] for n in held]) * self.anchors.vectors[torch.from_numpy(held).to(logits.device)]).sum(1)
        return loss + self.model.recipe.anchor * (1 - cosine).mean()

    def validate(self) -> dict[str, float]:
        """Return how well the validation questions find their texts."""
        return rank_metrics(self.model.encode([pair.question for pair in self.valid.pairs]), self.right_valid, self.valid.vectors)


def train_retrieval(
    train: Sequence[Pair],
    valid: Sequence[Pair],
    *,
    base: Path,
    recipe: RetrievalRecipe,
    folder: Path,
    encode: Callable[[Sequence[str]], Vectors],
    anchors: Sequence[str] = (),
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
        encode: returns the base encoder's vectors (n, d), unit norm, of texts; not asked by a run that has ended.
        anchors: questions whose vectors are to stay where they are, by the recipe's weight.
        progress: told the step and what validation says.
        stop: asked before each step whether to stop.

    Returns:
        The best adapter; None when it was stopped before the first validation.

    Raises:
        UsageError: the folder holds another run. IntegrityError: it holds a checkpoint that was changed on disk.
    """
    import torch

    stated = fingerprint(
        recipe, sha256_file(base / "model.safetensors"), *(f"{p.question}\0{p.text}" for pairs in (train, valid) for p in pairs), "anchors", *anchors
    )
    ended = ended_run(folder, stated, goal=RetrievalTask.goal)
    if ended is not None:
        return ended
    learned, held = training_set(train, encode), training_set(valid, encode)
    model = QueryModel(base, recipe)
    device = model.accelerator.device
    # The fresh adapter changes nothing yet: these are the base's vectors.
    fixed = Anchors(questions=anchors, vectors=torch.from_numpy(model.encode(anchors)).to(device)) if anchors and recipe.anchor else None
    task = RetrievalTask(
        model=model, train=learned.pairs, text_rows=learned.rows, valid=held, texts=torch.from_numpy(learned.vectors).to(device), right=right_rows(learned), right_valid=right_rows(held),
        anchors=fixed,
    )  # fmt: skip
    return run(task, recipe, folder=folder, stated=stated, progress=progress, stop=stop)
