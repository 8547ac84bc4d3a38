"""A training plan: which data, how much of it is held out, and the hyperparameters, as one TOML file. Trains nothing."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from core.errors import UsageError
from core.ingest import header_of
from core.library import Library
from core.training.context import RunContext
from core.training.pairs import Columns, Pair, read_pairs
from core.training.parting import Amounts, Leaks, Parts, apart, divided, without_leaks
from core.training.report import DataCount
from core.training.retrieval import RetrievalRecipe
from core.training.sources import DataSource, all_pairs, read_source
from core.types import LANGUAGES, Frozen, Language

_T = TypeVar("_T", bound=BaseModel)
SEARCH = "search"
"""Key of a recipe's table of what a search may change."""


class DataEntry(Amounts):
    """Where pairs come from: a public set by name, a file, or the domain's own training questions and passages. One of the three."""

    set: str = ""
    file: str = ""
    columns: Columns = Columns()
    own: bool = False
    languages: tuple[Language, ...] = LANGUAGES
    files: tuple[str, ...] = ()
    """Of the domain's own: which languages, and which of its files of training questions (all when empty). What an adapter was trained on
    is left out when the ranking is fitted."""
    anchor: bool = False
    """Its questions are not learned from: they are those whose vectors are to stay."""

    @model_validator(mode="after")
    def _one_place(self) -> DataEntry:
        if sum((bool(self.set), bool(self.file), self.own)) != 1:
            raise ValueError("name exactly one of set, file and own")
        if self.anchor and (self.valid or self.test or self.test_only):
            raise ValueError("anchor questions hold nothing out")
        return self

    @property
    def name(self) -> str:
        """What a report calls it."""
        return self.set or Path(self.file).name or "own"


class RetrievalPlan(Frozen):
    """Plan of a retrieval adapter."""

    task: Literal["retrieval"]
    data: tuple[DataEntry, ...] = Field(min_length=1)
    leaks: Leaks = "refuse"
    """What to do with pairs whose question an eval item asks."""
    test_questions: int = Field(default=1_000, ge=1)
    """How many of the held-out questions are asked, over all held-out texts."""
    training: RetrievalRecipe = RetrievalRecipe()


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """The pairs of a plan, in parts that share no entity, no question and no text."""

    train: tuple[Pair, ...]
    valid: tuple[Pair, ...]
    test: tuple[Pair, ...]
    counts: tuple[DataCount, ...]
    anchors: tuple[str, ...] = ()
    """Questions whose vectors are to stay."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What an entry of a plan came to."""

    entry: DataEntry
    source: DataSource | None
    parts: Parts[Pair]
    leaks: int
    sha256: str


def read_plan(text: str, schema: type[_T]) -> _T:
    """Read a plan or a recipe; what it says of a search is for :mod:`core.training.search` to read.

    Raises:
        UsageError: not TOML, or a key or value that it does not have.
    """
    try:
        return schema.model_validate({key: value for key, value in tomllib.loads(text).items() if key != SEARCH})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the recipe is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"the recipe's {where or 'keys'}: {first['msg']}; got {str(first['input'])[:60]}") from error


def own_pairs(library: Library, languages: Sequence[Language], files: Sequence[str]) -> list[Pair]:
    """Return a domain's training questions beside the passages that answer them, as the encoder reads those; an entity is a document.

    Args:
        library: its question bank and passages.
        languages: of the questions.
        files: names of the files that they come from; all when empty.
    """
    texts: dict[int, tuple[str, str]] = {}
    after = 0
    while rows := library.to_encode(after=after, limit=500):
        texts |= {row: (f"{header_of(passage, aliases)}\n{passage.text}", passage.document_id) for row, passage, aliases in rows}
        after = rows[-1][0]
    found = []
    for lang in languages:
        for number, question in enumerate(library.questions(lang)):
            for row, _, _ in question.passages[:1] if not files or question.origin in files else ():
                text, document = texts[row]
                found.append(Pair(id=f"own-{lang}:{number}", question=question.text, text=text, entity=document))
    return found


def assemble(plan: RetrievalPlan, context: RunContext, *, library: Library) -> Assembled:
    """Gather a plan's pairs, part them by entity, and look for leaks.

    Args:
        plan: what to gather.
        context: where from; files of entries are sought below its ``data``.
        library: of the domain.

    Raises:
        CheckFailed: an eval item asks what a pair asks and the plan says to refuse. UsageError: data is missing or too little.
    """
    found: list[_Found] = []
    for entry in plan.data:
        context.progress(f"reading {entry.name}", 0, 0)
        source = read_source(context.sources / f"{entry.set}.toml") if entry.set else None
        if source is not None:
            pairs = all_pairs(source, context.data)
        else:
            pairs = own_pairs(library, entry.languages, entry.files) if entry.own else read_pairs(context.data / entry.file, columns=entry.columns)
        kept, leaks = without_leaks(entry.name, pairs, _itself, items=context.items, leaks=plan.leaks)
        digest = hashlib.sha256("".join(f"{pair.question}\0{pair.text}\0" for pair in pairs).encode()).hexdigest()
        found.append(_Found(entry=entry, source=source, parts=divided(kept, entry, _itself, seed=plan.training.seed), leaks=leaks, sha256=digest))
    train: list[Pair] = []
    valid: list[Pair] = []
    test: list[Pair] = []
    anchors: list[str] = []
    counts = []
    for one, parts in zip(found, apart([one.parts for one in found], _itself), strict=True):
        if one.entry.anchor:  # teaches no answer, and may ask what is held out
            anchors += [pair.question for pair in one.parts.train]
        else:
            train, valid, test = train + parts.train, valid + parts.valid, test + parts.test
        counts.append(_count(one, one.parts if one.entry.anchor else parts))
    if not train or not valid:
        raise UsageError("the recipe leaves no pairs to train on or none to validate on; state `valid` for at least one data entry")
    return Assembled(train=tuple(train), valid=tuple(valid), test=tuple(test), counts=tuple(counts), anchors=tuple(dict.fromkeys(anchors)))


def _count(found: _Found, parts: Parts[Pair]) -> DataCount:
    entry, source = found.entry, found.source
    return DataCount(
        name=entry.name, license=source.license if source else entry.license or ("the domain's own" if entry.own else ""),
        attribution=source.attribution if source else entry.attribution, url=source.url if source else "", train=len(parts.train), valid=len(parts.valid),
        test=len(parts.test), leaks=found.leaks, held_elsewhere=sum(map(len, (found.parts.train, found.parts.valid))) - len(parts.train) - len(parts.valid), sha256=found.sha256,
    )  # fmt: skip


def _itself(pair: Pair) -> Pair:
    return pair
