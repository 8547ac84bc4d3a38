from __future__ import annotations

import math
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.abstention import Calibration, Threshold, load_calibration, void_reasons
from core.assistant import Assistant
from core.errors import UsageError
from core.eval_items import EvalItem
from core.manifest import load_manifest
from core.ranking import weights_sha256
from core.registry import Domain
from core.settings import Settings
from evals.calibration import Observation, calibrate_domain, fit_threshold, fit_thresholds, observe


def observation(confidence: float, right: bool, *, answerable: bool = True) -> Observation:
    return Observation(lang="en", confidence=confidence, right=right, answerable=answerable)


def sample(count: int, *, seed: int = 0, noise: float = 0.15) -> list[Observation]:
    """Observations whose confidence tells right from wrong, with some noise."""
    generator = random.Random(seed)
    made = []
    for _ in range(count):
        right = generator.random() < 0.6
        confidence = 1 / (1 + math.exp(5 - 10 * ((0.7 if right else 0.3) + generator.gauss(0, noise))))
        made.append(observation(confidence, right, answerable=right or generator.random() < 0.3))
    return made


def wrong_rate(observations: list[Observation], threshold: float) -> tuple[float, int]:
    given_answers = [o for o in observations if o.confidence >= threshold]
    return sum(not o.right for o in given_answers) / max(1, len(given_answers)), len(given_answers)


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.05, 0.1, 0.2]), st.integers(10, 300))
@examples(max_examples=80, deadline=None)
def test_threshold_keeps_the_promise_on_its_own_data(seed: int, promise: float, count: int) -> None:
    observations = sample(count, seed=seed)
    threshold = fit_threshold(observations, max_wrong_rate=promise)
    rate, answers = wrong_rate(observations, threshold.value)
    assert threshold.items == count
    ranked = sorted(observations, key=lambda o: -o.confidence)
    seen = [n for n in range(1, count + 1) if sum(not o.right for o in ranked[:n]) / n <= promise]
    if seen:
        assert rate <= promise
        assert answers <= max(seen)
    assert rate == pytest.approx(threshold.wrong_rate, abs=1e-3)


def test_threshold_answers_nearly_all_that_the_promise_allows() -> None:
    observations = sample(400, seed=3)
    threshold = fit_threshold(observations, max_wrong_rate=0.05)
    ranked = sorted(observations, key=lambda o: -o.confidence)
    most = max(n for n in range(1, 401) if sum(not o.right for o in ranked[:n]) / n <= 0.05)
    allowed = sum(o.right for o in ranked[:most]) / sum(o.answerable for o in observations)
    assert allowed - 0.1 <= threshold.coverage <= allowed


def test_threshold_moves_little_when_one_answer_turns_out_wrong() -> None:
    observations = sorted(sample(150, seed=7), key=lambda o: -o.confidence)
    turned = [observation(o.confidence, o.right and n != 3) for n, o in enumerate(observations)]
    before, after = (fit_threshold(seen, max_wrong_rate=0.05).value for seen in (observations, turned))
    assert before <= after < before + 0.25


def test_threshold_of_shuffled_labels_gives_little_coverage_or_says_that_the_promise_is_broken() -> None:
    kept = []
    for seed in range(20):
        honest = sample(200, seed=seed)
        labels = [o.right for o in honest]
        random.Random(seed).shuffle(labels)
        threshold = fit_threshold([observation(o.confidence, right) for o, right in zip(honest, labels, strict=True)], max_wrong_rate=0.05)
        if threshold.wrong_rate <= 0.05:
            kept.append(threshold.coverage)
        assert fit_threshold(honest, max_wrong_rate=0.05).coverage > 0.5
    assert len(kept) >= 10
    assert max(kept) < 0.05


def test_threshold_grows_with_a_stricter_promise() -> None:
    observations = sample(300, seed=5, noise=0.25)
    values = [fit_threshold(observations, max_wrong_rate=promise).value for promise in (0.3, 0.2, 0.1, 0.05)]
    assert values == sorted(values)


def test_threshold_of_perfect_data_answers_all_of_it() -> None:
    observations = [observation(0.9, True)] * 10 + [observation(0.1, False, answerable=False)] * 10
    threshold = fit_threshold(observations, max_wrong_rate=0.05)
    assert (threshold.coverage, threshold.wrong_rate) == (1.0, 0.0)
    assert 0.1 < threshold.value <= 0.9


def test_threshold_that_cannot_be_kept_reports_the_rate_it_has() -> None:
    threshold = fit_threshold([observation(0.5 + n / 100, n % 2 == 0) for n in range(40)], max_wrong_rate=0.01)
    assert threshold.wrong_rate > 0.01
    assert 0 < threshold.value < 1


@given(st.lists(st.tuples(st.sampled_from([0.41, 0.52, 0.6, 0.6000000001, 0.77]), st.booleans()), min_size=4, max_size=40))
@examples(max_examples=100, deadline=None)
def test_threshold_does_not_part_questions_of_equal_confidence(pairs: list[tuple[float, bool]]) -> None:
    tied = [observation(score, right) for score, right in sorted(pairs, key=lambda pair: not pair[1])]
    threshold = fit_threshold(tied, max_wrong_rate=0.05)
    assert wrong_rate(tied, threshold.value)[0] == pytest.approx(threshold.wrong_rate, abs=1e-3)


def test_observe_leaves_gated_questions_out_and_says_which_drafts_are_right(assistant: Assistant) -> None:
    def item(name: str, question: str, **more: object) -> EvalItem:
        return EvalItem.model_validate({"id": name, "question": question, **more})

    items = [
        item("a", "When should tulip bulbs be planted?", sources=[{"document": "Tulips", "quote": "Plant tulip bulbs in October, about 15 cm deep."}]),
        item("b", "I want to die"),
        item("c", "how long does compost take", sources=[{"document": "Roses"}]),
        item("d", "how do I get rid of slugs", answerable=False),
    ]
    found = observe(assistant, items)
    assert [(o.right, o.answerable) for o in found] == [(True, True), (False, True), (False, False)]
    assert all(0 <= o.confidence <= 1 for o in found)


def test_calibrate_domain_writes_what_the_assistant_then_uses(garden: Domain, settings: Settings, tmp_path: Path, garden_library: object) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    own = Domain(manifest=load_manifest(folder), folder=folder, door="test")
    sources = '"sources": [{"document": "Tulips", "quote": "Plant tulip bulbs in October, about 15 cm deep."}]'
    right = [f'{{"id": "r{n}", "question": "When should tulip bulbs be planted{"?" * n}", {sources}, "split": "dev"}}' for n in range(8)]
    wrong = [f'{{"id": "w{n}", "question": "Who won the football world cup of 19{n}0?", "answerable": false, "split": "dev"}}' for n in range(8)]
    (folder / "evals" / "dev.jsonl").write_text("\n".join(right + wrong) + "\n")
    calibration = calibrate_domain(own, settings=settings)
    assert set(calibration.thresholds) == {"en"}
    assert calibration.thresholds["en"].wrong_rate <= 0.05
    assert calibration.thresholds["en"].coverage == 1.0
    assert calibration.model_sha256 == weights_sha256()
    assert load_calibration(folder / "calibration.json") == calibration
    assistant = Assistant(own, settings=settings)
    answer = assistant.ask("When should tulip bulbs be planted?")
    assert answer.status == "answered"
    # Sixteen questions can promise nothing.
    assert not answer.calibrated and not calibration.thresholds["en"].promised
    assert assistant.uncalibrated("en") == "there were too few questions to fit a threshold that keeps the promise"
    assert assistant.uncalibrated("zh") == "no threshold was fitted for this domain and language"


def test_thresholds_of_enough_questions_keep_a_promise_over_both_languages() -> None:
    english = sample(250, seed=1)
    chinese = [Observation(lang="zh", confidence=o.confidence, right=o.right, answerable=o.answerable) for o in sample(90, seed=2)]
    thresholds, promise = fit_thresholds([*english, *chinese], max_wrong_rate=0.05, delta=0.1)
    assert thresholds["en"].value == thresholds["zh"].value and thresholds["en"].promised
    assert promise.answered > 100 and promise.wrong / promise.answered < 0.05 and promise.p <= 0.1
    given = [o for o in [*english, *chinese] if o.confidence >= thresholds["en"].value]
    assert (len(given), sum(not o.right for o in given)) == (promise.answered, promise.wrong)


def test_promise_is_broken_in_no_more_draws_than_its_probability_allows() -> None:
    pool = sample(20_000, seed=11)
    broken = 0
    for seed in range(200):
        drawn = random.Random(seed).sample(pool, 200)
        thresholds, promise = fit_thresholds(drawn, max_wrong_rate=0.05, delta=0.1)
        broken += bool(promise.answered) and wrong_rate(pool, thresholds["en"].value)[0] > 0.05
    assert broken <= 0.1 * 200 + 2 * (200 * 0.1 * 0.9) ** 0.5


def test_thresholds_are_void_when_corpus_ranking_or_adapter_changed() -> None:
    fitted = Calibration(corpus_sha256="c", model_sha256="m", adapter="a", thresholds={})
    assert void_reasons(fitted, corpus_sha256="c", model_sha256="m", adapter="a") == []
    assert void_reasons(fitted, corpus_sha256="x", model_sha256="m", adapter="") == ["corpus", "adapter"]
    assert void_reasons(fitted, corpus_sha256="c", model_sha256="x", adapter="a") == ["ranking model"]


def test_answers_say_that_they_are_uncalibrated_after_a_document_was_added(garden: Domain, settings: Settings, assistant: Assistant) -> None:
    threshold = Threshold(value=0.01, items=200, coverage=1.0, wrong_rate=0.0)
    fitted = Calibration(corpus_sha256=assistant.library.corpus_sha256(), model_sha256=weights_sha256(), thresholds={"en": threshold})
    mine = Assistant(garden, settings=settings, encoder=assistant.encoder)
    mine.__dict__["calibration"] = fitted
    assert mine.ask("When should tulip bulbs be planted?").calibrated
    mine.__dict__["calibration"] = fitted.model_copy(update={"corpus_sha256": "another"})
    assert not mine.ask("When should tulip bulbs be planted?").calibrated
    assert mine.uncalibrated("en") == "corpus changed since the threshold was fitted"


def test_calibrate_domain_refuses_too_few_items(garden: Domain, settings: Settings, tmp_path: Path, garden_library: object) -> None:
    folder = Path(shutil.copytree(garden.folder, tmp_path / "garden"))
    (folder / "evals" / "dev.jsonl").write_text('{"id": "a", "question": "tulips", "split": "dev"}\n')
    with pytest.raises(UsageError, match="fewer than 10 dev items per language; write more before calibrating"):
        calibrate_domain(Domain(manifest=load_manifest(folder), folder=folder, door="test"), settings=settings)
    assert not (folder / "calibration.json").exists()
