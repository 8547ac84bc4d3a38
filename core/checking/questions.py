"""Checks eval sets (and training questions): schema, ids, evidence, leakage. Asks no question and knows no metric."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from core.checking.corpus import Article, runs, units
from core.checking.report import Findings
from core.eval_items import EvalItem, eval_files, parse_training_line, training_files
from core.manifest import Example, Manifest
from core.types import LANGUAGES, Language

COPIED: dict[Language, int] = {"en": 8, "zh": 14}
"""A question that shares a run of this many words (Chinese: characters) with the corpus was copied from it."""
TRAINING = "training"
Elsewhere = Callable[[str, int | None], str | None]
"""Text of a document that is not in the corpus folder, by name and page: None when it is unknown, empty when it has no such page."""


class Note(Protocol):
    """Notes a problem: a ``Findings.error`` or ``Findings.warn``."""

    def __call__(self, path: Path, message: str, *, line: int | None = None) -> None:
        """Note it."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """An eval item and where it stands."""

    path: Path
    line: int
    item: EvalItem


def check_questions(findings: Findings, manifest: Manifest, articles: Sequence[Article], *, elsewhere: Elsewhere) -> list[Question]:
    """Check the domain's eval sets and return their valid items; training questions are checked too where there are any."""
    evals = [question for path in eval_files(findings.folder, manifest) for question in _read(findings, path, _one_item)]
    training = [question for path in training_files(findings.folder, manifest) for question in _read(findings, path, parse_training_line)]
    if not evals:
        findings.warn(findings.folder / manifest.paths.evals, "no eval items; without them no change to the domain can be measured")
    everything = [*evals, *training]
    _check_ids(findings, everything)
    _check_splits(findings, evals, training)
    _check_examples(findings, manifest, evals)
    _check_evidence(findings, manifest, everything, articles, elsewhere=elsewhere)
    stands = _corpus_runs(articles)
    _check_copies(evals, stands, findings.error)
    # A copied training question measures nothing wrongly; it only teaches little.
    _check_copies(training, stands, findings.warn)
    for question in everything:
        _check_item(findings, question, manifest)
    return evals


def _one_item(row: str, *, name: str) -> list[EvalItem]:
    return [EvalItem.model_validate(json.loads(row))]


class Parse(Protocol):
    """Reads the items of one line; ``name`` begins the ids of items that have none."""

    def __call__(self, row: str, /, *, name: str) -> list[EvalItem]:
        """Read them."""


def _read(findings: Findings, path: Path, parse: Parse) -> Iterator[Question]:
    try:
        rows = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        findings.error(path, "cannot be read as UTF-8 text; save it as UTF-8")
        return
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        try:
            for item in parse(row, name=f"{path.stem}:{number}"):
                yield Question(path=path, line=number, item=item)
        except ValidationError as error:
            findings.invalid(path, error, line=number)
        except (ValueError, RecursionError) as error:
            findings.error(path, f"not JSON: {getattr(error, 'msg', 'nested too deeply')}", line=number)


def _place(findings: Findings, question: Question) -> str:
    return f"{findings.name(question.path)}:{question.line}"


def _check_ids(findings: Findings, questions: Iterable[Question]) -> None:
    first: dict[str, Question] = {}
    for question in questions:
        other = first.setdefault(question.item.id, question)
        if other is not question:
            findings.error(question.path, f"id '{question.item.id}' is also in {_place(findings, other)}; ids are unique", line=question.line)


def _check_splits(findings: Findings, evals: Iterable[Question], training: Iterable[Question]) -> None:
    asked: dict[tuple[str, ...], list[tuple[str, Question]]] = defaultdict(list)
    for question in evals:
        asked[units(question.item.question, question.item.lang)].append((question.item.split, question))
    for question in training:
        asked[units(question.item.question, question.item.lang)].append((TRAINING, question))
    for group in asked.values():
        where, first = group[0]
        for split, question in group[1:]:
            if split != where:
                findings.error(question.path, f"the {split} question is also a {where} question ({_place(findings, first)}); remove one", line=question.line)
            else:
                findings.warn(question.path, f"the same question as {_place(findings, first)}", line=question.line)


def _check_examples(findings: Findings, manifest: Manifest, evals: Iterable[Question]) -> None:
    """Check that no eval question is among the texts that the policy's gate is fitted on."""
    path = findings.folder / manifest.paths.policy / "examples.jsonl"
    asked = {units(question.item.question, question.item.lang): question for question in evals}
    for number, row in enumerate(path.read_text("utf-8").split("\n") if path.is_file() else (), start=1):
        try:
            example = Example.model_validate_json(row)
        except ValidationError:
            continue  # reported with the policy
        question = asked.get(units(example.text, example.lang))
        if question is not None:
            findings.error(path, f"the example is also an eval question ({_place(findings, question)}); remove one", line=number)


def _bare(text: str) -> str:
    """Return text without white space, as the question bank and the scorers compare quotes."""
    return "".join(text.split())


def _check_evidence(findings: Findings, manifest: Manifest, questions: Iterable[Question], articles: Sequence[Article], *, elsewhere: Elsewhere) -> None:
    bodies: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for article in articles:
        bodies[article.topic].append((article.front.lang, _bare(article.text)))
    sources = {_bare(article.body) for article in articles}
    files = _other_files(findings.folder / manifest.paths.corpus)
    for question in questions:
        for source in question.item.sources:
            shown = source.document[:80]
            quote = _bare(source.quote)
            if source.document in bodies:
                languages = [lang for lang, body in bodies[source.document] if quote in body]
                if not languages:
                    other = next((topic for topic, found in bodies.items() if any(quote in body for _, body in found)), "")
                    hint = f"; it stands in '{other}'" if other else ""
                    if not other and any(quote in written for written in sources):
                        hint = "; quote what a reader sees, without Markdown marks"
                    findings.error(question.path, f"quote is not in '{shown}': {source.quote[:60]!r}{hint}", line=question.line)
                elif quote and question.item.lang not in languages:
                    findings.warn(question.path, f"a {question.item.lang} question quotes the {languages[0]} article of '{shown}'", line=question.line)
                continue
            text = elsewhere(source.document, source.page)
            if text is None and source.document not in files:
                message = f"no document '{shown}' in the corpus or the library; mend the name or `domainkit add` the document"
                findings.error(question.path, message, line=question.line)
            elif text is not None and quote and quote not in _bare(text):
                page = f" on page {source.page}" if source.page else ""
                findings.error(question.path, f"quote is not in '{shown}'{page}: {source.quote[:60]!r}", line=question.line)


def _other_files(corpus: Path) -> frozenset[str]:
    """Names under which the corpus's files other than articles can be cited; their text is only known once they are indexed."""
    names: set[str] = set()
    for path in corpus.rglob("*"):
        if path.suffix.lower() == ".jsonl":
            for row in path.read_text("utf-8", errors="replace").split("\n"):
                found = re.search(r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|\d+)', row)
                if found:
                    names.add(str(json.loads(found.group(1))))
        elif path.is_file():
            names.update((path.name, path.relative_to(corpus).as_posix()))
    return frozenset(names)


def _corpus_runs(articles: Sequence[Article]) -> dict[Language, set[tuple[str, ...]]]:
    stands: dict[Language, set[tuple[str, ...]]] = {lang: set() for lang in LANGUAGES}
    for article in articles:
        stands[article.front.lang].update(runs(article.units, COPIED[article.front.lang]))
    return stands


def _check_copies(questions: Iterable[Question], stands: dict[Language, set[tuple[str, ...]]], note: Note) -> None:
    for question in questions:
        lang = question.item.lang
        for run in runs(units(question.item.question, lang), COPIED[lang]):
            if run in stands[lang]:
                copied = ("" if lang == "zh" else " ").join(run)
                note(question.path, f"the question copies the corpus: {copied!r}; ask in other words", line=question.line)
                break


def _check_item(findings: Findings, question: Question, manifest: Manifest) -> None:
    path, line, item = question.path, question.line, question.item
    if item.lang not in manifest.languages:
        findings.error(path, f"lang '{item.lang}' is not among the manifest's languages", line=line)
    if item.answerable and not item.sources and item.kind not in {"classification", "safety"}:
        findings.warn(path, "answerable, but names no source", line=line)
    if not item.answerable and item.sources:
        findings.warn(path, "not answerable, but names a source", line=line)
    if not item.answerable and item.expect_status == "answered":
        findings.error(path, "not answerable, but expects status 'answered'", line=line)
    if item.kind == "choice" and (len(item.choices) < 2 or not set(item.answers) <= set(item.choices)):
        findings.error(path, "a choice item needs two or more choices, and its answers among them", line=line)
    if item.kind == "numeric" and item.answerable and not any(re.search(r"\d", answer) for answer in item.answers):
        findings.error(path, "a numeric item needs an answer with a number", line=line)
