"""Fits each domain's thresholds on its ``dev`` items, never on ``test``; before them the domain's gate and question heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.abstention import Calibration, Promise, Threshold, draft_confidence
from core.assistant import Assistant, library_folder
from core.encoder import Encoder, compiled_folder
from core.errors import UsageError
from core.eval_items import EvalItem
from core.evidence import lock
from core.ingest import bring_up_to_date
from core.library import Library
from core.models import Request
from core.ranking import weights_sha256
from core.registry import Domain
from core.settings import Settings
from core.types import LANGUAGES, Language
from evals.datasets import load_items
from evals.gatefit import fit_gate
from evals.headfit import fit_heads
from evals.risk_control import controlled_threshold
from evals.scorers import holds

MARGIN = 0.6
"""Share of the wrong answers promised at which a threshold is fitted where there are too few items to promise anything. Measured by splitting each shipped domain's ``dev`` items 70 to 30, 60
times: the promise of 5 % is kept on the 30 in 81 % of the splits, in 64 % without a margin; it costs 2.7 points of coverage."""
LEAST_ITEMS = 10
"""Items of a language below which it gets no threshold."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The confidence of one question's draft and whether the draft's passage answers it."""

    lang: Language
    confidence: float
    right: bool
    answerable: bool


def observe(assistant: Assistant, items: Sequence[EvalItem], *, progress: Progress | None = None) -> list[Observation]:
    """Retrieve and draft for each item that passes the domain's gates."""
    found = []
    for number, item in enumerate(items):
        if progress is not None:
            progress(item.id, number, len(items))
        vector = assistant.encoder.encode([item.question])[0]
        decision = assistant.gate.decide(item.question, item.lang, vector=vector)
        if decision is not None and decision.action != "notice":
            continue
        retrieval = assistant.retriever.search(item.question, k=assistant.settings.top_k, lang=item.lang, vector=vector)
        draft = assistant.answerer.answer(Request(question=item.question, lang=item.lang, hits=retrieval.hits, max_sentences=assistant.settings.max_sentences))
        claims = lock(draft, retrieval.hits)
        right = False
        if claims and draft.quotes:
            hit = retrieval.hits[draft.quotes[0].hit]
            right = any(source.document in {hit.external_id, hit.title} and holds(source, hit.passage.text) for source in item.sources)
        found.append(Observation(lang=item.lang, confidence=draft_confidence(retrieval, draft), right=right, answerable=item.answerable))
    if progress is not None:
        progress("done", len(items), len(items))
    return found


def fit_threshold(observations: Sequence[Observation], *, max_wrong_rate: float) -> Threshold:
    """Return the lowest threshold at which few of the answers given are wrong, both as seen and as to be expected.

    Few is :data:`MARGIN` of ``max_wrong_rate``, the largest share that the domain allows.

    An answer is wrong when its passage does not answer, the question being answerable or not. What is to be expected is the mean
    probability of being wrong by a logistic fit of right on confidence (Platt, "Probabilistic Outputs for Support Vector Machines",
    1999): a few wrong answers, by chance high or low among some dozens, then move the threshold little. Where no threshold does, the lowest
    that kept ``max_wrong_rate`` as seen is returned; failing that, the one with the lowest rate that still answers something.
    """
    scored = sorted(observations, key=lambda o: -o.confidence)
    answerable = max(1, sum(o.answerable for o in scored))
    expected = _expected_wrong(scored)
    # (threshold, coverage, wrong rate): the last that keeps the promise both ways, the last that keeps it as seen, the least wrong.
    both: tuple[float, float, float] | None = None
    seen: tuple[float, float, float] | None = None
    least: tuple[float, float, float] | None = None
    wrong, feared = 0, 0.0
    for n, observation in enumerate(scored, start=1):
        wrong += not observation.right
        feared += expected[n - 1]
        following = scored[n].confidence if n < len(scored) else 0.0
        if n < len(scored) and observation.confidence - following < 2e-6:
            continue  # no threshold can part questions of equal confidence
        # Halfway to the next question, so that the threshold does not sit on a single item.
        point = ((observation.confidence + following) / 2, sum(o.right for o in scored[:n]) / answerable, wrong / n)
        if wrong / n <= max_wrong_rate:
            seen = point
        if max(wrong, feared) / n <= MARGIN * max_wrong_rate:
            both = point
        if n >= max(3, len(scored) // 10) and (least is None or wrong / n < least[2]):
            least = point
    value, coverage, rate = both or seen or least or (1.0, 0.0, 0.0)
    return Threshold(value=round(value, 6), items=len(scored), coverage=round(coverage, 4), wrong_rate=round(rate, 4))


def fit_thresholds(observations: Sequence[Observation], *, max_wrong_rate: float, delta: float) -> tuple[dict[Language, Threshold], Promise]:
    """Return each language's threshold and what is promised of them together.

    The promise is tested on all languages at once (:func:`evals.risk_control.controlled_threshold`): confidences are probabilities of one ranking
    model, and a hundred questions of one language alone could promise little. Where there are too few questions to promise anything, each
    language gets the threshold of :func:`fit_threshold`, marked as not promised.
    """
    found = controlled_threshold([o.confidence for o in observations], [not o.right for o in observations], risk=max_wrong_rate, delta=delta)
    thresholds: dict[Language, Threshold] = {}
    for lang in LANGUAGES:
        group = [o for o in observations if o.lang == lang]
        if len(group) >= LEAST_ITEMS:
            kept = found.answered > 0
            thresholds[lang] = _at(group, found.value) if kept else fit_threshold(group, max_wrong_rate=max_wrong_rate).model_copy(update={"promised": False})
    promise = Promise(risk=max_wrong_rate, delta=delta, items=len(observations), answered=found.answered, wrong=found.wrong, p=float(f"{found.p:.4g}"))
    return thresholds, promise


def _at(group: Sequence[Observation], value: float) -> Threshold:
    """Return a threshold with what it lets through of a language's items; rounded down, so that the item it sits on stays above it."""
    through = [o for o in group if o.confidence >= value]
    return Threshold(
        value=math.floor(value * 1e6) / 1e6, items=len(group), coverage=round(sum(o.right for o in through) / max(1, sum(o.answerable for o in group)), 4),
        wrong_rate=round(sum(not o.right for o in through) / max(1, len(through)), 4),
    )  # fmt: skip


def _expected_wrong(scored: Sequence[Observation]) -> list[float]:
    """Return each answer's probability of being wrong by its confidence alone; zeros where all are right or all wrong."""
    from sklearn.linear_model import LogisticRegression

    right = np.array([o.right for o in scored])
    if not len(right) or right.all() or not right.any():
        return [0.0] * len(right)
    confidence = np.clip([o.confidence for o in scored], 1e-4, 1 - 1e-4)
    odds = np.log(confidence / (1 - confidence))[:, None]
    return [float(p) for p in LogisticRegression().fit(odds, right).predict_proba(odds)[:, 0]]


def calibrate_domain(domain: Domain, *, settings: Settings, progress: Progress | None = None) -> Calibration:
    """Fit a domain's gate and question heads where what they learn from has changed, then its thresholds; write ``calibration.json``.

    The library is brought up to date in between, since its question bank is packed with the heads.
    """
    encoder = Encoder(compiled_folder(settings))
    library = Library(library_folder(settings, domain.name), encoder_id=encoder.id)
    fit_gate(domain, encoder)
    if fit_heads(domain, library, encoder, progress=progress):
        bring_up_to_date(domain, library, encoder, settings=settings, progress=progress)
    assistant = Assistant(domain, settings=settings)
    items = [item for item in load_items(domain, split="dev") if item.kind != "safety" or item.answerable]
    observations = observe(assistant, items, progress=progress)
    wanted = domain.manifest.abstention
    thresholds, promise = fit_thresholds(observations, max_wrong_rate=wanted.max_wrong_rate, delta=wanted.delta)
    if not thresholds:
        raise UsageError(f"domain '{domain.name}' has fewer than {LEAST_ITEMS} dev items per language; write more before calibrating")
    calibration = Calibration(
        corpus_sha256=assistant.library.corpus_sha256(), model_sha256=weights_sha256(), adapter=assistant.adapter.id if assistant.adapter else "",
        promise=promise, thresholds=thresholds,
    )  # fmt: skip
    path = domain.folder / domain.manifest.paths.calibration
    path.write_text(calibration.model_dump_json(indent=1) + "\n", "utf-8")
    return calibration
