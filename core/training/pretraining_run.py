"""One run of a pre-training plan: gather texts, train tokenizer and model, measure held-out perplexity before and after, write samples, save."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.encoder import base_folder, sha256_file
from core.errors import ModelError, UsageError
from core.training.context import RunContext
from core.training.corpora import CorpusData, CorpusParts, CorpusText, corpus_texts, part_texts
from core.training.loop import Trained, ended_run, fingerprint, put, run
from core.training.model_files import save_model
from core.training.pretraining import (
    PADDING,
    Blocks,
    DecoderShape,
    LanguageModel,
    PretrainingRecipe,
    PretrainingTask,
    load_encoder,
    new_decoder,
    perplexity,
    to_blocks,
    train_tokenizer,
)
from core.training.report import DataCount, Figure, Sample, TrainingReport, save_report
from core.types import Frozen

MODEL = "model"
SAMPLES = 20
PROMPT, CONTINUED = 16, 48
"""Tokens of a held-out text that a sample begins with, and how many the model adds."""


class PretrainingPlan(Frozen):
    """Plan of a pre-training run."""

    task: Literal["pretraining"]
    base: str = ""
    """Folder of the model to go on with; by default the encoder in use (masked), or a new decoder of ``decoder``'s size (causal)."""
    decoder: DecoderShape = DecoderShape()
    data: tuple[CorpusData, ...] = Field(min_length=1)
    held_out: float = Field(default=0.1, gt=0, lt=0.9)
    """Share of the documents that the result is measured on: neither training nor the choice of a checkpoint sees them."""
    valid: float = Field(default=0.1, gt=0, lt=0.9)
    """Share of the other documents that the checkpoint is chosen by."""
    training: PretrainingRecipe = PretrainingRecipe()

    @model_validator(mode="after")
    def _fits(self) -> PretrainingPlan:
        if self.decoder.hidden % self.decoder.heads or (self.decoder.hidden // self.decoder.heads) % 2:
            raise ValueError("decoder.hidden must be an even multiple of decoder.heads")
        return self


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    parts: CorpusParts
    counts: tuple[DataCount, ...]


def run_pretraining(plan: PretrainingPlan, context: RunContext) -> TrainingReport | None:
    """Carry out a plan; started again in the same folder it goes on where it was.

    Returns:
        The report, also written; None when it was stopped on the way.

    Raises:
        ModelError: no base to go on with. UsageError: data is missing or too little, or the folder holds another run.
    """
    found = _gather(plan, context)
    base = _base(plan, context)
    context.progress("preparing the model", 0, 0)
    model = prepare(plan, found.parts.train, base)
    base_sha256 = sha256_file(base / "model.safetensors") if base else ""
    texts = [f"{text.document}\0{text.text}" for text in (*found.parts.train, *found.parts.valid)]
    stated = fingerprint(plan.training, plan.decoder.model_dump_json() if base is None else base_sha256, *texts)
    context.progress("cutting blocks", 0, 0)
    test = {} if context.trial else _blocks(found.parts.test, model)
    before = {lang: model.measure(rows) for lang, rows in test.items()}
    opening = [] if context.trial else _samples(model, found.parts.test)
    trained = ended_run(context.folder, stated, goal=PretrainingTask.goal) or _train(plan, context, model, found.parts, stated)
    if trained is None or not trained.finished or context.trial:
        return None
    put(dict(model.model.named_parameters()), trained.tensors)
    context.progress("measuring", 0, 0)
    after = {lang: model.measure(rows) for lang, rows in test.items()}
    figures = _figures(before, after, found.parts.test, test, objective=plan.training.objective)
    samples = tuple(
        Sample(input=one.input, expected=one.expected, before=one.after, after=two.after)
        for one, two in zip(opening, _samples(model, found.parts.test), strict=True)
    )
    facts = {
        "command": context.command, "recipe": plan.model_dump(mode="json"), "base": base.name if base else "", "base_sha256": base_sha256,
        "new_weights": list(model.new), "data": [count.model_dump() for count in found.counts], "figures": [figure.model_dump() for figure in figures],
    }  # fmt: skip
    weights = save_model(model.model, model.tokenizer, context.folder / MODEL, facts)
    report = TrainingReport(
        task="pretraining", command=context.command, recipe=plan.model_dump(mode="json"), base=base.name if base else "", base_sha256=base_sha256,
        weights_sha256=sha256_file(weights), bytes=weights.stat().st_size, seconds=round(trained.seconds, 1), goal=PretrainingTask.goal, best_step=trained.best.step,
        data=found.counts, history=trained.history, figures=figures, samples=samples,
    )  # fmt: skip
    save_report(context.folder, report)
    return report


def _gather(plan: PretrainingPlan, context: RunContext) -> _Gathered:
    """Gather all texts, then part them together: a copy of a held-out text may stand in another entry."""
    found: list[tuple[CorpusData, list[CorpusText]]] = []
    for entry in plan.data:
        context.progress(f"reading {entry.name}", 0, 0)
        found.append((entry, corpus_texts(entry, domains=context.domains, data=context.data, seed=plan.training.seed)))
    parts = part_texts([text for _, texts in found for text in texts], test=plan.held_out, valid=plan.valid, seed=plan.training.seed)
    members = [{id(text) for text in part} for part in (parts.train, parts.valid, parts.test)]
    counts = []
    for entry, texts in found:
        train, valid, test = (sum(id(text) in part for text in texts) for part in members)
        digest = hashlib.sha256("".join(f"{text.document}\0{text.text}\0" for text in texts).encode()).hexdigest()
        counts.append(
            DataCount(
                name=entry.name, license="the domains' own" if entry.articles else entry.license, attribution=entry.attribution, train=train,
                valid=valid, test=test, leaks=len(texts) - train - valid - test, sha256=digest,
            )
        )  # fmt: skip
    return _Gathered(parts=parts, counts=tuple(counts))


def _base(plan: PretrainingPlan, context: RunContext) -> Path | None:
    if plan.training.objective == "causal" and not plan.base:
        return None
    base = Path(plan.base) if plan.base else base_folder(context.settings)
    if base is None or not (base / "model.safetensors").is_file():
        raise ModelError("no base to go on with: name a model folder with model.safetensors as `base` in the recipe")
    return base


def prepare(plan: PretrainingPlan, train: Sequence[CorpusText], base: Path | None) -> LanguageModel:
    """Return the model as it is before training; its weights follow from base, texts and seed.

    Raises:
        UsageError: the block is longer than the base can read. ModelError: the base's tokenizer lacks a mark that the objective needs.
    """
    import torch
    from accelerate import Accelerator

    recipe = plan.training
    torch.manual_seed(recipe.seed)
    new: tuple[str, ...] = ()
    if base is None:
        longest = max(recipe.block, plan.decoder.context)
        tokenizer = train_tokenizer(train, vocabulary=plan.decoder.vocabulary, context=longest)
        model = new_decoder(plan.decoder, vocabulary=len(tokenizer), context=longest, seed=recipe.seed)
    elif recipe.objective == "masked":
        model, tokenizer, new = load_encoder(base)
        if None in (tokenizer.mask_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id):
            raise ModelError(f"model '{base.name}' has a tokenizer without mask, beginning or end mark; name an encoder of the BERT kind")
    else:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(base, use_safetensors=True, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        if tokenizer.eos_token_id is None:
            raise ModelError(f"model '{base.name}' has a tokenizer without an end mark; name another base")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
    longest = int(getattr(model.config, "max_position_embeddings", recipe.block) or recipe.block)
    if recipe.block > longest:
        raise UsageError(f"the recipe's block of {recipe.block} tokens is longer than the {longest} that the model reads; lower `block`")
    accelerator = Accelerator()
    return LanguageModel(model=model.to(accelerator.device).eval(), tokenizer=tokenizer, recipe=recipe, accelerator=accelerator, new=new)


def _train(plan: PretrainingPlan, context: RunContext, model: LanguageModel, parts: CorpusParts, stated: str) -> Trained | None:
    rows = to_blocks(parts.train, model.tokenizer, block=plan.training.block, objective=plan.training.objective)
    task = PretrainingTask(model=model, train=rows, valid=_blocks(parts.valid, model))
    return run(task, plan.training, folder=context.folder, stated=stated, progress=context.progress, stop=context.stop)


def _blocks(texts: Sequence[CorpusText], model: LanguageModel) -> dict[str, Blocks]:
    """Return the blocks of texts by language."""
    return {
        str(lang): to_blocks([text for text in texts if text.lang == lang], model.tokenizer, block=model.recipe.block, objective=model.recipe.objective)
        for lang in sorted({text.lang for text in texts})
    }


def _figures(
    before: Mapping[str, tuple[float, int]],
    after: Mapping[str, tuple[float, int]],
    texts: Sequence[CorpusText],
    blocks: Mapping[str, Blocks],
    *,
    objective: str,
) -> tuple[Figure, ...]:
    """Return perplexity, and for a decoder bits per byte, over all held-out texts and by language.

    Bits per byte do not depend on the tokenizer: mean nats of a token, divided by ln 2, times tokens per byte (Gao et al., "The Pile", 2020, section 3.1).
    """
    groups = {"all": list(before), **({lang: [lang] for lang in before} if len(before) > 1 else {})}
    figures = []
    for group, langs in groups.items():
        tokens = sum(before[lang][1] for lang in langs)
        sums = [sum(part[lang][0] for lang in langs) for part in (before, after)]
        old, new = (perplexity(nats, tokens) for nats in sums)
        figures.append(Figure(metric="perplexity", group=group, n=tokens, before=round(old, 3), after=round(new, 3)))
        if objective == "causal":
            size = sum(len(text.text.encode()) for text in texts if text.lang in langs)
            every = sum(int((blocks[lang] != PADDING).sum()) for lang in langs)
            old, new = (nats / tokens / math.log(2) * every / size for nats in sums)
            figures.append(Figure(metric="bits_per_byte", group=group, n=size, before=round(old, 4), after=round(new, 4)))
    return tuple(figures)


def _samples(model: LanguageModel, texts: Sequence[CorpusText]) -> list[Sample]:
    """Return how a decoder goes on from held-out beginnings, or what an encoder puts for a masked word."""
    count = min(SAMPLES, len(texts))
    chosen = [texts[n * len(texts) // count] for n in range(count)]
    return [_continued(model, text) if model.recipe.objective == "causal" else _filled(model, text) for text in chosen]


def _continued(model: LanguageModel, text: CorpusText) -> Sample:
    """The likeliest next token each time, none of the last three words repeated."""
    import torch

    ids = model.tokenizer.backend_tokenizer.encode(text.text, add_special_tokens=False).ids
    rows = torch.tensor([ids[:PROMPT]], device=model.accelerator.device)
    with torch.no_grad():
        output = model.model.generate(
            rows, attention_mask=torch.ones_like(rows), max_new_tokens=min(CONTINUED, model.recipe.block - PROMPT), do_sample=False, no_repeat_ngram_size=3,
            pad_token_id=model.tokenizer.pad_token_id, eos_token_id=model.tokenizer.eos_token_id,
        )  # fmt: skip
    return Sample(
        input=model.tokenizer.decode(ids[:PROMPT]), expected=model.tokenizer.decode(ids[PROMPT : PROMPT + CONTINUED]),
        after=model.tokenizer.decode(output[0, PROMPT:], skip_special_tokens=True),
    )  # fmt: skip


def _filled(model: LanguageModel, text: CorpusText) -> Sample:
    import torch

    ids = model.tokenizer(text.text, truncation=True, max_length=min(64, model.recipe.block))["input_ids"]
    place = len(ids) // 2
    shown = [*ids[:place], model.tokenizer.mask_token_id, *ids[place + 1 :]]
    rows = torch.tensor([shown], device=model.accelerator.device)
    with torch.no_grad():
        logits = model.model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[0, place]
    best = np.argsort(-logits.float().cpu().numpy(), kind="stable")[:3].tolist()
    return Sample(
        input=model.tokenizer.decode(shown), expected=model.tokenizer.decode([ids[place]]), after=", ".join(model.tokenizer.decode([one]) for one in best)
    )
