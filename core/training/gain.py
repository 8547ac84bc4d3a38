"""What an adapter gains over the base on questions that its training never saw, asked one by one as an answer asks them. Trains nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from core.encoder import Encoder, compiled_folder
from core.errors import CheckFailed, UsageError
from core.library import Library
from core.models.adapters import CARD
from core.query_adapter import ensure_query_encoder, find_adapter
from core.training.context import RunContext
from core.training.pairs import Pair
from core.training.plan import Assembled, RetrievalPlan, assemble
from core.training.report import DataCount, Figure, Sample, paired_p
from core.training.retrieval import RetrievalRecipe, Vectors, question_ranks, rank_figures, right_rows, training_set
from core.training.text_vectors import TextVectors

SAMPLES = 20
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a shipped adapter gains on what its recipe held out, and what its recipe's data came to."""

    figures: tuple[Figure, ...]
    data: tuple[DataCount, ...]


def measure_shipped(plan: RetrievalPlan, context: RunContext) -> Gain:
    """Measure a domain's adapter again on what its recipe holds out, without training.

    Args:
        plan: the recipe that the adapter was trained by.
        context: of the domain; vectors of texts are kept in its folder.

    Raises:
        CheckFailed: recipe or data are not those that the card states, so that what is held out now may have been trained on.
        UsageError: the domain has no adapter, its recipe holds nothing out, or data is missing.
    """
    domain, settings = context.domain, context.settings
    adapter = find_adapter(domain, settings) if domain is not None else None
    tuned = ensure_query_encoder(adapter, settings)
    if domain is None or adapter is None or tuned is None:
        raise UsageError("there is no adapter to measure; train one with `domainkit train retrieval DOMAIN`")
    card = json.loads((adapter.folder / CARD).read_text("utf-8"))
    if not _same(card.get("recipe"), plan.training):
        raise CheckFailed(f"adapter of '{domain.name}': its card states other hyperparameters than the recipe; name the recipe that it was trained by")
    encoder = Encoder(compiled_folder(settings))
    found = assemble(plan, context, library=Library(settings.home / "libraries" / domain.name, encoder_id=encoder.id))
    stated = {(one["name"], one["sha256"], one["test"]) for one in card.get("data", ())}
    held = [count for count in found.counts if count.test]
    if strange := next((count.name for count in held if (count.name, count.sha256, count.test) not in stated), ""):
        raise CheckFailed(f"adapter of '{domain.name}': '{strange}' is not the data that its card states; what is held out of it now may have been trained on")
    if not held:
        raise UsageError(f"the recipe of '{domain.name}' holds nothing out; state `test` for at least one data entry and train with it")
    context.progress("measuring", 0, 0)
    figures, _ = measure(found, encoder=encoder, tuned=tuned, texts=TextVectors(encoder, context), questions=plan.test_questions, seed=plan.training.seed)
    return Gain(figures=figures, data=found.counts)


def _same(stated: object, recipe: RetrievalRecipe) -> bool:
    """Whether a card states these hyperparameters; what it does not state had no name yet, and its default."""
    try:
        return RetrievalRecipe.model_validate(stated) == recipe
    except ValidationError:
        return False


def measure(found: Assembled, *, encoder: Encoder, tuned: Encoder, texts: Encode, questions: int, seed: int) -> tuple[tuple[Figure, ...], tuple[Sample, ...]]:
    """Return what the adapter gains on all held-out questions and on each data set's, and some questions to read.

    Args:
        found: its test part is asked; every question's text is sought among all texts of that part.
        encoder: of the base.
        tuned: of base and adapter.
        texts: returns the base's vectors of texts.
        questions: how many are asked.
        seed: which ones.
    """
    if not found.test:
        return (), ()
    data = training_set(found.test, texts)
    right = right_rows(data)
    chosen = sorted(random.Random(seed).sample(range(len(found.test)), min(questions, len(found.test))))
    asked = [found.test[n].question for n in chosen]
    wanted = [right[n] for n in chosen]
    before = question_ranks(encoder.encode_each(asked), wanted, data.vectors)
    after = question_ranks(tuned.encode_each(asked), wanted, data.vectors)
    sets = np.array([_set_of(found.test[n]) for n in chosen])
    groups = {"all": np.arange(len(chosen))}
    if len(set(sets.tolist())) > 1:
        groups |= {str(name): np.flatnonzero(sets == name) for name in sorted(set(sets.tolist()))}
    figures = tuple(figure for name, rows in groups.items() for figure in _figures(name, before[rows], after[rows]))
    shown = sorted(random.Random(seed).sample(range(len(chosen)), min(SAMPLES, len(chosen))))
    samples = tuple(Sample(input=asked[n], expected=found.test[chosen[n]].text[:400], before=f"rank {before[n]}", after=f"rank {after[n]}") for n in shown)
    return figures, samples


def _set_of(pair: Pair) -> str:
    return pair.id.partition(":")[0]


def _figures(group: str, before: NDArray[np.int64], after: NDArray[np.int64]) -> list[Figure]:
    """Return the rank metrics; Recall@1 with the two-sided exact McNemar test of questions gained against questions lost."""
    better, worse = int(((after == 1) & (before > 1)).sum()), int(((after > 1) & (before == 1)).sum())
    old, new = rank_figures(before), rank_figures(after)
    first = Figure(
        metric="recall_at_1",
        group=group,
        n=len(before),
        before=old["recall_at_1"],
        after=new["recall_at_1"],
        better=better,
        worse=worse,
        p=paired_p(better, worse),
    )
    return [first, *(Figure(metric=name, group=group, n=len(before), before=old[name], after=new[name]) for name in ("recall_at_5", "mrr_at_10"))]
