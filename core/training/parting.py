"""What every task does with its examples before it trains: leave out what eval sets ask, hold out a test and a validation part, draw what is learned from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from pydantic import Field, model_validator

from core.errors import CheckFailed
from core.eval_items import EvalItem
from core.text import normalize
from core.training.pairs import Pair, find_leaks, split_by_entity
from core.types import Frozen

E = TypeVar("E")
SHOWN_LEAKS = 3
Leaks = Literal["refuse", "drop"]
"""What a plan does with examples that an eval item asks."""


class Amounts(Frozen):
    """How much of a data entry goes to which part."""

    limit: int = Field(default=0, ge=0)
    """Train on at most so many, drawn at random; 0: all."""
    valid: int = Field(default=0, ge=0)
    test: int = Field(default=0, ge=0)
    """Held out by what examples are about."""
    test_only: bool = False
    """All are held out."""
    license: str = ""
    attribution: str = ""

    @model_validator(mode="after")
    def _one_use(self) -> Amounts:
        if self.test_only and (self.valid or self.test or self.limit):
            raise ValueError("test_only holds everything out; leave valid, test and limit away")
        return self


@dataclass(frozen=True, kw_only=True)
class Parts(Generic[E]):
    """The examples of a data entry."""

    train: list[E]
    valid: list[E]
    test: list[E]


def without_leaks(name: str, examples: Sequence[E], pair: Callable[[E], Pair], *, items: Iterable[EvalItem], leaks: Leaks) -> tuple[list[E], int]:
    """Return the examples that no eval item asks, and how many there were of the others.

    Args:
        name: of the data entry, for the error.
        examples: all of them.
        pair: how the search for leaks reads one.
        items: every eval item.
        leaks: what to do with those.

    Raises:
        CheckFailed: there are some and they are to be refused.
    """
    pairs = [pair(one) for one in examples]
    found = find_leaks(pairs, items)
    if found and leaks == "refuse":
        shown = ", ".join(f"{leak.pair_id} asks {'what' if leak.exact else 'nearly what'} {leak.item_id} asks" for leak in found[:SHOWN_LEAKS])
        raise CheckFailed(f'{name}: {len(found)} training question(s) are asked by eval sets ({shown}); remove them or write `leaks = "drop"` in the recipe')
    asked = {leak.pair_id for leak in found}
    return [one for one, read in zip(examples, pairs, strict=True) if read.id not in asked], len(found)


def divided(examples: Sequence[E], amounts: Amounts, pair: Callable[[E], Pair], *, seed: int) -> Parts[E]:
    """Hold out first the test, then the validation part, both by entity (:func:`core.training.pairs.split_by_entity`).

    Raises:
        UsageError: there are too few examples.
    """
    if amounts.test_only:
        return Parts(train=[], valid=[], test=list(examples))
    rest, test = _held(examples, amounts.test, pair, seed=seed)
    rest, valid = _held(rest, amounts.valid, pair, seed=seed)
    return Parts(train=drawn(rest, amounts.limit, seed=seed), valid=valid, test=test)


def apart(parts: Sequence[Parts[E]], pair: Callable[[E], Pair]) -> list[Parts[E]]:
    """Leave out of each entry's training part what asks a question or has a text that any entry holds out, and out of validation what is tested.

    A split keeps one entry's parts apart; two entries may ask the same question.
    """
    tested = _said(one for part in parts for one in map(pair, part.test))
    chosen = _said(one for part in parts for one in map(pair, part.valid))
    held = tested | chosen
    return [
        Parts(
            train=[one for one in part.train if not _said([pair(one)]) & held], valid=[one for one in part.valid if not _said([pair(one)]) & tested],
            test=part.test,
        )
        for part in parts
    ]  # fmt: skip


def _said(pairs: Iterable[Pair]) -> set[tuple[str, str]]:
    return {said for pair in pairs for said in (("question", normalize(pair.question)), ("text", pair.text))}


def drawn(examples: Sequence[E], limit: int, *, seed: int) -> list[E]:
    """Return at most ``limit`` of the examples, drawn at random; all of them when it is 0."""
    return random.Random(seed).sample(list(examples), limit) if 0 < limit < len(examples) else list(examples)


def _held(examples: Sequence[E], number: int, pair: Callable[[E], Pair], *, seed: int) -> tuple[list[E], list[E]]:
    if not number:
        return list(examples), []
    # By place, since names of examples may occur twice.
    split = split_by_entity([replace(pair(one), id=str(place)) for place, one in enumerate(examples)], held_out=number, seed=seed)
    return [examples[int(one.id)] for one in split.train], [examples[int(one.id)] for one in split.held_out]
