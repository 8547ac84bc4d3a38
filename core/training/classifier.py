"""A text classifier: an encoder with a linear head over its first token, LoRA or full. Knows no file and no domain.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2019, section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.encoder import sha256_file
from core.errors import IntegrityError, ModelError, UsageError
from core.models.adapters import CARD, AdapterCard
from core.training.loop import autocast
from core.training.lora import TuningRecipe, dropping, tuned
from core.training.model_task import ModelTask
from core.training.quiet import quiet

HEADS = ("classifier", "score")
"""Names under which transformers keep the head of a sequence classifier; it learns whole beside an adapter."""


class ClassifierRecipe(TuningRecipe):
    """Every hyperparameter of a run."""

    learning_rate: float = Field(default=5e-4, gt=0, le=0.1)
    batch: int = Field(default=32, ge=1, le=4_096)
    steps: int = Field(default=600, ge=1, le=10_000_000)
    max_tokens: int = Field(default=96, ge=8, le=4_096)
    balance: bool = True
    """Weigh each example by n / (labels · n of its label), so that a rare label counts as much as a common one (scikit-learn's ``balanced``; King
    and Zeng, "Logistic Regression in Rare Events Data", 2001)."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text and its label."""

    id: str
    text: str
    label: str
    group: str
    """What it is about or comes from; a split keeps it whole."""
    lang: str = "en"


class ClassifierModel:
    """An encoder with a head over labels. Deterministic under a seed.

    Args:
        base: folder of an encoder (safetensors).
        labels: in the order of the head's outputs.
        recipe: method, precision, window, seed.
    """

    def __init__(self, base: Path, labels: Sequence[str], recipe: ClassifierRecipe) -> None:
        import torch
        from accelerate import Accelerator
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.manual_seed(recipe.seed)
        self.recipe, self.labels = recipe, tuple(labels)
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        names = dict(enumerate(self.labels))
        with quiet():  # the head is new
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                base, num_labels=len(self.labels), id2label=names, label2id={label: n for n, label in names.items()}, use_safetensors=True, local_files_only=True,
            )  # fmt: skip
        heads = tuple(name for name in HEADS if hasattr(model, name))
        self.accelerator = Accelerator()
        self.model, self.parameters = tuned(model, recipe, device=self.accelerator.device, heads=heads)

    def logits(self, texts: Sequence[str]) -> Any:
        """Return the logits (n, labels) with gradients."""
        return _logits(self.model, self.tokenizer, texts, max_tokens=self.recipe.max_tokens, around=lambda: autocast(self.accelerator, self.recipe))

    def whole(self) -> Any:
        """Return the model with its adapter merged in; it cannot be trained any more."""
        return self.model.merge_and_unload() if self.recipe.method == "lora" else self.model

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the probability (n, labels) of each label."""
        return _probabilities(self.logits, texts, labels=len(self.labels))


def _logits(model: Any, tokenizer: Any, texts: Sequence[str], *, max_tokens: int, around: Callable[[], Any]) -> Any:
    encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt").to(model.device)
    with around():
        return model(**encoded).logits.float()


def _probabilities(logits: Callable[[Sequence[str]], Any], texts: Sequence[str], *, labels: int, size: int = 128) -> NDArray[np.float32]:
    import torch

    found = np.zeros((len(texts), labels), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    for at in range(0, len(order), size):
        chosen = order[at : at + size]
        with torch.no_grad():
            found[chosen] = torch.softmax(logits([texts[n] for n in chosen]), dim=1).cpu().numpy()
    return found


@dataclass(frozen=True, kw_only=True)
class ClassifierTask(ModelTask):
    """Texts towards their labels; what :mod:`core.training.loop` runs."""

    model: ClassifierModel
    train: Sequence[Labelled]
    judge: Callable[[ClassifierModel], dict[str, float]]
    """Returns the validation metrics, the goal among them."""
    goal: str = "macro_f1"

    def validate(self) -> dict[str, float]:
        """Return the metrics on the validation set."""
        return self.judge(self.model)

    def loss(self, number: int) -> Any:
        """Return the mean cross-entropy, weighed by label where the recipe balances."""
        import torch

        chosen = [self.train[n] for n in self.rows(number)]
        with dropping(self.model.model, self.model.recipe):
            logits = self.model.logits([one.text for one in chosen])
        wanted = torch.tensor([self.model.labels.index(one.label) for one in chosen], device=logits.device)
        weights = torch.tensor(balanced(self.train, self.model.labels), device=logits.device) if self.model.recipe.balance else None
        return torch.nn.functional.cross_entropy(logits, wanted, weight=weights)


def balanced(examples: Sequence[Labelled], labels: Sequence[str]) -> list[float]:
    """Return the weight of each label, n / (labels · n of the label); see :class:`ClassifierRecipe`."""
    counts = Counter(one.label for one in examples)
    return [len(examples) / (len(labels) * max(1, counts[label])) for label in labels]


class _Window(BaseModel):
    """What of the recipe in a card says how a text is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    max_tokens: int = Field(default=ClassifierRecipe().max_tokens, ge=8, le=4_096)


class _Card(AdapterCard):
    recipe: _Window = _Window()


@dataclass(frozen=True, kw_only=True)
class Classified:
    """The likeliest label of a text, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class Classifier:
    """A trained classifier, as a run saves it: a whole model, an adapter merged into its base.

    Args:
        folder: of the model.
        max_tokens: of a text; by default as many as it was trained on.

    Raises:
        ModelError: the folder is not one. IntegrityError: its weights do not have the hash in its card.
    """

    def __init__(self, folder: Path, *, max_tokens: int = 0) -> None:
        card = _checked(folder)
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._max_tokens = max_tokens or card.recipe.max_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        self._model.eval()
        self.labels = tuple(self._model.config.id2label[n] for n in range(self._model.config.num_labels))

    def classify(self, texts: Sequence[str]) -> list[Classified]:
        """Return the label of each text."""
        from contextlib import nullcontext

        if not texts:
            return []
        found = _probabilities(
            lambda some: _logits(self._model, self._tokenizer, some, max_tokens=self._max_tokens, around=nullcontext), texts, labels=len(self.labels)
        )
        return [
            Classified(label=self.labels[int(row.argmax())], probabilities={label: round(float(p), 6) for label, p in zip(self.labels, row, strict=True)})
            for row in found
        ]


def _checked(folder: Path) -> _Card:
    try:
        card = _Card.model_validate_json((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"'{folder.name}' holds no classifier with a card; train one with `domainkit train classifier`") from error
    if not card.files:
        raise ModelError(f"the card of classifier '{folder.name}' states no hashes; train it again")
    for name, digest in card.files.items():
        if "/" in name or not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise IntegrityError(f"classifier '{folder.name}': {name[:80]} does not have the stated hash; it was not parsed. Train it again")
    return card


def majority(examples: Sequence[Labelled]) -> str:
    """Return the most frequent label, the first in the alphabet of equals: what a classifier has to beat.

    Raises:
        UsageError: there are no examples.
    """
    if not examples:
        raise UsageError("no examples to take the most frequent label of")
    counts = Counter(one.label for one in examples)
    return min(counts, key=lambda label: (-counts[label], label))
