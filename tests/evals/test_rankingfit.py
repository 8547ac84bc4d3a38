from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from busy_garden import Busy

from core.encoder import Encoder
from core.errors import UsageError
from core.library import Library
from core.ranking import FEATURES, LogisticModel, Variant
from core.registry import Domain
from core.settings import Settings
from core.types import LANGUAGES
from evals.rankingfit import PER_FILE, Judged, fit_model, fit_shipped, judge_candidates

NAMES = FEATURES["plain"]


def judged(fused: float, answers: bool) -> Judged:
    return Judged(question=0, features={**dict.fromkeys(NAMES, 0.0), "fused": fused}, answers=answers)


def sample(count: int, *, seed: int = 0) -> list[Judged]:
    """Candidates whose fused score tells whether they answer, with some noise."""
    generator = random.Random(seed)
    made = []
    for _ in range(count):
        answers = generator.random() < 0.4
        made.append(judged((0.7 if answers else 0.3) + generator.gauss(0, 0.15), answers))
    return made


def test_fit_model_learns_the_feature_that_tells() -> None:
    model = fit_model(sample(300, seed=1), NAMES)
    weights = dict(zip(model.names, model.weights, strict=True))
    assert weights["fused"] == max(weights.values()) > 0.5
    assert all(abs(weight) < 1e-6 for name, weight in weights.items() if name != "fused")
    assert model.confidence(judged(0.9, True).features) > 0.8 > 0.2 > model.confidence(judged(0.1, False).features)


def test_fit_model_reads_the_features_it_is_told_to() -> None:
    assert fit_model(sample(100), ("fused", "cosine")).names == ("fused", "cosine")


def test_fit_model_is_reproducible() -> None:
    assert fit_model(sample(100), NAMES) == fit_model(sample(100), NAMES)


@pytest.mark.parametrize("candidates", [[], sample(49), [judged(0.5, True)] * 60, [judged(0.5, False)] * 60])
def test_fit_model_refuses_too_few_or_all_alike(candidates: list[Judged]) -> None:
    with pytest.raises(UsageError, match="too few, or all alike, to fit the ranking; write more training questions"):
        fit_model(candidates, NAMES)


@pytest.mark.parametrize("variant", ["plain", "asked"])
def test_judge_candidates_says_which_passages_answer(garden: Domain, garden_library: Library, settings: Settings, variant: Variant) -> None:
    found = judge_candidates(garden, "en", variant, settings=settings)
    questions = garden_library.questions("en")
    assert len({one.question for one in found}) == len(questions) == 2
    assert sum(one.answers for one in found) == 1
    assert all(set(FEATURES[variant]) <= set(one.features) for one in found)


def test_judge_candidates_compares_with_no_question_of_the_same_file(garden: Domain, garden_library: Library, settings: Settings) -> None:
    assert all(one.features["asked"] == one.features["asked_unanswered"] == 0.0 for one in judge_candidates(garden, "en", "asked", settings=settings))


def test_judge_candidates_without_questions_or_enough_of_them_for_a_head_finds_none(garden: Domain, garden_library: Library, settings: Settings) -> None:
    assert judge_candidates(garden, "zh", "asked", settings=settings) == []
    assert judge_candidates(garden, "en", "learned", settings=settings) == []


@pytest.mark.slow
def test_judge_candidates_by_a_head_that_did_not_see_the_question(busy: Busy, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setitem(PER_FILE, "learned", 30)
    found = judge_candidates(busy.domain, "en", "learned", settings=busy.settings)
    assert len({one.question for one in found}) == 3 * 30
    right = [one.features["likeness"] for one in found if one.answers]
    wrong = [one.features["likeness"] for one in found if not one.answers]
    assert max(right) < 0.9999
    assert sum(right) / len(right) > sum(wrong) / len(wrong) + 0.2


@pytest.mark.slow
def test_fit_shipped_writes_every_variant_of_every_language(
    busy: Busy, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    path = tmp_path / "ranking.json"
    for variant in PER_FILE:
        monkeypatch.setitem(PER_FILE, variant, 15)
    monkeypatch.setattr("evals.rankingfit.WEIGHTS", path)
    steps: list[str] = []
    models = fit_shipped([busy.domain], settings=busy.settings, progress=lambda name, done, total: steps.append(name))
    written = {
        lang: {variant: LogisticModel.model_validate(model) for variant, model in variants.items()} for lang, variants in json.loads(path.read_text()).items()
    }
    assert written == models
    assert {lang: {variant: model.names for variant, model in variants.items()} for lang, variants in written.items()} == dict.fromkeys(LANGUAGES, FEATURES)
    assert {"garden en plain one.jsonl", "garden zh learned three.jsonl"} <= set(steps)
