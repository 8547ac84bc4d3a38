from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import hit

from core.abstention import FEATURES, Calibration, LogisticModel, features, load_calibration, question_language, shipped_model
from core.encoder import Encoder
from core.errors import ManifestError
from core.library import Library
from core.models import Draft, Quote, Request
from core.models.quoting import QuotingAnswerer
from core.questions import Likeness
from core.retrieval import Retrieval, Retriever
from core.types import LANGUAGES, Hit, Language

pytestmark = pytest.mark.usefixtures("home")
SHARE = st.floats(0, 1)
WORDS = st.lists(st.sampled_from(["tulip", "october", "郁金香", "15", "", "the"]), max_size=5, unique=True)


@st.composite
def retrievals(draw: st.DrawFn) -> Retrieval:
    hits: list[Hit] = []
    for number in range(draw(st.integers(0, 4))):
        text = draw(st.sampled_from(["Plant tulips in October. Water them.", "One.", "郁金香应在十月种下。", "No words 15"]))
        found = hit(text, document=f"d{draw(st.integers(0, 1))}", score=draw(st.floats(-1, 3)))
        scores = tuple(draw(st.floats(-1, 3)) for _ in found.passage.sentences) if draw(st.booleans()) else ()
        hits.append(found.model_copy(update={"row": number, "sentence_scores": scores}))
    words = tuple(draw(WORDS))
    likeness = Likeness(passages=draw(st.dictionaries(st.integers(0, 5), SHARE, max_size=3)), unanswerable=draw(SHARE))
    query = draw(st.one_of(st.text(max_size=40), st.sampled_from(["how many tulips", "多少", "who was it"])))
    idf = {word: draw(st.floats(1e-6, 12)) for word in words}
    return Retrieval(query=query, lang=draw(st.sampled_from(LANGUAGES)), hits=tuple(hits), words=words, idf=idf, generation=1, likeness=likeness)


@given(retrievals(), st.booleans())
@examples(max_examples=250, deadline=None)
def test_features_are_finite_on_anything_and_give_a_confidence(retrieval: Retrieval, quoting: bool) -> None:
    draft = Draft(quotes=(Quote(hit=len(retrieval.hits) - 1, sentence=0),)) if quoting and retrieval.hits else Draft(text="free text")
    found = features(retrieval, draft)
    assert set(FEATURES) <= set(found)
    assert all(math.isfinite(value) for value in found.values())
    for lang in LANGUAGES:
        assert 0 <= shipped_model(lang).confidence(found) <= 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), st.floats(-1e6, 1e6))
@examples(max_examples=100, deadline=None)
def test_confidence_is_monotone_in_each_feature(pair: list[float], other: float) -> None:
    model = LogisticModel(names=("a", "b"), mean=(0.5, 0.0), scale=(2.0, 1.0), weights=(1.5, -0.5), intercept=0.1)
    low, high = sorted(pair)
    assert model.confidence({"a": low, "b": other}) <= model.confidence({"a": high, "b": other})
    assert model.confidence({"a": other, "b": low}) >= model.confidence({"a": other, "b": high})


@pytest.mark.parametrize("lang", LANGUAGES)
def test_shipped_model_names_known_features_and_has_no_zero_scale(lang: Language) -> None:
    model = shipped_model(lang)
    assert model.names == FEATURES
    assert len(model.mean) == len(model.scale) == len(model.weights) == len(FEATURES)
    assert min(model.scale) > 0


def test_features_of_a_retrieval_without_hits_are_zero() -> None:
    found = features(Retrieval(query="x", lang="en", hits=(), words=("x",), idf={}, generation=0), Draft())
    assert found == dict.fromkeys(FEATURES, 0.0)


def test_features_tell_an_answer_from_a_near_miss(garden_library: Library, encoder: Encoder) -> None:
    retriever = Retriever(garden_library, encoder)

    def confidence(question: str) -> float:
        retrieval = retriever.search(question, k=6, lang="en")
        draft = QuotingAnswerer().answer(Request(question=question, lang="en", hits=retrieval.hits))
        return shipped_model("en").confidence(features(retrieval, draft))

    right = [confidence(question) for question in ("When should tulip bulbs be planted?", "How long does compost take to be ready?")]
    wrong = [confidence(question) for question in ("Who won the football world cup in 1998?", "How do I apply for a passport?")]
    assert min(right) > max(wrong) + 0.2


def test_features_notice_a_number_asked_for_and_not_given() -> None:
    asked = Retrieval(
        query="how many tulips are there", lang="en", hits=(hit("Tulips are flowers."), hit("Tulips: 15.")), words=("tulip",), idf={"tulip": 1.0}, generation=1
    )
    assert features(asked, Draft(quotes=(Quote(hit=0, sentence=0),)))["lone_number"] == 1.0
    assert features(asked, Draft(quotes=(Quote(hit=1, sentence=0),)))["lone_number"] == 0.0


def test_load_calibration_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert load_calibration(path) is None
    made = Calibration.model_validate(
        {"corpus_sha256": "a", "model_sha256": "b", "thresholds": {"en": {"value": 0.4, "items": 9, "coverage": 0.9, "wrong_rate": 0.01}}}
    )
    path.write_text(made.model_dump_json())
    assert load_calibration(path) == made


@pytest.mark.parametrize("text", ["", "{", "[]", '{"corpus_sha256": 1}', json.dumps({"corpus_sha256": "a", "model_sha256": "b", "thresholds": {"fr": {}}})])
def test_load_calibration_refuses_what_is_not_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "garden" / "calibration.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ManifestError, match="garden/calibration.json: not a valid calibration; run `domainkit calibrate garden`"):
        load_calibration(path)


@pytest.mark.parametrize(
    ("text", "wanted", "lang"), [("tulips", "", "en"), ("郁金香", "", "zh"), ("tulips", "zh", "zh"), ("郁金香", "en", "en"), ("郁金香", "fr", "zh")]
)
def test_question_language_prefers_the_wanted_one(text: str, wanted: str, lang: str) -> None:
    assert question_language(text, wanted) == lang
