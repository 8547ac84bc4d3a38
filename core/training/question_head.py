"""Fits a question head (:mod:`core.question_head`) by contrast: questions with the same answer together, all others apart.

The loss is InfoNCE over the places of one domain (van den Oord et al., "Representation Learning with Contrastive Predictive
Coding", 2018): question ↔ another question of the same place, and question ↔ the sentence there. Reads no files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.question_head import HASHES, feature_hash, head_features, table_rows
from core.types import Language

Place = tuple[int, int]
"""A passage's row and the number of a sentence in it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head is fitted. ``dense`` weighs the encoding beside the words; ``drop`` is the share of words left out at random."""

    dense: float
    learning_rate: float
    table: int = 6_144
    dense_rate: float = 1e-3
    temperature: float = 0.15
    epochs: int = 40
    batch: int = 384
    strangers: int = 384
    """Unanswerable questions beside a batch."""
    drop: float = 0.4
    at_least: int = 2
    """A feature seen in fewer texts than this is not known."""
    seed: int = 0


RECIPES: dict[Language, Recipe] = {"en": Recipe(dense=1.0, learning_rate=0.01), "zh": Recipe(dense=0.0, learning_rate=0.01)}
"""Chinese is read by its words alone: MiniLM's vocabulary lacks most of its characters."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A text with its encoding (e,) float32."""

    text: str
    vector: NDArray[np.float32]


def fit_head(
    questions: Mapping[Place, Sequence[Example]],
    sentences: Mapping[Place, Example],
    *,
    lang: Language,
    unanswerable: Sequence[Example] = (),
    recipe: Recipe | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """Fit a head and return its safetensors file.

    Args:
        questions: the questions that each place answers; each place occurs in ``sentences`` too.
        sentences: every sentence of the language, with its article's title before it.
        lang: their language.
        unanswerable: questions that no place answers; every place's questions are held apart from them.
        recipe: how; by default the language's own.
        progress: told how many steps of all are done.

    Raises:
        ValueError: fewer than two places.
    """
    import torch
    from safetensors.numpy import save

    if len(questions) < 2:
        raise ValueError("a head needs questions of at least two places")
    how = recipe or RECIPES[lang]
    generator = np.random.default_rng(how.seed)
    torch.manual_seed(how.seed)
    bags = {place: [_bag(example.text, lang) for example in group] for place, group in questions.items()}
    strangers = [_bag(example.text, lang) for example in unanswerable]
    sentence_bags = {place: _bag(example.text, lang) for place, example in sentences.items()}
    counts = Counter(feature for group in bags.values() for bag in group for feature in bag)
    counts.update(feature for bag in sentence_bags.values() for feature in bag)
    counts.update(feature for bag in strangers for feature in bag)
    total = sum(len(group) for group in bags.values())
    known = np.array(sorted(feature for feature, n in counts.items() if n >= how.at_least), dtype=np.int64)
    index = {int(feature): n for n, feature in enumerate(known)}
    model = _Model(known, [max(0.3, math.log(total / (1 + counts[int(feature)])) + 0.3) for feature in known], size=_width(sentences), how=how)
    optimizer = torch.optim.Adam(
        [{"params": model.words.parameters(), "lr": how.learning_rate}, {"params": model.weight.parameters(), "lr": how.learning_rate},
         {"params": model.dense.parameters(), "lr": how.dense_rate}]
    )  # fmt: skip
    rates = [group["lr"] for group in optimizer.param_groups]
    places = sorted(questions)
    steps = how.epochs * -(-len(places) // how.batch)
    done = 0

    def side(examples: Sequence[Example], chosen: Sequence[Sequence[int]]) -> Any:
        kept = [[index[f] for f in bag if f in index and generator.random() > how.drop] for bag in chosen]
        return model(kept, torch.from_numpy(np.stack([example.vector for example in examples])) if how.dense else None)

    for _ in range(how.epochs):
        order = generator.permutation(len(places))
        for at in range(0, len(order), how.batch):
            part = [places[n] for n in order[at : at + how.batch]]
            picks = [generator.permutation(len(questions[place]))[:2] for place in part]
            first = side([questions[p][i[0]] for p, i in zip(part, picks, strict=True)], [bags[p][i[0]] for p, i in zip(part, picks, strict=True)])
            # A place with one question has its sentence as the second.
            second = side(
                [questions[p][i[1]] if len(i) > 1 else sentences[p] for p, i in zip(part, picks, strict=True)],
                [bags[p][i[1]] if len(i) > 1 else sentence_bags[p] for p, i in zip(part, picks, strict=True)],
            )
            stands = side([sentences[p] for p in part], [sentence_bags[p] for p in part])
            wanted = torch.arange(len(part))
            others = first[:0]
            if strangers:
                drawn = generator.choice(len(strangers), min(how.strangers, len(strangers)), replace=False).tolist()
                others = side([unanswerable[n] for n in drawn], [strangers[n] for n in drawn])
            alike, likewise = first @ torch.cat([second, others]).T / how.temperature, first @ stands.T / how.temperature
            entropy = torch.nn.functional.cross_entropy
            loss = entropy(alike, wanted) + entropy(alike[:, : len(part)].T, wanted) + entropy(likewise, wanted)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - done / steps)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
            if progress is not None:
                progress(done, steps)
    rows = model.words.weight.detach().numpy()
    scale = np.maximum(np.abs(rows).max(axis=1), 1e-6) / 127
    return bytes(
        save(
            {
                "known": known,
                "weight": model.weight.weight.detach().numpy()[: len(known), 0].astype(np.float16),
                "rows": np.round(rows / scale[:, None]).astype(np.int8),
                "scale": scale.astype(np.float16),
                "dense": (how.dense * model.dense.weight.detach().numpy()).astype(np.float16),
            }
        )
    )


def _bag(text: str, lang: Language) -> list[int]:
    return [feature_hash(feature) for feature in head_features(text, lang)]


def _width(sentences: Mapping[Place, Example]) -> int:
    return len(next(iter(sentences.values())).vector)


def _Model(known: NDArray[np.int64], idf: Sequence[float], *, size: int, how: Recipe) -> Any:  # noqa: N802 - a class made where torch is there
    import torch

    class Head(torch.nn.Module):
        """What :class:`core.question_head.QuestionHead` computes, differentiable."""

        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.EmbeddingBag(how.table, size, mode="sum", _weight=torch.randn(how.table, size) / math.sqrt(size * HASHES))
            self.weight = torch.nn.Embedding(max(1, len(known)), 1, _weight=torch.tensor([[value] for value in idf] or [[0.0]]))
            self.dense = torch.nn.Linear(size, size, bias=False)
            torch.nn.init.eye_(self.dense.weight)
            self.rows = torch.from_numpy(table_rows(known, how.table)) if len(known) else torch.zeros((1, HASHES), dtype=torch.long)

        def forward(self, bags: Sequence[Sequence[int]], encoded: Any) -> Any:
            """Return unit vectors (n, size)."""
            flat = torch.tensor([feature for bag in bags for feature in bag], dtype=torch.long)
            offsets = torch.tensor(np.cumsum([0, *(HASHES * len(bag) for bag in bags[:-1])]), dtype=torch.long)
            weights = self.weight(flat)[:, 0].repeat_interleave(HASHES)
            words = self.words(self.rows[flat].reshape(-1), offsets, per_sample_weights=weights)
            words = torch.nn.functional.normalize(words, dim=-1)
            return words if encoded is None else torch.nn.functional.normalize(words + how.dense * self.dense(encoded), dim=-1)

    return Head()
