from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import unit_vectors

from core.library import StoredQuestion
from core.questions import EMPTY, QuestionBank, pack, question_terms
from core.types import Language

pytestmark = pytest.mark.usefixtures("home")


def question(text: str, places: tuple[tuple[int, int, int], ...] = (), *, origin: str = "a.jsonl", lang: Language = "en") -> StoredQuestion:
    return StoredQuestion(origin=origin, lang=lang, text=text, words=tuple(question_terms(text, lang)), passages=places, vector=unit_vectors(text, 1)[0])


BANK = QuestionBank(
    pack(
        [
            question("When do I plant tulip bulbs?", ((1, 0, 0),)),
            question("How deep do tulips go?", ((1, 0, 1), (2, 2, 3)), origin="b.jsonl"),
            question("Which fertiliser do tulips like?"),
            question("How do I prune roses?", ((3, 1, 1),)),
        ]
    ),
    "en",
)


def test_compare_with_itself_is_alike() -> None:
    found = BANK.compare("How deep do tulips go?", unit_vectors("How deep do tulips go?", 1)[0])
    assert found.passages[1] == pytest.approx(1.0, abs=1e-3) == found.passages[2]
    assert {place for place, value in found.sentences.items() if value > 0.99} == {(1, 0), (1, 1), (2, 2), (2, 3)}
    assert found.answerable == pytest.approx(1.0, abs=1e-3)
    assert found.passages[3] < 0.9


def test_compare_with_an_unanswerable_question_says_so() -> None:
    text = "Which fertiliser do tulips like?"
    found = BANK.compare(text, unit_vectors(text, 1)[0])
    assert found.unanswerable == pytest.approx(1.0, abs=1e-3)
    assert found.answerable < 0.9


def test_compare_without_an_origin_leaves_its_questions_out() -> None:
    text = "How deep do tulips go?"
    found = BANK.compare(text, unit_vectors(text, 1)[0], without="b.jsonl")
    assert found.passages.get(2, 0.0) == 0.0
    assert found.answerable < 0.9


def test_empty_bank_is_like_nothing() -> None:
    assert QuestionBank({}, "en").compare("anything", unit_vectors("x", 1)[0]) is EMPTY
    assert len(QuestionBank(pack([]), "zh")) == 0
    assert EMPTY.answerable == 0.0


@given(st.text(max_size=80), st.sampled_from(["", "a.jsonl", "b.jsonl", "unknown"]))
@examples(max_examples=150, deadline=None)
def test_likeness_lies_between_0_and_1_for_any_question(text: str, without: str) -> None:
    found = BANK.compare(text, unit_vectors(text.encode("utf-8", "replace").decode(), 1)[0], without=without)
    values = [*found.passages.values(), *found.sentences.values(), found.unanswerable, found.answerable]
    assert all(-1e-9 <= value <= 1 + 1e-3 and np.isfinite(value) for value in values)
    assert {row for row, _ in found.sentences} == set(found.passages)


def test_question_terms_of_chinese_add_character_pairs() -> None:
    found = question_terms("郁金香几月种？", "zh")
    assert {"郁金香", "郁金", "金香", "香几", "几月", "月种"} <= set(found)
    assert question_terms("tulips", "en") == ["tulip"]
