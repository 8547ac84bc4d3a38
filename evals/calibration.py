"""Fits the abstention model and each domain's thresholds. Reads ``dev`` items, never ``test``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.abstention import FEATURES, WEIGHTS, Calibration, LogisticModel, Threshold, features, shipped_model
from core.assistant import Assistant
from core.encoder import Encoder, compiled_folder
from core.errors import UsageError
from core.evidence import lock
from core.manifest import EvalItem
from core.models import Request
from core.registry import Domain
from core.settings import Settings
from core.types import LANGUAGES, Language
from evals.datasets import load_items
from evals.gatefit import fit_gate
from evals.scorers import share_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The features of one question's draft and whether the draft's passage answers it."""

    lang: Language
    features: dict[str, float]
    right: bool
    answerable: bool


def observe(assistant: Assistant, items: Sequence[EvalItem], *, progress: Progress | None = None) -> list[Observation]:
    """Retrieve and draft for each item that passes the domain's gates."""
    found = []
    for number, item in enumerate(items):
        if progress is not None:
            progress(item.id, number, len(items))
        decision = assistant.gate.decide(item.question, item.lang, vector=assistant.encoder.encode([item.question])[0])
        if decision is not None and decision.action != "notice":
            continue
        retrieval = assistant.retriever.search(item.question, k=assistant.settings.top_k, lang=item.lang)
        draft = assistant.answerer.answer(Request(question=item.question, lang=item.lang, hits=retrieval.hits, max_sentences=assistant.settings.max_sentences))
        claims = lock(draft, retrieval.hits)
        right = False
        if claims and draft.quotes:
            hit = retrieval.hits[draft.quotes[0].hit]
            right = any(
                source.document in {hit.external_id, hit.title} and (not source.quote or share_of(source.quote, hit.passage.text) >= 0.8)
                for source in item.sources
            )
        found.append(Observation(lang=item.lang, features=features(retrieval, draft), right=right, answerable=item.answerable))
    if progress is not None:
        progress("done", len(items), len(items))
    return found


def fit_model(observations: Sequence[Observation], *, strength: float = 0.03) -> LogisticModel:
    """Fit the logistic model (L2, inverse strength ``strength``) on standardised features.

    Raises:
        UsageError: fewer than 50 observations, or all of one label.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.array([[o.features[name] for name in FEATURES] for o in observations], dtype=np.float64)
    y = np.array([o.right for o in observations])
    if len(y) < 50 or y.all() or not y.any():
        raise UsageError(f"{len(y)} observations are too few, or all alike, to fit abstention; write more training questions")
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-6] = 1.0
    model = LogisticRegression(C=strength, max_iter=2_000).fit((x - mean) / scale, y)
    return LogisticModel(
        names=FEATURES,
        mean=tuple(round(float(v), 6) for v in mean),
        scale=tuple(round(float(v), 6) for v in scale),
        weights=tuple(round(float(v), 6) for v in model.coef_[0]),
        intercept=round(float(model.intercept_[0]), 6),
    )


def fit_threshold(observations: Sequence[Observation], model: LogisticModel, *, max_wrong_rate: float) -> Threshold:
    """Return the lowest threshold at which at most ``max_wrong_rate`` of the answers given are wrong.

    An answer is wrong when its passage does not answer, the question being answerable or not. Where no threshold keeps the
    promise, the one with the lowest rate that still answers something is returned, with its rate.
    """
    scored = sorted(((model.confidence(o.features), o) for o in observations), key=lambda pair: -pair[0])
    answerable = max(1, sum(o.answerable for _, o in scored))
    best: tuple[float, float, float] | None = None
    fallback: tuple[float, float, float] = (1.0, 0.0, 0.0)
    lowest = 2.0
    wrong = 0
    for n, (confidence, observation) in enumerate(scored, start=1):
        wrong += not observation.right
        following = scored[n][0] if n < len(scored) else 0.0
        if n < len(scored) and confidence - following < 2e-6:
            continue  # no threshold can part questions of equal confidence
        # Halfway to the next question, so that the threshold does not sit on a single item.
        point = ((confidence + following) / 2, sum(o.right for _, o in scored[:n]) / answerable, wrong / n)
        if wrong / n <= max_wrong_rate:
            best = point
        if n >= max(3, len(scored) // 10) and wrong / n < lowest:
            lowest, fallback = wrong / n, point
    value, coverage, rate = best or fallback
    return Threshold(value=round(value, 6), items=len(scored), coverage=round(coverage, 4), wrong_rate=round(rate, 4))


def model_sha256() -> str:
    """Return the hash of the shipped abstention model."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def calibrate_domain(domain: Domain, *, settings: Settings, progress: Progress | None = None) -> Calibration:
    """Fit a domain's thresholds on its ``dev`` items and write ``calibration.json``."""
    fit_gate(domain, Encoder(compiled_folder(settings)))
    assistant = Assistant(domain, settings=settings)
    items = [item for item in load_items(domain, split="dev") if item.kind != "safety" or item.answerable]
    observations = observe(assistant, items, progress=progress)
    thresholds: dict[Language, Threshold] = {}
    for lang in LANGUAGES:
        group = [o for o in observations if o.lang == lang]
        if len(group) >= 10:
            thresholds[lang] = fit_threshold(group, shipped_model(lang), max_wrong_rate=domain.manifest.abstention.max_wrong_rate)
    if not thresholds:
        raise UsageError(f"domain '{domain.name}' has fewer than 10 dev items per language; write more before calibrating")
    calibration = Calibration(corpus_sha256=assistant.library.corpus_sha256(), model_sha256=model_sha256(), thresholds=thresholds)
    path = domain.folder / domain.manifest.paths.calibration
    path.write_text(calibration.model_dump_json(indent=1) + "\n", "utf-8")
    return calibration


def fit_shipped(domains: Sequence[Domain], *, settings: Settings, progress: Progress | None = None) -> dict[str, LogisticModel]:
    """Fit the abstention model of each language on the domains' ``dev`` items and write ``core/abstention.json``.

    Not on the training questions: they are in the question bank, and leaving a batch out of it makes each of its questions
    look less asked than a real one would be.
    """
    observations: list[Observation] = []
    for domain in domains:
        items = [item for item in load_items(domain, split="dev") if item.kind != "safety"]
        observations += observe(Assistant(domain, settings=settings), items, progress=progress)
    models: dict[str, LogisticModel] = {lang: fit_model([o for o in observations if o.lang == lang]) for lang in LANGUAGES}
    text = json.dumps({lang: model.model_dump() for lang, model in models.items()}, indent=1) + "\n"
    WEIGHTS.write_text(text, "utf-8")
    return models
