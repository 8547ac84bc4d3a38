from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import unit_vectors

from core.documents.sentences import sentence_spans
from core.questions import EMPTY, Familiar, Likeness, QuestionBank
from core.ranking import FEATURES, CandidateFacts, LogisticModel, Variant, candidate_features, shipped_model, variant_of
from core.types import LANGUAGES, Language

pytestmark = pytest.mark.usefixtures("home")
SHARE = st.floats(0, 1)
TEXTS = ["Plant tulips in October. Water them.", "One.", "郁金香应在十月种下。", "No words 15", ""]


def facts(row: int, text: str = "Plant tulips in October. Water them.", *, fused: float = 0.5, learned: bool = False, **more: float) -> CandidateFacts:
    """A candidate whose vectors depend on its sentences only."""
    sentences = tuple(text[span.start : span.end] for span in sentence_spans(text))
    vectors = np.concatenate([unit_vectors(sentence, 1) for sentence in sentences]) if sentences else np.zeros((0, 8), dtype=np.float32)
    return CandidateFacts(
        row=row, heading="Tulips", text=text, sentences=sentences, vectors=vectors, learned=vectors[:, ::-1] if learned else None,
        cosine=more.get("cosine", 0.5), tuned=more.get("tuned", 0.5), keyword=more.get("keyword", 0.5), fused=fused,
    )  # fmt: skip


def unfamiliar(question: str, number: int) -> Familiar:
    """What a library without a question bank knows of the wording of a question."""
    return QuestionBank({}, "en").familiar(question, [(0, 0)] * number)


def features_of(question: str, *candidates: CandidateFacts, likeness: Likeness = EMPTY, familiar: Familiar | None = None) -> list[dict[str, float]]:
    return candidate_features(
        question, candidates, idf={"tulip": 3.0, "octob": 1.0}, words=2, vector=unit_vectors(question, 1)[0], learned_vector=None,
        likeness=likeness, familiar=familiar or unfamiliar(question, len(candidates)),
    )  # fmt: skip


LIKENESSES = st.builds(
    Likeness,
    passages=st.dictionaries(st.integers(0, 5), SHARE, max_size=3),
    unanswerable=SHARE,
    support=st.dictionaries(st.integers(0, 5), SHARE, max_size=3),
    votes=st.dictionaries(st.integers(0, 5), SHARE, max_size=3),
    votes_against=SHARE,
)
CANDIDATES = st.lists(
    st.builds(
        facts, st.integers(0, 5), st.sampled_from(TEXTS), fused=st.floats(-1, 2), learned=st.booleans(), cosine=st.floats(-1, 1), keyword=SHARE
    ),
    max_size=5, unique_by=lambda candidate: candidate.row,
)  # fmt: skip
SHARES = (
    "covered",
    "covered_sentence",
    "number",
    "name",
    "length",
    "known",
    "known_asked",
    "unknown_word",
    "known_sentence",
    "unknown_in_sentence",
    "contained",
)
QUESTIONS = st.one_of(st.text(max_size=40), st.sampled_from(["how many tulips", "多少", "who was it"]))


@given(QUESTIONS, CANDIDATES, st.builds(replace, LIKENESSES, learned=st.one_of(st.none(), LIKENESSES)), st.booleans(), st.data())
@examples(max_examples=200, deadline=None)
def test_features_are_finite_on_anything_and_give_a_confidence(
    question: str, candidates: list[CandidateFacts], likeness: Likeness, learned: bool, data: st.DataObject
) -> None:
    words = data.draw(st.lists(st.sampled_from(["tulip", "octob", "郁金香", "15", "", "the"]), max_size=5, unique=True))
    vector = unit_vectors("question", 2)
    found = candidate_features(
        question, candidates, idf={word: data.draw(st.floats(1e-6, 12)) for word in words}, words=len(words), vector=vector[0],
        learned_vector=vector[1] if learned else None, likeness=likeness, familiar=unfamiliar(question, len(candidates)),
    )  # fmt: skip
    assert len(found) == len(candidates)
    assert all(math.isfinite(value) for features in found for value in features.values())
    assert all(0 <= features[name] <= 1 + 1e-9 for features in found for name in SHARES)
    assert all(0 <= shipped_model(lang, variant).confidence(features) <= 1 for features in found for lang in LANGUAGES for variant in FEATURES)


@given(CANDIDATES, st.builds(replace, LIKENESSES, learned=LIKENESSES), st.integers(0, 1_000))
@examples(max_examples=100, deadline=None)
def test_features_of_a_candidate_do_not_depend_on_the_order_of_the_others(candidates: list[CandidateFacts], likeness: Likeness, seed: int) -> None:
    shuffled = random.Random(seed).sample(candidates, len(candidates))
    expected = {candidate.row: found for candidate, found in zip(candidates, features_of("tulips", *candidates, likeness=likeness), strict=True)}
    assert {candidate.row: found for candidate, found in zip(shuffled, features_of("tulips", *shuffled, likeness=likeness), strict=True)} == expected


@pytest.mark.parametrize(
    ("question", "text", "missing"),
    [
        ("how many tulips are there", "Tulips are flowers.", 1.0),
        ("how many tulips are there", "Tulips: 15.", 0.0),
        ("how often are tulips watered", "Water tulips twice a week.", 0.0),
        ("郁金香要种多深，多少厘米", "郁金香要种得深。", 1.0),
        ("郁金香要种多深，多少厘米", "郁金香要种十五厘米深。", 0.0),
        ("which tulips are red", "Tulips are flowers.", 0.0),
    ],
)
def test_features_notice_a_number_asked_for_and_not_given(question: str, text: str, missing: float) -> None:
    (found,) = features_of(question, facts(1, text))
    assert found["number_missing"] == missing


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("who invented the tulip", 1.0),
        ("which year was it", 1.0),
        ("哪一年发现的", 1.0),
        ("谁种的郁金香", 1.0),
        ("why are tulips red", 0.0),
        ("怎样种郁金香", 0.0),
    ],
)
def test_features_notice_a_name_or_a_year_asked_for(question: str, name: float) -> None:
    assert features_of(question, facts(1))[0]["name"] == name


def test_features_count_the_questions_words_in_passage_and_heading() -> None:
    whole, half, none = features_of("tulips in october", facts(1, "It is October."), facts(2, "It is cold."), replace(facts(3, "It is cold."), heading="Roses"))
    assert (whole["covered"], half["covered"], none["covered"]) == (1.0, 0.75, 0.0)


def test_features_cover_the_sentence_that_is_most_like_the_question() -> None:
    candidate = facts(1, "It is cold. Plant in October. Water them.")
    asked = "Plant in October."
    (found,) = features_of(asked, candidate)
    assert found["sentence"] == pytest.approx(1.0, abs=1e-5)
    assert found["covered_sentence"] == 1.0
    (other,) = features_of("It is cold.", candidate)
    assert other["covered_sentence"] == 0.75


def test_features_measure_the_lead_over_the_best_of_the_others() -> None:
    leads = [found["lead"] for found in features_of("tulips", facts(1, fused=0.9), facts(2, fused=0.6), facts(3, fused=0.5))]
    assert leads == pytest.approx([0.3, -0.3, -0.4])
    assert features_of("tulips", facts(1, fused=0.9))[0]["lead"] == 0.9


def test_features_read_what_was_asked_before() -> None:
    learned = Likeness(passages={1: 0.8, 2: 0.9, 7: 0.95}, unanswerable=0.3, support={1: 0.6}, votes={1: 0.25}, votes_against=0.5)
    likeness = Likeness(passages={1: 0.5, 7: 0.7}, unanswerable=0.4, learned=learned)
    first, second = features_of("tulips", facts(1), facts(2), likeness=likeness)
    names = (
        "asked",
        "asked_behind",
        "asked_unanswered",
        "likeness",
        "likeness_support",
        "likeness_behind",
        "likeness_next",
        "likeness_margin",
        "votes",
        "votes_against",
    )
    assert [first[name] for name in names] == pytest.approx([0.5, 0.2, 0.4, 0.8, 0.6, 0.15, 0.9, 0.5, 0.25, 0.5])
    assert [second[name] for name in names] == pytest.approx([0.0, 0.7, 0.4, 0.9, 0.0, 0.05, 0.8, 0.6, 0.0, 0.5])


def test_features_tell_words_that_neither_the_passage_nor_its_questions_have() -> None:
    def familiar(asked: bool) -> Familiar:
        return Familiar(
            words=("graft", "tulip"), idf=np.array([3.0, 1.0], dtype=np.float32), nowhere=np.array([not asked, False]), passages=np.array([[asked], [False]]),
            sentences=np.array([[False], [False]]), contained=np.array([0.5], dtype=np.float32), contained_unanswerable=0.75,
        )  # fmt: skip

    (strange,) = features_of("tulip graft", facts(1), familiar=familiar(asked=False))
    assert (strange["known"], strange["known_asked"], strange["unknown_word"]) == (0.25, 0.0, 1.0)
    assert (strange["contained"], strange["contained_unanswered"]) == (0.5, 0.75)
    assert (strange["strange"], strange["known_behind"], strange["contained_behind"]) == (0.75, 0.0, 0.0)
    (asked,) = features_of("tulip graft", facts(1), familiar=familiar(asked=True))
    assert asked["strange"] == 0.0
    assert (asked["known"], asked["known_asked"], asked["unknown_word"]) == (1.0, 0.75, 0.0)
    assert (asked["known_sentence"], asked["unknown_in_sentence"]) == (0.25, 1.0)


def test_features_find_pairs_of_chinese_characters_within_the_text() -> None:
    (found,) = features_of("十月", facts(1, "郁金香应在十月种下。"))
    assert found["known"] == 1.0
    (other,) = features_of("九月", facts(1, "郁金香应在十月种下。"))
    assert other["known"] < 1.0


def test_features_compare_sentences_by_the_head_where_there_is_one() -> None:
    candidate = replace(facts(1), learned=unit_vectors("learned", 2))
    arguments = {"idf": {"water": 1.0}, "words": 1, "vector": unit_vectors("q", 1)[0], "likeness": EMPTY, "familiar": unfamiliar("water", 1)}
    (found,) = candidate_features("water", [candidate], learned_vector=unit_vectors("learned", 2)[1], **arguments)
    assert found["likeness_sentence"] == pytest.approx(1.0, abs=1e-5)
    assert found["covered_sentence"] == 1.0
    (without,) = candidate_features("water", [candidate], learned_vector=None, **arguments)
    assert without["likeness_sentence"] == 0.0


@pytest.mark.parametrize(
    ("likeness", "variant"),
    [
        (EMPTY, "plain"),
        (Likeness(passages={1: 0.2}, unanswerable=0.0), "asked"),
        (Likeness(passages={}, unanswerable=0.2), "asked"),
        (Likeness(passages={1: 0.2}, unanswerable=0.0, learned=EMPTY), "learned"),
    ],
)
def test_variant_follows_what_the_library_could_tell(likeness: Likeness, variant: Variant) -> None:
    assert variant_of(likeness) == variant


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), st.floats(-1e6, 1e6))
@examples(max_examples=100, deadline=None)
def test_confidence_is_monotone_in_each_feature(pair: list[float], other: float) -> None:
    model = LogisticModel(names=("a", "b"), mean=(0.5, 0.0), scale=(2.0, 1.0), weights=(1.5, -0.5), intercept=0.1)
    low, high = sorted(pair)
    assert model.confidence({"a": low, "b": other}) <= model.confidence({"a": high, "b": other})
    assert model.confidence({"a": other, "b": low}) >= model.confidence({"a": other, "b": high})


def test_confidence_reads_the_products_of_features() -> None:
    model = LogisticModel(names=("a", "b"), mean=(0.0, 0.0), scale=(1.0, 2.0), weights=(0.0, 0.0), pairs=(0.0, 2.0, 0.5), intercept=0.0)
    assert model.confidence({"a": 1.0, "b": 2.0}) == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert model.confidence({"a": -1.0, "b": 2.0}) == pytest.approx(1 / (1 + math.exp(1.5)))


def test_confidence_does_not_extrapolate() -> None:
    model = LogisticModel(names=("a",), mean=(0.0,), scale=(1.0,), weights=(1.0,), intercept=0.0)
    assert model.confidence({"a": 1e9}) == model.confidence({"a": 3.0}) > model.confidence({"a": 2.9})


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("variant", FEATURES)
def test_shipped_model_names_known_features_and_has_no_zero_scale(lang: Language, variant: Variant) -> None:
    model = shipped_model(lang, variant)
    assert model.names == FEATURES[variant]
    assert len(model.mean) == len(model.scale) == len(model.weights) == len(model.names)
    assert len(model.pairs) in {0, len(model.names) * (len(model.names) + 1) // 2}
    assert min(model.scale) > 0


@pytest.mark.parametrize("lang", LANGUAGES)
def test_shipped_model_of_each_variant_reads_more_than_the_one_before(lang: Language) -> None:
    plain, asked, learned = (set(shipped_model(lang, variant).names) for variant in ("plain", "asked", "learned"))
    assert plain < asked < learned <= set(features_of("tulips", facts(1))[0])
