"""One run of a generator plan: gather instructions, train, measure the answers of held-out documents before and after, save.

Saves a LoRA adapter as :mod:`core.models.adapters` reads it, or a whole model where it is tuned in full. Knows no command line.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from core.encoder import sha256_file
from core.errors import ModelError, UsageError
from core.models.adapters import CARD, CONFIG, WEIGHTS, base_weights_sha256, check_adapter
from core.prompts import DEFAULT, template_text
from core.training.checkpoint import Tensors, write_whole
from core.training.context import RunContext
from core.training.generator import Generator, GeneratorRecipe, GeneratorTask
from core.training.generator_scores import Measured, figures, samples
from core.training.instructions import Instruction, InstructionData, Pool, Prompted, file_instructions, own_instructions, prompted
from core.training.loop import Trained, ended_run, fingerprint, put, run
from core.training.model_files import save_model, write_card
from core.training.pairs import split_by_entity
from core.training.parting import Leaks, drawn, without_leaks
from core.training.report import DataCount, TrainingReport, save_report
from core.types import LANGUAGES, Frozen, Hit, Language

ADAPTER, MODEL = "adapter", "model"
DOCUMENTS = 10
"""A held-out part comes from about so many documents at least, so that it is not about one subject."""


class GeneratorPlan(Frozen):
    """Plan of a generator."""

    task: Literal["generator"]
    base: str = ""
    """Folder of a causal language model; by default the one that DOMAINKIT_MODEL names."""
    data: tuple[InstructionData, ...] = Field(min_length=1)
    leaks: Leaks = "refuse"
    """What to do with questions that an eval item asks."""
    test_questions: int = Field(default=200, ge=1)
    """How many of the held-out questions are answered in words; the perplexity is that of all."""
    training: GeneratorRecipe = GeneratorRecipe()


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The prompts of a plan, in parts that share no document, no question and no answer."""

    train: tuple[Prompted, ...]
    valid: tuple[Prompted, ...]
    test: tuple[Prompted, ...]
    counts: tuple[DataCount, ...]
    too_long: int
    """Instructions left out because the model cannot read them with the passage that answers."""


@dataclass(kw_only=True)
class _Parts:
    train: list[Prompted] = field(default_factory=list)
    valid: list[Prompted] = field(default_factory=list)
    test: list[Prompted] = field(default_factory=list)
    too_long: int = 0


def run_generator(plan: GeneratorPlan, context: RunContext) -> TrainingReport | None:
    """Carry out a plan; started again in the same folder it goes on where it was.

    Returns:
        The report, also written; None when it was stopped on the way.

    Raises:
        CheckFailed: training questions are asked by eval sets. ModelError: no base, or one that cannot be trained.
        UsageError: data is missing or too little, or the folder holds another run.
    """
    base = _base(plan, context)
    context.progress("loading the model", 0, 0)
    model = Generator(base, plan.training)
    found = gather(plan, context, model)
    base_sha256 = base_weights_sha256(base)
    stated = fingerprint(plan.training, base_sha256, *(f"{one.id}\0{one.prompt}\0{one.answer}" for one in (*found.train, *found.valid)))
    first = model.taken()
    trained = ended_run(context.folder, stated, goal=GeneratorTask.goal) or _train(plan, context, model, found, stated)
    if trained is None or not trained.finished or context.trial:
        return None
    best = _as_saved(trained, plan.training)
    context.progress("measuring", 0, 0)
    asked = _asked(found.test, plan)
    old, new = (_measured(model, tensors, found.test, asked) for tensors in (first, best))
    shown = [found.test[n] for n in asked]
    scored = figures(found.test, shown, old, new)
    facts = {
        "domain": context.domain.name if context.domain else "", "command": context.command, "seed": plan.training.seed, "base": base.name,
        "base_sha256": base_sha256, "tokenizer_sha256": sha256_file(base / "tokenizer.json"), "recipe": plan.model_dump(mode="json"),
        "data": [count.model_dump() for count in found.counts], "too_long": found.too_long, "best_step": trained.best.step,
        "validation": [point.model_dump() for point in trained.history], "figures": [figure.model_dump() for figure in scored],
    }  # fmt: skip
    weights = save_generator(model, best, context.folder, name=base.name, facts=facts)
    report = TrainingReport(
        task="generator", domain=context.domain.name if context.domain else "", command=context.command, recipe=plan.model_dump(mode="json"),
        base=base.name, base_sha256=base_sha256, weights_sha256=sha256_file(weights), bytes=weights.stat().st_size, seconds=round(trained.seconds, 1),
        goal=GeneratorTask.goal, best_step=trained.best.step, data=found.counts, history=trained.history, figures=scored,
        samples=samples(shown, old, new),
    )  # fmt: skip
    save_report(context.folder, report)
    return report


def _base(plan: GeneratorPlan, context: RunContext) -> Path:
    base = Path(plan.base or context.settings.model or "-").expanduser()
    if not (base / "config.json").is_file() or not (base / "tokenizer.json").is_file():
        raise ModelError("no language model to tune: name a model folder with safetensors and tokenizer.json as `base` in the recipe, or set DOMAINKIT_MODEL")
    return base


def gather(plan: GeneratorPlan, context: RunContext, model: Generator) -> Gathered:
    """Gather a plan's instructions, part them by document, look for leaks and fill the prompts.

    Raises:
        CheckFailed: an eval item asks what an instruction asks and the plan says to refuse. UsageError: data is missing or too little.
    """
    templates = _templates(context)
    parts = _Parts()
    counts = []
    for entry in plan.data:
        context.progress(f"reading {entry.name}", 0, 0)
        found, hits = _read(entry, context)
        kept, leaks = without_leaks(entry.name, found, Instruction.pair, items=context.items, leaks=plan.leaks)
        divided = _divided(kept, entry, seed=plan.training.seed)
        numbers = {}
        for name, part in divided.items():
            context.progress(f"filling prompts of {entry.name}", 0, 0)
            filled = _filled(part, hits, templates, model, seed=plan.training.seed)
            numbers[name] = len(filled)
            parts.too_long += len(part) - len(filled)
            getattr(parts, name).extend(filled)
        digest = hashlib.sha256("".join(f"{one.question}\0{one.answer}\0" for one in found).encode()).hexdigest()
        counts.append(
            DataCount(
                name=entry.name, license="the domain's own" if entry.own else entry.license, attribution=entry.attribution, leaks=leaks, sha256=digest,
                train=numbers["train"], valid=numbers["valid"], test=numbers["test"],
            )
        )  # fmt: skip
    for name in ("train", "valid", "test"):
        if not getattr(parts, name):
            why = f"{parts.too_long} were too long for {model.longest} tokens; raise `max_tokens`" if parts.too_long else f"state `{name}` for a data entry"
            raise UsageError(f"the recipe leaves no instructions for the part `{name}`: {'add data' if name == 'train' and not parts.too_long else why}")
    return Gathered(train=tuple(parts.train), valid=tuple(parts.valid), test=tuple(parts.test), counts=tuple(counts), too_long=parts.too_long)


def _templates(context: RunContext) -> Mapping[Language, str]:
    if context.domain is None:
        return DEFAULT
    folder = context.domain.folder / context.domain.manifest.paths.prompts
    return {lang: template_text(folder, lang) for lang in LANGUAGES}


def _read(entry: InstructionData, context: RunContext) -> tuple[list[Instruction], list[Hit]]:
    if not entry.own:
        return file_instructions(entry, context.data)
    if context.domain is None:
        raise UsageError("`own = true` means a domain's own training questions; name the domain")
    found, hits = own_instructions(context.domain, entry, settings=context.settings)
    if not found:
        raise UsageError(f"domain '{context.domain.name}' has no training questions whose quotes stand in its corpus; name a file instead")
    return found, hits


def _divided(found: Sequence[Instruction], entry: InstructionData, *, seed: int) -> dict[str, list[Instruction]]:
    """Hold out whole documents for test, then for validation; the limit applies to what is trained on.

    Where documents have many questions, as many are held out as make some :data:`DOCUMENTS`, and what is asked is drawn from them.
    """
    if entry.test_only:
        return {"train": [], "valid": [], "test": list(found)}
    by_id = {one.id: one for one in found}
    parts: dict[str, list[Instruction]] = {}
    rest = tuple(one.pair() for one in found)
    for name, wanted in (("test", entry.test), ("valid", entry.valid)):
        parts[name] = []
        if wanted:
            several = min(DOCUMENTS, wanted) * len(rest) // max(1, len({one.entity for one in rest}))
            divided = split_by_entity(rest, held_out=max(wanted, min(several, len(rest) // 4)), seed=seed)
            held = divided.held_out if several <= wanted else random.Random(seed).sample(divided.held_out, wanted)
            parts[name], rest = [by_id[one.id] for one in held], divided.train
    return {"train": drawn([by_id[one.id] for one in rest], entry.limit, seed=seed), **parts}


def _filled(part: Sequence[Instruction], hits: Sequence[Hit], templates: Mapping[Language, str], model: Generator, *, seed: int) -> list[Prompted]:
    """Fill the prompts of a part with passages of its own documents."""
    documents = {one.document for one in part}
    pool = Pool([hit for hit in hits if hit.external_id in documents])
    filled = (prompted(one, pool, templates=templates, fits=model.fits, seed=seed) for one in part)
    return [one for one in filled if one is not None]


def _train(plan: GeneratorPlan, context: RunContext, model: Generator, found: Gathered, stated: str) -> Trained | None:
    rows = [[model.row(one) for one in part] for part in (found.train, found.valid)]
    task = GeneratorTask(model=model, train=rows[0], valid=rows[1])
    return run(task, plan.training, folder=context.folder, stated=stated, progress=context.progress, stop=context.stop)


def _asked(test: Sequence[Prompted], plan: GeneratorPlan) -> list[int]:
    """Return which of the held-out questions are answered in words."""
    return sorted(random.Random(plan.training.seed).sample(range(len(test)), min(plan.test_questions, len(test))))


def _measured(model: Generator, tensors: Tensors, test: Sequence[Prompted], asked: Sequence[int]) -> Measured:
    put(model.parameters, tensors)
    rows = [model.row(one) for one in test]
    return model.measure(rows), model.write([rows[n] for n in asked])


def _as_saved(trained: Trained, recipe: GeneratorRecipe) -> Tensors:
    """Return the trained tensors as they are read back: an adapter's are saved in half precision."""
    half = recipe.method == "lora"
    return {name: value.astype(np.float16).astype(np.float32) if half else value for name, value in trained.tensors.items()}


def save_generator(model: Generator, tensors: Tensors, folder: Path, *, name: str, facts: Mapping[str, Any]) -> Path:
    """Save a LoRA adapter, or a model that was tuned in full, its card last; returns the file of weights.

    Args:
        model: holds the tensors.
        tensors: what was trained.
        folder: of the run; ``adapter`` or ``model`` is made in it.
        name: of the base.
        facts: what the card says beside the hashes.

    Raises:
        ModelError: the adapter would not be read back, such as one of modules that are not linear.
    """
    recipe = model.recipe
    target = folder / (ADAPTER if recipe.method == "lora" else MODEL)
    if recipe.method == "full":
        return save_model(model.model, model.tokenizer, target, facts)
    target.mkdir(parents=True, exist_ok=True)
    (target / CARD).unlink(missing_ok=True)
    files = _write_adapter(target, tensors, recipe, name=name)
    write_card(target, files, facts)
    check_adapter("generator", target, task="CAUSAL_LM")
    return files[0]


def _write_adapter(target: Path, tensors: Tensors, recipe: GeneratorRecipe, *, name: str) -> list[Path]:
    from safetensors.numpy import save

    named = {key.replace(".default.weight", ".weight"): np.ascontiguousarray(value.astype(np.float16)) for key, value in tensors.items()}
    modules = {key.rsplit(".lora_", 1)[0].rpartition(".")[2] for key in named}
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": recipe.rank, "lora_alpha": recipe.alpha,
        "target_modules": [one for one in sorted(recipe.targets) if one in modules], "base_model_name_or_path": name,
    }  # fmt: skip
    write_whole(target / WEIGHTS, bytes(save(named)))
    write_whole(target / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
    return [target / WEIGHTS, target / CONFIG]
