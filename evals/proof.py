"""Proves a domain's adapter: bound to its base, applied, better at home by a paired test, worse nowhere beyond the noise.

The matrix asks each domain's ``dev`` questions of its own library with each domain's adapter: how early the passage that answers comes among
all passages by cosine alone. Beside it stands the whole assistant at home, with the adapter and without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.assistant import Assistant, library_folder
from core.encoder import Encoder, base_folder, compiled_folder
from core.errors import CheckFailed, IntegrityError, ModelError
from core.eval_items import EvalItem, eval_files, read_eval_items
from core.library import Library
from core.models.adapters import Adapter
from core.query_adapter import ensure_query_encoder, find_adapter
from core.registry import Domain
from core.settings import Settings
from core.training.proof import Binding, bind, probe
from core.types import Frozen
from evals.scorers import passage_right
from evals.seeking import Sought, reciprocal_ranks, sought
from evals.statistics import paired_test

SIGNIFICANT = 0.05
Progress = Callable[[str, int, int], None]
Vectors = NDArray[np.float32]


class Cell(Frozen):
    """One domain's questions under one domain's adapter, against the base."""

    domain: str
    adapter: str
    n: int
    base: float
    """Mean reciprocal rank without an adapter."""
    value: float
    """With it."""
    low: float
    high: float
    """95 % interval of the difference."""
    p: float
    """Two-sided paired test of the difference."""
    verdict: str
    """``better``, ``worse`` or ``same`` (within the noise)."""


class Pipeline(Frozen):
    """The whole assistant at home: share of answerable ``dev`` questions answered from a passage that answers."""

    n: int
    base: float
    value: float
    better: int
    worse: int
    p: float
    verdict: str


class Proof(Frozen):
    """What was proved of a domain's adapter."""

    domain: str
    binding: Binding
    probe: float
    matrix: tuple[Cell, ...]
    pipeline: Pipeline | None
    passed: bool
    reasons: tuple[str, ...]
    """Why not, in words; empty when it passed."""
    seconds: float


def prove(domain: Domain, others: Sequence[Domain], *, settings: Settings, progress: Progress | None = None) -> Proof:
    """Prove a domain's adapter.

    Args:
        domain: whose adapter.
        others: the domains that it must not harm, and whose adapters complete the matrix; those without a library are left out.
        settings: where libraries and compiled encoders lie.
        progress: told how far the work is.

    Raises:
        CheckFailed: there is no adapter, or it is refused before anything is measured; the reason stands in it.
    """
    begun = time.monotonic()
    tell = progress or (lambda name, done, total: None)
    encoder = Encoder(compiled_folder(settings))
    adapter, binding, tuned, moved = _admitted(domain, encoder, settings)
    tell("matrix", 1, 4)
    known = [domain, *(other for other in others if other.name != domain.name and Library(library_folder(settings, other.name)).exists())]
    asked = {each.name: _asked(each, encoder, settings) for each in known}
    encoders = {domain.name: tuned} | {each.name: found for each in known[1:] if (found := _tuned(each, settings)) is not None}
    matrix = _matrix(asked, encoder, encoders)
    tell("assistant", 2, 4)
    pipeline = _pipeline(domain, adapter, encoder, settings)
    reasons = _reasons(domain.name, matrix, pipeline)
    return Proof(
        domain=domain.name, binding=binding, probe=moved, matrix=matrix, pipeline=pipeline, passed=not reasons, reasons=reasons,
        seconds=round(time.monotonic() - begun, 1),
    )  # fmt: skip


def _admitted(domain: Domain, encoder: Encoder, settings: Settings) -> tuple[Adapter, Binding, Encoder, float]:
    base = base_folder(settings)
    try:
        adapter = find_adapter(domain, settings.model_copy(update={"adapters": True}))
        if adapter is None or base is None:
            raise ModelError(f"domain '{domain.name}' has no adapter; train one with `domainkit train retrieval {domain.name}`")
        binding = bind(adapter, domain=domain.name, base=base)
        tuned = ensure_query_encoder(adapter, settings)
        if tuned is None:
            raise ModelError(f"adapter '{adapter.name}' could not be compiled; run `domainkit reindex {domain.name}`")
        return adapter, binding, tuned, probe(encoder, tuned)
    except (ModelError, IntegrityError) as error:
        raise CheckFailed(f"refused: {error}") from error


def _tuned(domain: Domain, settings: Settings) -> Encoder | None:
    """Return another domain's query encoder, None where it has none that stands."""
    try:
        return ensure_query_encoder(find_adapter(domain, settings), settings)
    except ModelError:
        return None


def _dev_items(domain: Domain) -> list[EvalItem]:
    """Return the answerable ``dev`` items of a domain; it may have none."""
    items = (item for path in eval_files(domain.folder, domain.manifest) for item in read_eval_items(path))
    return [item for item in items if item.split == "dev" and item.answerable]


def _asked(domain: Domain, encoder: Encoder, settings: Settings) -> Sought:
    return sought(Library(library_folder(settings, domain.name), encoder_id=encoder.id), _dev_items(domain))


def _matrix(asked: Mapping[str, Sought], encoder: Encoder, encoders: Mapping[str, Encoder]) -> tuple[Cell, ...]:
    cells = []
    for name, found in asked.items():
        if not found.questions:
            continue
        base = reciprocal_ranks(encoder.encode_each(found.questions), found)
        for adapter, tuned in encoders.items():
            value = reciprocal_ranks(tuned.encode_each(found.questions), found)
            test = paired_test(base.tolist(), value.tolist())
            cells.append(
                Cell(
                    domain=name, adapter=adapter, n=len(base), base=round(float(base.mean()), 4), value=round(float(value.mean()), 4), low=round(test.low, 4),
                    high=round(test.high, 4), p=float(f"{test.p:.3g}"), verdict=_verdict(test.difference, test.p),
                )
            )  # fmt: skip
    return tuple(cells)


def _verdict(difference: float, p: float) -> str:
    if p >= SIGNIFICANT:
        return "same"
    return "better" if difference > 0 else "worse"


def _pipeline(domain: Domain, adapter: Adapter, encoder: Encoder, settings: Settings) -> Pipeline | None:
    items = [item for item in _dev_items(domain) if item.sources]
    if not items:
        return None
    scores = []
    for chosen in ("none", adapter):
        assistant = Assistant(domain, settings=settings, encoder=encoder, adapter=chosen)  # type: ignore[arg-type]
        scores.append([float(passage_right(item, assistant.ask(item.question, lang=item.lang))) for item in items])
    test = paired_test(*scores)
    return Pipeline(
        n=len(items), base=round(float(np.mean(scores[0])), 4), value=round(float(np.mean(scores[1])), 4), better=test.better, worse=test.worse,
        p=float(f"{test.p:.3g}"), verdict=_verdict(test.difference, test.p),
    )  # fmt: skip


def _reasons(name: str, matrix: Sequence[Cell], pipeline: Pipeline | None) -> tuple[str, ...]:
    """Return why an adapter does not pass: it must win at home by cosine, and lose nowhere, the whole assistant included."""
    mine = [cell for cell in matrix if cell.adapter == name]
    reasons = [
        f"does not win at home: MRR {cell.base:.3f} → {cell.value:.3f} (p = {cell.p:.2g})" for cell in mine if cell.domain == name and cell.verdict != "better"
    ]
    if not any(cell.domain == name for cell in mine):
        reasons.append("has no dev questions at home to be measured on")
    reasons += [
        f"harms {cell.domain}: MRR {cell.base:.3f} → {cell.value:.3f} (p = {cell.p:.2g})" for cell in mine if cell.domain != name and cell.verdict == "worse"
    ]
    if pipeline is not None and pipeline.verdict == "worse":
        reasons.append(f"the assistant answers fewer questions right with it: {pipeline.base:.3f} → {pipeline.value:.3f} (p = {pipeline.p:.2g})")
    return tuple(reasons)
