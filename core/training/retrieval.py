"""Fine-tunes a query-side LoRA adapter by contrast: a question near the text that answers it, apart from all other texts.

The texts' vectors are those of the base encoder and never change, so that an index stays as it is. The loss is InfoNCE over all training
texts (van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018). Killed at any moment and started again, a
run ends with the same weights as an undisturbed one: every checkpoint holds adapter and optimiser, and what a step sees follows from
the seed and its number. Knows no domain and no index.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.encoder import sha256_file
from core.errors import IntegrityError, UsageError
from core.text import normalize
from core.training.pairs import Pair

PROGRESS = "progress.json"
Vectors = NDArray[np.float32]
Progress = Callable[[str, int, int], None]


class RetrievalRecipe(BaseModel):
    """Every hyperparameter of a run, as its TOML file holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1, le=64)
    alpha: int = Field(default=32, ge=1, le=1_024)
    targets: tuple[Literal["query", "key", "value", "dense"], ...] = ("query", "key", "value", "dense")
    learning_rate: float = Field(default=1e-3, gt=0, le=0.1)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    batch: int = Field(default=128, ge=2, le=4_096)
    temperature: float = Field(default=0.05, gt=0, le=1)
    steps: int = Field(default=600, ge=1, le=1_000_000)
    warmup: int = Field(default=30, ge=0, le=100_000)
    validate_every: int = Field(default=50, ge=1, le=100_000)
    patience: int = Field(default=5, ge=1, le=1_000)
    """Validations without a better one after which the run ends."""
    max_tokens: int = Field(default=64, ge=8, le=512)
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0, le=2**31)


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Pairs and, for each, the row of its text among the text vectors."""

    pairs: tuple[Pair, ...]
    rows: NDArray[np.int64]
    """(n,), by pair."""
    vectors: Vectors
    """Of the distinct texts, (t, d) float32, unit norm, by the base encoder."""


class Validation(BaseModel):
    """How well questions find their text among those of the validation set, after so many steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    loss: float
    recall_at_1: float
    recall_at_5: float
    mrr_at_10: float


class RunState(BaseModel):
    """``progress.json``: what a run was started with, how far it is, and its validations so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    step: int
    state_sha256: str
    """Of the file that holds adapter and optimiser."""
    best_sha256: str
    """Of the file that holds the adapter that validated best."""
    history: tuple[Validation, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedAdapter:
    """The best adapter of a run: its tensors by peft's names, float32, and how it validated on the way."""

    tensors: Mapping[str, NDArray[np.float32]]
    best: Validation
    history: tuple[Validation, ...]


def training_set(pairs: Sequence[Pair], encode: Callable[[Sequence[str]], Vectors]) -> TrainingSet:
    """Encode the distinct texts of pairs.

    Args:
        pairs: what to train or validate on.
        encode: returns the base encoder's vectors (n, d), unit norm, of texts.
    """
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    index = {text: n for n, text in enumerate(texts)}
    return TrainingSet(pairs=tuple(pairs), rows=np.array([index[pair.text] for pair in pairs], dtype=np.int64), vectors=encode(texts))


def rank_metrics(questions: Vectors, right: Sequence[set[int]], texts: Vectors) -> dict[str, float]:
    """Return ``recall_at_1``, ``recall_at_5`` and ``mrr_at_10`` of questions (n, d) over texts (t, d).

    MRR is the mean of 1 / rank of the first right text, 0 behind rank 10 (Voorhees, TREC-8 QA track, 1999).
    """
    ranks = []
    for at in range(0, len(questions), 256):
        scores = questions[at : at + 256] @ texts.T
        for row, scored in enumerate(scores):
            best = max(scored[list(right[at + row])])
            ranks.append(1 + int((scored > best).sum()))
    found = np.array(ranks)
    return {
        "recall_at_1": float((found <= 1).mean()),
        "recall_at_5": float((found <= 5).mean()),
        "mrr_at_10": float(np.where(found <= 10, 1 / found, 0.0).mean()),
    }


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
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel, AutoTokenizer

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = AutoModel.from_pretrained(base, attn_implementation="sdpa", use_safetensors=True, local_files_only=True)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # has no part in a mean of token states
        config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(recipe.targets), lora_dropout=0.0, bias="none")
        self.accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft still reads an attribute that transformers renamed
            self.model: Any = get_peft_model(model, config).to(self.accelerator.device)
        # Dropout of the base would make what a step computes depend on all steps before it.
        self.model.eval()
        self.parameters = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def __call__(self, questions: Sequence[str]) -> Any:
        """Return vectors (n, d), unit norm, with gradients."""
        import torch

        encoded = self.tokenizer(list(questions), padding=True, truncation=True, max_length=self.recipe.max_tokens, return_tensors="pt").to(
            self.accelerator.device
        )
        with self.accelerator.autocast():
            states = self.model(**encoded).last_hidden_state
        mask = encoded["attention_mask"][..., None].float()
        pooled = (states.float() * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)

    def encode(self, questions: Sequence[str]) -> Vectors:
        """Return vectors (n, d) float32, unit norm, without gradients."""
        import torch

        with torch.no_grad():
            return np.concatenate([self(questions[at : at + 256]).cpu().numpy() for at in range(0, len(questions), 256)])


def train_retrieval(
    train: TrainingSet, valid: TrainingSet, *, base: Path, recipe: RetrievalRecipe, folder: Path, progress: Progress | None = None
) -> TrainedAdapter:
    """Train until the steps are done or validation no longer gains; resumes what the folder holds of the same run.

    Args:
        train: pairs to learn from; every text is a negative of every other's question.
        valid: pairs that share nothing with them, for early stopping and the choice of the best checkpoint.
        base: folder of the base encoder.
        recipe: hyperparameters.
        folder: where checkpoints go; another run's are refused.
        progress: told the step and what validation says.

    Raises:
        UsageError: the folder holds another run. IntegrityError: it holds a checkpoint that was changed on disk.
    """
    import torch

    fingerprint = _fingerprint(train, valid, base, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    model = QueryModel(base, recipe)
    optimizer = torch.optim.AdamW(list(model.parameters.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    texts = torch.from_numpy(train.vectors).to(model.accelerator.device)
    right, right_valid = right_rows(train), right_rows(valid)
    state = _resume(folder, fingerprint, model, optimizer)
    history = list(state.history) if state else []
    best = _read_tensors(folder, "best", state.best_sha256) if state else {}
    for step in range(state.step if state else 0, recipe.steps):
        if history and _stalled(history, recipe.patience):
            break
        chosen = _batch(len(train.pairs), recipe, step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        logits = model([train.pairs[n].question for n in chosen]) @ texts.T / recipe.temperature
        wanted = train.rows[chosen]
        for place, n in enumerate(chosen):
            # Other right answers to the same question are neither rewarded nor punished.
            others = [row for row in right[n] if row != wanted[place]]
            if others:
                logits[place, others] = -math.inf
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(wanted).to(logits.device))
        optimizer.zero_grad()
        model.accelerator.backward(loss)
        optimizer.step()
        done = step + 1
        if done % recipe.validate_every == 0 or done == recipe.steps:
            found = Validation(
                step=done, loss=float(loss.detach()), **rank_metrics(model.encode([p.question for p in valid.pairs]), right_valid, valid.vectors)
            )
            if not history or found.mrr_at_10 > max(one.mrr_at_10 for one in history):
                best = {name: parameter.detach().float().cpu().numpy().copy() for name, parameter in model.parameters.items()}
            history.append(found)
            _checkpoint(folder, fingerprint, done, model, optimizer, best, history)
        if progress is not None:
            last = f"MRR@10 {history[-1].mrr_at_10:.3f}" if history else "training"
            progress(last, done, recipe.steps)
    return TrainedAdapter(tensors=best, best=max(history, key=lambda one: one.mrr_at_10), history=tuple(history))


def _stalled(history: Sequence[Validation], patience: int) -> bool:
    best = max(range(len(history)), key=lambda n: history[n].mrr_at_10)
    return len(history) - 1 - best >= patience


def _schedule(step: int, recipe: RetrievalRecipe) -> float:
    """Return the share of the learning rate: linear warm-up, then linear decay to nothing."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return max(0.0, (recipe.steps - step) / max(1, recipe.steps - recipe.warmup))


def _batch(count: int, recipe: RetrievalRecipe, step: int) -> NDArray[np.int64]:
    """Return the pairs of a step: each epoch is a permutation that follows from seed and number alone."""
    size = min(recipe.batch, count)
    per_epoch = max(1, count // size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng((recipe.seed, epoch)).permutation(count)
    return np.asarray(order[place * size : (place + 1) * size], dtype=np.int64)


def _fingerprint(train: TrainingSet, valid: TrainingSet, base: Path, recipe: RetrievalRecipe) -> str:
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    digest.update(sha256_file(base / "model.safetensors").encode())
    for data in (train, valid):
        for pair in data.pairs:
            digest.update(f"{pair.question}\0{pair.text}\0".encode())
        digest.update(np.ascontiguousarray(data.vectors).tobytes())
    return digest.hexdigest()


def _checkpoint(
    folder: Path, fingerprint: str, step: int, model: QueryModel, optimizer: Any, best: Mapping[str, NDArray[np.float32]], history: Sequence[Validation]
) -> None:
    """Write the tensors, then ``progress.json``, which names their hashes: a run killed in between resumes from the checkpoint before."""
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, parameter in model.parameters.items():
        moments = optimizer.state[parameter]
        tensors[f"parameter/{name}"] = parameter.detach().float().cpu().numpy()
        tensors[f"first/{name}"] = moments["exp_avg"].float().cpu().numpy()
        tensors[f"second/{name}"] = moments["exp_avg_sq"].float().cpu().numpy()
    digests = {}
    for kind, data in (("state", _tensor_bytes(tensors)), ("best", _tensor_bytes(best))):
        digests[kind] = hashlib.sha256(data).hexdigest()
        write_whole(folder / _named(kind, digests[kind]), data)
    state = RunState(fingerprint=fingerprint, step=step, state_sha256=digests["state"], best_sha256=digests["best"], history=tuple(history))
    write_whole(folder / PROGRESS, (state.model_dump_json(indent=1) + "\n").encode())
    for kind, digest in digests.items():
        for path in folder.glob(f"{kind}-*.safetensors"):
            if path.name != _named(kind, digest):
                path.unlink()


def _named(kind: str, sha256: str) -> str:
    return f"{kind}-{sha256[:16]}.safetensors"


def _resume(folder: Path, fingerprint: str, model: QueryModel, optimizer: Any) -> RunState | None:
    """Load the last checkpoint of the same run into model and optimiser; None when there is none."""
    import torch

    try:
        state = RunState.model_validate_json((folder / PROGRESS).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise IntegrityError(f"{folder.name}/{PROGRESS} is damaged; delete the folder to train anew") from error
    if state.fingerprint != fingerprint:
        raise UsageError(f"folder '{folder.name}' holds a run with other data, base or recipe; name another folder or delete it")
    tensors = _read_tensors(folder, "state", state.state_sha256)
    for name, parameter in model.parameters.items():
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensors[f"parameter/{name}"]))
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": torch.from_numpy(tensors[f"first/{name}"]).to(parameter.device),
            "exp_avg_sq": torch.from_numpy(tensors[f"second/{name}"]).to(parameter.device),
        }
    return state


def _tensor_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def _read_tensors(folder: Path, kind: str, sha256: str) -> dict[str, NDArray[np.float32]]:
    from safetensors.numpy import load

    path = folder / _named(kind, sha256)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"checkpoint {path.name} is gone or was changed on disk; delete the folder '{folder.name}' to train anew")
    return {name: np.array(value) for name, value in load(data).items()}


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def recipe_from_toml(text: str) -> RetrievalRecipe:
    """Read a recipe.

    Raises:
        UsageError: not TOML, or a key or value that a recipe does not have.
    """
    import tomllib

    try:
        return RetrievalRecipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the recipe is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"the recipe's {'.'.join(map(str, first['loc']))}: {first['msg']}; got {json.dumps(first['input'], default=str)[:60]}") from error
