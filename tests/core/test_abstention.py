from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import hit

from core.abstention import Calibration, draft_confidence, load_calibration, question_language
from core.encoder import Encoder
from core.errors import ManifestError
from core.library import Library
from core.models import Draft, Quote, Request
from core.models.quoting import QuotingAnswerer
from core.retrieval import Retrieval, Retriever

pytestmark = pytest.mark.usefixtures("home")


def retrieval(*confidences: float) -> Retrieval:
    hits = tuple(hit(f"Tulips {n}.").model_copy(update={"confidence": confidence}) for n, confidence in enumerate(confidences))
    return Retrieval(query="x", lang="en", hits=hits, words=("x",), idf={}, generation=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.data())
@examples(max_examples=100, deadline=None)
def test_draft_confidence_is_that_of_the_passage_quoted_first(confidences: list[float], data: st.DataObject) -> None:
    quoted = data.draw(st.lists(st.integers(0, len(confidences) - 1), min_size=1, max_size=3))
    draft = Draft(quotes=tuple(Quote(hit=n, sentence=0) for n in quoted))
    assert draft_confidence(retrieval(*confidences), draft) == confidences[quoted[0]]


def test_draft_confidence_of_a_free_text_is_the_best_hits() -> None:
    assert draft_confidence(retrieval(0.7, 0.2), Draft(text="free text")) == 0.7


@pytest.mark.parametrize("draft", [Draft(), Draft(text="free text")])
def test_draft_confidence_without_hits_is_zero(draft: Draft) -> None:
    assert draft_confidence(retrieval(), draft) == 0.0


def test_draft_confidence_tells_an_answer_from_a_near_miss(garden_library: Library, encoder: Encoder) -> None:
    retriever = Retriever(garden_library, encoder)

    def confidence(question: str) -> float:
        found = retriever.search(question, k=6, lang="en")
        return draft_confidence(found, QuotingAnswerer().answer(Request(question=question, lang="en", hits=found.hits)))

    right = [confidence(question) for question in ("When should tulip bulbs be planted?", "How long does compost take to be ready?")]
    wrong = [confidence(question) for question in ("Who won the football world cup in 1998?", "How do I apply for a passport?")]
    assert min(right) > max(wrong) + 0.2


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
