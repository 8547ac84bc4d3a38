"""A reader: finds the span of a text that answers a question, or says that none does. Fine-tunes an encoder with a span head.

Long texts are read in overlapping windows; "no answer" is the first token, as in Devlin et al., "BERT", 2019, section 4.3. Knows no file and no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.training.loop import autocast
from core.training.lora import TuningRecipe, dropping, tuned
from core.training.model_task import ModelTask
from core.training.quiet import quiet
from core.training.spans import SpanExample

HEAD = "qa_outputs"


class ReaderRecipe(TuningRecipe):
    """Every hyperparameter of a run."""

    method: Literal["lora", "full"] = "full"
    learning_rate: float = Field(default=1e-4, gt=0, le=0.1)
    batch: int = Field(default=32, ge=1, le=4_096)
    steps: int = Field(default=1_000, ge=1, le=10_000_000)
    max_tokens: int = Field(default=320, ge=32, le=4_096)
    """Of a window, question included."""
    stride: int = Field(default=96, ge=0, le=1_024)
    """Tokens that neighbouring windows share."""
    longest_answer: int = Field(default=40, ge=1, le=512)
    """Tokens."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a question's text as the model reads it."""

    example: int
    ids: tuple[int, ...]
    types: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    """Characters of each token in the context; (-1, -1) for what is not context."""
    start: int
    """Token at which the answer begins, 0 (the first token) where this window holds none."""
    end: int


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a reader makes of a question."""

    text: str
    """The best span."""
    score: float
    """By how much the best span outweighs "no answer", in logits: above a threshold the span is the answer."""


class ReaderModel:
    """An encoder with a span head. Deterministic under a seed.

    Args:
        base: folder of an encoder or of a trained reader (safetensors).
        recipe: method, precision, window, seed.
    """

    def __init__(self, base: Path, recipe: ReaderRecipe) -> None:
        import torch
        from accelerate import Accelerator
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        with quiet():  # the head is new
            model: Any = AutoModelForQuestionAnswering.from_pretrained(base, use_safetensors=True, local_files_only=True)
        self.accelerator = Accelerator()
        self.model, self.parameters = tuned(model, recipe, device=self.accelerator.device, heads=(HEAD,))

    def windows(self, examples: Sequence[SpanExample]) -> list[Window]:
        """Return the windows of examples, in order."""
        longest = self.recipe.max_tokens // 3
        found = []
        for number, example in enumerate(examples):
            question = self.tokenizer(example.question, add_special_tokens=False, truncation=True, max_length=longest)["input_ids"]
            encoded = self.tokenizer(
                self.tokenizer.decode(question) if len(question) == longest else example.question, example.context, truncation="only_second",
                max_length=self.recipe.max_tokens, stride=min(self.recipe.stride, self.recipe.max_tokens // 3), return_overflowing_tokens=True,
                return_offsets_mapping=True, return_token_type_ids=True,
            )  # fmt: skip
            for place, ids in enumerate(encoded["input_ids"]):
                sequence = encoded.sequence_ids(place)
                offsets = tuple(tuple(span) if part == 1 else (-1, -1) for span, part in zip(encoded["offset_mapping"][place], sequence, strict=True))
                start, end = _marked(example, offsets)
                found.append(Window(example=number, ids=tuple(ids), types=tuple(encoded["token_type_ids"][place]), offsets=offsets, start=start, end=end))
        return found

    def logits(self, windows: Sequence[Window]) -> Any:
        """Return start and end logits (2, n, t) with gradients; what is neither context nor the first token cannot be chosen."""
        import torch

        width = max(len(window.ids) for window in windows)
        pad = int(self.tokenizer.pad_token_id or 0)

        def rows(values: Callable[[Window], Sequence[int]], fill: int) -> Any:
            return torch.tensor([[*values(window), *[fill] * (width - len(window.ids))] for window in windows], device=self.accelerator.device)

        mask = rows(lambda window: [1] * len(window.ids), 0)
        allowed = rows(lambda window: [int(place == 0 or span[0] >= 0) for place, span in enumerate(window.offsets)], 0).bool()
        inputs = {"input_ids": rows(lambda window: window.ids, pad), "attention_mask": mask}
        if int(getattr(self.model.config, "type_vocab_size", 0) or 0) > 1:
            inputs["token_type_ids"] = rows(lambda window: window.types, 0)
        with autocast(self.accelerator, self.recipe):
            output = self.model(**inputs)
        both = torch.stack([output.start_logits.float(), output.end_logits.float()])
        return both.masked_fill(~allowed, -1e4)

    def read(self, examples: Sequence[SpanExample], *, size: int = 128) -> list[Read]:
        """Return the best span of each example."""
        import torch

        windows = self.windows(examples)
        order = sorted(range(len(windows)), key=lambda n: len(windows[n].ids))
        best: dict[int, tuple[float, str]] = {}
        nothing: dict[int, float] = {}
        for at in range(0, len(order), size):
            chosen = [windows[n] for n in order[at : at + size]]
            with torch.no_grad():
                start, end = self.logits(chosen).cpu().numpy()
            for row, window in enumerate(chosen):
                score, span = best_span(start[row], end[row], window.offsets, longest=self.recipe.longest_answer)
                nothing[window.example] = min(nothing.get(window.example, np.inf), float(start[row][0] + end[row][0]))
                if window.example not in best or score > best[window.example][0]:
                    best[window.example] = (score, examples[window.example].context[span[0] : span[1]])
        return [Read(text=best[n][1], score=best[n][0] - nothing[n]) for n in range(len(examples))]


def _marked(example: SpanExample, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the tokens of the first answer that lies whole within a window, (0, 0) when none does."""
    for answer, begin in zip(example.answers, example.starts, strict=True):
        places = [place for place, (start, end) in enumerate(offsets) if begin >= 0 <= start and end > begin and start < begin + len(answer)]
        inside = places and offsets[places[0]][0] <= begin and offsets[places[-1]][1] >= begin + len(answer)
        if inside:
            return places[0], places[-1]
    return 0, 0


def best_span(
    start: NDArray[np.float32], end: NDArray[np.float32], offsets: Sequence[tuple[int, int]], *, longest: int, candidates: int = 12
) -> tuple[float, tuple[int, int]]:
    """Return the best score, start + end logit, and its characters among spans of at most ``longest`` tokens of context.

    Args:
        start: start logits (t,).
        end: end logits (t,).
        offsets: characters of each token; those at (-1, -1) are no context.
        longest: tokens of a span.
        candidates: so many best starts and ends are tried.
    """
    places = np.array([n for n, (begin, _) in enumerate(offsets) if begin >= 0], dtype=np.int64)
    if not len(places):
        return -np.inf, (0, 0)
    starts = places[np.argsort(-start[places], kind="stable")[:candidates]]
    ends = places[np.argsort(-end[places], kind="stable")[:candidates]]
    best, span = -np.inf, (0, 0)
    for a in starts.tolist():
        for b in ends.tolist():
            if a <= b < a + longest and start[a] + end[b] > best:
                best, span = float(start[a] + end[b]), (offsets[a][0], offsets[b][1])
    if best == -np.inf:
        top = int(starts[0])
        best, span = float(start[top] + end[top]), offsets[top]
    return best, span


@dataclass(frozen=True, kw_only=True)
class ReaderTask(ModelTask):
    """Windows towards their spans; what :mod:`core.training.loop` runs."""

    model: ReaderModel
    train: Sequence[Window]
    judge: Callable[[ReaderModel], dict[str, float]]
    """Returns the validation metrics, the goal among them."""
    goal: str = "f1"

    def validate(self) -> dict[str, float]:
        """Return the metrics on the validation set."""
        return self.judge(self.model)

    def loss(self, number: int) -> Any:
        """Return the mean cross-entropy of start and end."""
        import torch

        chosen = [self.train[n] for n in self.rows(number)]
        with dropping(self.model.model, self.model.recipe):
            start, end = self.model.logits(chosen)
        wanted = torch.tensor([[window.start for window in chosen], [window.end for window in chosen]], device=start.device)
        return (torch.nn.functional.cross_entropy(start, wanted[0]) + torch.nn.functional.cross_entropy(end, wanted[1])) / 2
