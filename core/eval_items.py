"""Questions of eval sets and training files: their schema and how their lines are read. Knows no score and no answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from core.errors import ManifestError
from core.manifest import Manifest, Part, explain
from core.types import Language, Status


class EvalSource(Part):
    """Evidence that an item expects: a document (external id or corpus topic), and where in it."""

    document: str = Field(min_length=1, max_length=400)
    page: int | None = Field(default=None, ge=1)
    quote: str = Field(default="", max_length=4_000)


class EvalItem(Part):
    """One line of an eval set (contract)."""

    id: str = Field(min_length=1, max_length=120)
    question: str = Field(min_length=1, max_length=20_000)
    lang: Language = "en"
    kind: Literal["qa", "retrieval", "choice", "numeric", "classification", "safety"] = "qa"
    answers: tuple[str, ...] = ()
    sources: tuple[EvalSource, ...] = ()
    answerable: bool = True
    choices: tuple[str, ...] = ()
    expect_status: Status | None = None
    slice: dict[str, str] = Field(default_factory=dict)
    split: Literal["dev", "test"] = "test"


class QuestionGroup(Part):
    """One line of a training file: questions that one place answers, or (``answerable`` false) that nothing does."""

    lang: Language
    document: str = Field(min_length=1, max_length=400)
    quote: str = Field(default="", max_length=4_000)
    answerable: bool = True
    questions: Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=2_000)], ...], Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _quote_when_answerable(self) -> QuestionGroup:
        if self.answerable != bool(self.quote):
            raise ValueError("an answerable group needs the quote that answers; an unanswerable one has none")
        return self

    def items(self, *, name: str) -> list[EvalItem]:
        """Return one item per question; ``name`` begins their ids."""
        sources = (EvalSource(document=self.document, quote=self.quote),) if self.answerable else ()
        slices = {} if self.answerable else {"near": self.document}
        return [
            EvalItem(id=f"{name}-{n}", question=question, lang=self.lang, sources=sources, answerable=self.answerable, slice=slices, split="dev")
            for n, question in enumerate(self.questions, start=1)
        ]


def read_eval_items(path: Path) -> Iterator[EvalItem]:
    """Yield the items of an eval JSONL file.

    Raises:
        ManifestError: naming file and line.
    """
    seen: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path.name}:{number}"
            try:
                item = EvalItem.model_validate(json.loads(line))
            except ValidationError as error:
                raise ManifestError(explain(error, file=where)) from error
            except json.JSONDecodeError as error:
                raise ManifestError(f"{where}: not JSON: {error.msg}") from error
            if item.id in seen:
                raise ManifestError(f"{where}: id '{item.id}' occurs twice; ids are unique within a file")
            seen.add(item.id)
            yield item


def parse_training_line(line: str, *, name: str) -> list[EvalItem]:
    """Return the questions of one line of a training file: an eval item, or a :class:`QuestionGroup`.

    Raises:
        ValidationError: it is neither. ValueError: not JSON.
    """
    data = json.loads(line)
    if isinstance(data, dict) and "questions" in data:
        return QuestionGroup.model_validate(data).items(name=name)
    return [EvalItem.model_validate(data)]


def read_training_questions(path: Path) -> Iterator[EvalItem]:
    """Yield the questions of a training file.

    Raises:
        ManifestError: naming file and line.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield from parse_training_line(line, name=f"{path.stem}:{number}")
                except ValidationError as error:
                    raise ManifestError(explain(error, file=f"{path.name}:{number}")) from error
                except ValueError as error:
                    raise ManifestError(f"{path.name}:{number}: not JSON") from error


def eval_files(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the eval sets of a domain, in name order."""
    return sorted((folder / manifest.paths.evals).glob("*.jsonl"))


def training_files(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the files of training questions of a domain, in name order.

    Each line is an eval item or a :class:`QuestionGroup`. They are indexed as the question bank, fit the abstention model and train adapters.
    """
    return sorted((folder / manifest.paths.training).glob("*.jsonl"))
