from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from head_samples import sample_head
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import unit_vectors

from core.errors import LibraryError
from core.library_schema import StoredQuestion
from core.questions import EMPTY, NEAREST, Likeness, QuestionBank, pack, question_terms
from core.types import Language

pytestmark = pytest.mark.usefixtures("home")


def question(text: str, places: tuple[tuple[int, int, int], ...] = (), *, origin: str = "a.jsonl", lang: Language = "en") -> StoredQuestion:
    return StoredQuestion(origin=origin, lang=lang, text=text, words=tuple(question_terms(text, lang)), passages=places, vector=unit_vectors(text, 1)[0])


QUESTIONS = [
    question("When do I plant tulip bulbs?", ((1, 0, 0),)),
    question("How deep do tulips go?", ((1, 0, 1), (2, 2, 3)), origin="b.jsonl"),
    question("Which fertiliser do tulips like?"),
    question("How do I prune roses?", ((3, 1, 1),)),
]
BANK = QuestionBank(pack(QUESTIONS), "en")
HEAD = sample_head([stored.text for stored in QUESTIONS])
LEARNED = QuestionBank(pack(QUESTIONS, head=HEAD), "en", head=HEAD)


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
    whole = LEARNED.compare(text, unit_vectors(text.encode("utf-8", "replace").decode(), 1)[0], without=without)
    assert whole.learned is not None
    for found in (whole, whole.learned):
        values = [*found.passages.values(), *found.sentences.values(), *found.support.values(), *found.votes.values()]
        values += [found.unanswerable, found.answerable, found.votes_against]
        assert all(-1e-9 <= value <= 1 + 1e-3 and np.isfinite(value) for value in values)
        assert {row for row, _ in found.sentences} == set(found.passages) == set(found.support)


@given(st.text(max_size=80), st.sampled_from(["", "a.jsonl", "b.jsonl"]))
@examples(max_examples=50, deadline=None)
def test_bank_is_compared_by_words_and_encoding_alike_with_and_without_a_head(text: str, without: str) -> None:
    vector = unit_vectors(text.encode("utf-8", "replace").decode(), 1)[0]
    plain, learned = BANK.compare(text, vector, without=without), LEARNED.compare(text, vector, without=without)
    assert plain.learned is None
    assert (plain.passages, plain.sentences, plain.unanswerable) == (learned.passages, learned.sentences, learned.unanswerable)


def compare(bank: QuestionBank, text: str, **options: str) -> Likeness:
    return bank.compare(text, unit_vectors(text, 1)[0], **options)


def test_compare_by_a_head_of_a_question_with_itself_is_alike() -> None:
    learned = compare(LEARNED, "How deep do tulips go?").learned
    assert learned is not None
    assert learned.passages[1] == pytest.approx(1.0, abs=2e-3) == learned.passages[2]
    assert max(learned.passages[3], learned.unanswerable) < 0.9


def test_compare_by_a_head_without_an_origin_leaves_its_questions_out() -> None:
    learned = compare(LEARNED, "How deep do tulips go?", without="b.jsonl").learned
    assert learned is not None and learned.passages.get(2, 0.0) == 0.0


def test_compare_by_a_head_is_the_cosine_of_its_vectors() -> None:
    text = "when should tulips be planted"
    mine, theirs = (HEAD.vectors([one], unit_vectors(one, 1))[0] for one in (text, QUESTIONS[0].text))
    learned = compare(LEARNED, text).learned
    assert learned is not None
    assert max(learned.passages[1], learned.passages[2]) >= float(mine @ theirs) - 2e-3
    assert learned.sentences[1, 0] == pytest.approx(
        max(0.0, float(mine @ theirs), float(mine @ HEAD.vectors([QUESTIONS[1].text], unit_vectors(QUESTIONS[1].text, 1))[0])), abs=2e-3
    )


def test_bank_packed_with_another_head_is_not_compared_by_heads() -> None:
    other = sample_head([stored.text for stored in QUESTIONS], seed=1)
    for bank in (
        QuestionBank(pack(QUESTIONS, head=HEAD), "en", head=other),
        QuestionBank(pack(QUESTIONS, head=HEAD), "en"),
        QuestionBank(pack(QUESTIONS), "en", head=HEAD),
    ):
        assert compare(bank, "How deep do tulips go?").learned is None


def test_pack_of_the_same_questions_gives_the_same_bytes() -> None:
    assert pack(QUESTIONS, head=HEAD) == pack(list(QUESTIONS), head=sample_head([stored.text for stored in QUESTIONS]))
    assert set(pack(QUESTIONS, head=HEAD)) - set(pack(QUESTIONS)) == {"learned", "head"}


def test_pack_of_no_questions_with_a_head_is_an_empty_bank() -> None:
    bank = QuestionBank(pack([], head=HEAD), "en", head=HEAD)
    assert len(bank) == 0
    assert compare(bank, "tulips") is EMPTY


def test_bank_of_chinese_questions_needs_no_encoding() -> None:
    nothing = np.zeros(0, dtype=np.float32)
    asked = [replace(question("郁金香几月种？", ((1, 0, 0),), lang="zh"), vector=nothing), replace(question("玫瑰怎样修剪？", lang="zh"), vector=nothing)]
    head = sample_head([stored.text for stored in asked], "zh", dense=0.0)
    found = QuestionBank(pack(asked, head=head), "zh", head=head).compare("郁金香几月种？", unit_vectors("x", 1)[0])
    assert found.learned is not None
    for likeness in (found, found.learned):
        assert likeness.passages[1] == pytest.approx(1.0, abs=2e-3)
        assert likeness.unanswerable < 0.9


def test_compare_counts_a_question_by_every_place_that_answers_it_and_votes_by_likeness() -> None:
    found = compare(BANK, "How deep do tulips go?")
    assert sum(found.votes.values()) >= 1 - found.votes_against
    assert found.votes[1] >= found.votes[2] > 0.9 > found.votes.get(3, 0.0)
    assert compare(BANK, "Which fertiliser do tulips like?").votes_against > 0.9


def test_familiar_tells_which_words_were_asked_of_a_passage_and_of_its_sentence() -> None:
    asked = [question("deep tulip bulbs", ((1, 0, 0),)), question("tulip colours", ((1, 2, 3),)), question("deep roses", ((2, 0, 0),)), question("tulip price")]
    bank = QuestionBank(pack(asked), "en")
    found = bank.familiar("deep tulip price", [(1, 2), (2, 0)])
    told = dict(zip(found.words, zip(found.passages.tolist(), found.sentences.tolist(), strict=True), strict=True))
    deep, tulip, price = (next(value for word, value in told.items() if word.startswith(start)) for start in ("deep", "tulip", "pric"))
    assert deep == ([True, True], [False, True])
    assert tulip == ([True, False], [True, False])
    assert price == ([False, False], [False, False])
    shares = dict(zip(found.words, (found.idf / found.idf.sum()).tolist(), strict=True))
    assert found.contained[0] == pytest.approx(sum(value for word, value in shares.items() if not word.startswith("pric")), abs=1e-5)
    assert found.contained_unanswerable == pytest.approx(sum(value for word, value in shares.items() if not word.startswith("deep")), abs=1e-5)


@given(st.text(max_size=60), st.permutations([(0, 0), (1, 1), (2, 0)]))
@examples(max_examples=100, deadline=None)
def test_familiar_does_not_depend_on_the_order_of_passages(text: str, places: list[tuple[int, int]]) -> None:
    whole = BANK.familiar(text, places)
    for n, place in enumerate(places):
        alone = BANK.familiar(text, [place])
        assert np.array_equal(whole.passages[:, [n]], alone.passages)
        assert np.array_equal(whole.sentences[:, [n]], alone.sentences)
        assert whole.contained[n] == alone.contained[0]
    assert ((whole.contained >= 0) & (whole.contained <= 1 + 1e-6)).all()


def test_familiar_without_an_origin_leaves_its_questions_out() -> None:
    bank = QuestionBank(pack([question("deep tulips", ((1, 0, 0),), origin="a.jsonl"), question("deep price", origin="a.jsonl")]), "en")
    assert bank.familiar("deep", [(1, 0)]).passages.all()
    left = bank.familiar("deep", [(1, 0)], without="a.jsonl")
    assert not left.passages.any() and not left.contained.any() and left.contained_unanswerable == 0.0


def test_familiar_of_an_empty_bank_knows_nothing() -> None:
    found = QuestionBank({}, "zh").familiar("郁金香", [(1, 0)])
    assert len(found.words) > 0 and not found.passages.any() and found.contained_unanswerable == 0.0


def test_compare_supports_a_passage_by_its_three_likest_questions() -> None:
    texts = ["plant tulips now", "plant tulips soon", "plant tulips late", "plant tulips never", "prune roses"]
    apart = compare(QuestionBank(pack([question(text, ((n, 0, 0),)) for n, text in enumerate(texts)]), "en"), texts[0])
    together = compare(QuestionBank(pack([question(text, ((int(n == 4), 0, 0),)) for n, text in enumerate(texts)]), "en"), texts[0])
    assert together.support[0] == pytest.approx(sum(sorted(apart.passages[n] for n in range(4))[1:]) / 3, abs=1e-6)
    assert together.support[1] == pytest.approx(apart.passages[4] / 2, abs=1e-6)


def test_compare_looks_at_the_nearest_questions_only_but_always_finds_the_likest_unanswerable_one() -> None:
    asked = [question(f"how to plant tulips in bed number {n}", ((n, 0, 0),)) for n in range(NEAREST + 10)]
    found = compare(QuestionBank(pack([*asked, question("unlike everything else")]), "en"), "how to plant tulips in bed number 3")
    assert len(found.passages) <= NEAREST
    assert max(found.passages, key=found.passages.__getitem__) == 3
    assert 0 <= found.unanswerable < 0.5


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda parts, name=name: parts.pop(name) for name in ("vectors", "origins", "origin", "places", "words", "ends", "numbers", "weights", "learned")),
        *(
            lambda parts, name=name: parts.update({name: parts[name][:-1]})
            for name in ("vectors", "origins", "origin", "places", "ends", "numbers", "weights", "learned")
        ),
        *(lambda parts, name=name: parts.update({name: parts[name][:-4]}) for name in ("origin", "places", "ends", "numbers", "weights")),
        lambda parts: parts.update({"shape": b"5"}),
        lambda parts: parts.update({"words": parts["words"] + b"\nmore"}),
        lambda parts: parts.update({"words": b"\xff" + parts["words"]}),
        lambda parts: parts.update({"vectors": b"\xff" * len(parts["vectors"])}),
        lambda parts: parts.update({"weights": b"\xff" * len(parts["weights"])}),
    ],
)
def test_bank_refuses_parts_that_do_not_fit(damage: Callable[[dict[str, bytes]], object]) -> None:
    parts = pack(QUESTIONS, head=HEAD)
    damage(parts)
    with pytest.raises(LibraryError, match="the question bank is damaged; run `domainkit reindex`"):
        QuestionBank(parts, "en", head=HEAD)


def test_question_terms_of_chinese_add_character_pairs() -> None:
    found = question_terms("郁金香几月种？", "zh")
    assert {"郁金香", "郁金", "金香", "香几", "几月", "月种"} <= set(found)
    assert question_terms("tulips", "en") == ["tulip"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda parts: parts.pop("shape"),
        lambda parts: parts.update({"shape": b"four"}),
        lambda parts: parts.update({"vectors": parts["vectors"][: -2 * len(QUESTIONS)]}),
        lambda parts: parts.update({"learned": parts["learned"][: -2 * len(QUESTIONS)]}),
        lambda parts: parts.update({"learned": b"\xff" * len(parts["learned"])}),
        lambda parts: parts.update({"numbers": np.full(len(parts["numbers"]) // 4, 999, dtype="<i4").tobytes()}),
        lambda parts: parts.update({"ends": np.full(1, 999, dtype="<i4").tobytes() + parts["ends"][4:]}),
    ],
)
def test_bank_refuses_damage_before_a_question_is_compared(damage: Callable[[dict[str, bytes]], object]) -> None:
    parts = pack(QUESTIONS, head=HEAD)
    damage(parts)
    with pytest.raises(LibraryError, match="the question bank is damaged; run `domainkit reindex`"):
        QuestionBank(parts, "en", head=HEAD)
