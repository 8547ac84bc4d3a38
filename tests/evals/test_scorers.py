from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.eval_items import EvalItem
from core.types import Answer, AnswerHit, Citation, Claim, Status, Timings
from evals.scorers import (
    answer_f1,
    choice_right,
    chosen,
    citation_precision,
    citation_recall,
    cites_document,
    exact_right,
    expected_status,
    item_right,
    numeric_right,
    passage_right,
    quote_right,
    share_of,
    source_right,
    spans_hold,
    status_right,
    support,
    token_f1,
)

pytestmark = pytest.mark.usefixtures("home")
PASSAGE = "Plant tulip bulbs in October, about 15 cm deep. Tulip bulbs need a cold winter to flower."
QUOTE = "Plant tulip bulbs in October, about 15 cm deep."


def citation(quote: str = QUOTE, *, page: int | None = None, document: str = "d1", source: str = "en/tulips.md", external_id: str = "en/tulips.md") -> Citation:
    digest = hashlib.sha256(quote.encode()).hexdigest()
    return Citation(
        document_id=document, external_id=external_id, title="Tulips", source=source, page=page, start=7, end=7 + len(quote), quote=quote, sha256=digest
    )


def answer(*citations: Citation, status: Status = Status.ANSWERED, passage: str = PASSAGE, document: str = "d1") -> Answer:
    claims = (Claim(text="x", support=1, citations=citations),) if citations else ()
    hit = AnswerHit(passage_id="p1", document_id=document, external_id="e", title="Tulips", page=None, score=1, text=passage)
    return Answer(
        id="a", domain="garden", question="q", lang="en", status=status, text="x", notice="", claims=claims, hits=(hit,), confidence=0.9, profile="embedded",
        model="m", adapter="", generation=1, timings_ms=Timings(retrieve=0, answer=0, total=0),
    )  # fmt: skip


def item(**changes: Any) -> EvalItem:
    return EvalItem.model_validate({"id": "i", "question": "q", "sources": [{"document": "tulips", "quote": QUOTE}], **changes})


@pytest.mark.parametrize("name", ["en/tulips.md", "tulips", "Tulips", "d1"])
def test_cites_document_by_any_of_its_names(name: str) -> None:
    assert cites_document(citation(), name)


@pytest.mark.parametrize("name", ["tulip", "en", "roses", "tulips.md", ""])
def test_cites_document_takes_no_part_of_a_name(name: str) -> None:
    assert not cites_document(citation(), name)


def test_cites_document_strips_only_the_last_suffix() -> None:
    assert cites_document(citation(source="reports/3M_2018.10K.pdf", external_id="x"), "3M_2018.10K")


def test_source_right_wants_an_answer_from_the_document_and_its_page() -> None:
    assert source_right(item(), answer(citation()))
    assert not source_right(item(), answer(citation(), status=Status.ABSTAINED))
    assert not source_right(item(), answer(citation(external_id="en/roses.md", source="en/roses.md").model_copy(update={"title": "Roses"})))
    assert not source_right(item(), answer())
    paged = item(sources=[{"document": "tulips", "page": 3}])
    assert source_right(paged, answer(citation(page=3)))
    assert not source_right(paged, answer(citation(page=4)))
    assert source_right(paged, answer(citation(page=4), citation(page=3)))


def test_passage_right_wants_the_passage_that_holds_the_quote() -> None:
    assert passage_right(item(), answer(citation()))
    assert passage_right(item(), answer(citation("Tulip bulbs need a cold winter to flower.")))
    other = "Water tulips once a week."
    assert not passage_right(item(), answer(citation(other), passage=other))
    assert not passage_right(item(), answer(citation(), status=Status.REFUSED))
    assert not passage_right(item(), answer(citation(), document="another document's passage"))
    assert passage_right(item(sources=[{"document": "tulips"}]), answer(citation(other), passage=other))
    assert not passage_right(item(sources=[]), answer(citation()))


def test_passage_right_forgives_spacing_and_small_differences_of_a_quote() -> None:
    assert passage_right(item(sources=[{"document": "tulips", "quote": "plant TULIP bulbs\nin October,  about 15 cm deep"}]), answer(citation()))
    assert passage_right(item(sources=[{"document": "tulips", "quote": "Plant the tulip bulbs in October, about 15 cm deep."}]), answer(citation()))
    assert not passage_right(item(sources=[{"document": "tulips", "quote": "Store dahlia tubers in dry sand over winter, free of frost."}]), answer(citation()))


def test_quote_right_wants_the_sentence_itself() -> None:
    assert quote_right(item(), answer(citation()))
    assert quote_right(item(sources=[{"document": "tulips", "quote": "in October"}]), answer(citation()))
    assert not quote_right(item(), answer(citation("Tulip bulbs need a cold winter to flower.")))
    assert not quote_right(item(sources=[{"document": "tulips"}]), answer(citation()))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.ANSWERED),
        ({"answerable": False}, Status.ABSTAINED),
        ({"expect_status": "escalated"}, Status.ESCALATED),
        ({"answerable": False, "expect_status": "refused"}, Status.REFUSED),
        ({"answerable": False, "expect_status": "answered"}, Status.ANSWERED),
    ],
)
def test_expected_status_is_the_items_own_else_follows_answerable(changes: dict[str, Any], status: Status) -> None:
    assert expected_status(item(**changes)) is status
    assert status_right(item(**changes), answer(status=status))


def test_item_right_needs_status_and_passage() -> None:
    assert item_right(item(), answer(citation()))
    assert not item_right(item(), answer(citation("Water tulips."), passage="Water tulips."))
    assert not item_right(item(), answer(status=Status.ABSTAINED))
    assert item_right(item(answerable=False, sources=[]), answer(status=Status.ABSTAINED))
    assert not item_right(item(answerable=False, sources=[]), answer(citation()))
    assert item_right(item(sources=[]), answer(citation()))


@pytest.mark.parametrize(
    ("changes", "text", "right"),
    [
        ({"kind": "numeric", "answers": ["72"]}, "It is 72 clips.", True),
        ({"kind": "numeric", "answers": ["72"]}, "It is 27 clips.", False),
        ({"kind": "choice", "choices": ["tulip", "rose"], "answers": ["rose"]}, "B", True),
        ({"kind": "choice", "choices": ["tulip", "rose"], "answers": ["rose"]}, "tulip", False),
        ({"answers": ["in cold October", "autumn"]}, "They go in during autumn.", True),
        ({"answers": ["in cold October"]}, "They go in during spring.", False),
    ],
)
def test_item_without_sources_is_judged_by_what_it_expects(changes: dict[str, Any], text: str, right: bool) -> None:
    wanted, given = item(**{"sources": [], **changes}), answer(citation()).model_copy(update={"text": text})
    assert passage_right(wanted, given) is item_right(wanted, given) is right
    assert not passage_right(wanted, answer(status=Status.ABSTAINED))


def test_spans_hold_compares_lengths() -> None:
    good = citation()
    assert spans_hold(answer(good))
    assert spans_hold(answer())
    assert not spans_hold(answer(good, good.model_copy(update={"end": good.end + 1})))


TEXTS = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(["tulip", "bulbs", "October", "15", "郁金香", "the"]), max_size=10).map(" ".join))


@given(TEXTS, TEXTS)
@examples(max_examples=150, deadline=None)
def test_shares_lie_between_0_and_1_and_f1_is_symmetric(left: str, right: str) -> None:
    assert 0 <= share_of(left, right) <= 1
    assert 0 <= token_f1(left, right) <= 1
    assert token_f1(left, right) == pytest.approx(token_f1(right, left))
    assert (token_f1(left, right) == 0) == (share_of(left, right) == 0)


@pytest.mark.parametrize(
    ("expected", "text", "share", "f1"),
    [
        ("tulip bulbs", "tulips bulb", 1.0, 1.0),
        ("tulip tulip", "tulip", 0.5, 2 / 3),
        ("tulip bulbs", "plant the tulip", 0.5, 0.4),
        ("", "tulip", 0.0, 0.0),
        ("tulip", "", 0.0, 0.0),
        ("1,000 bulbs", "1000 bulbs", 1.0, 1.0),
    ],
)
def test_share_and_f1_of_known_texts(expected: str, text: str, share: float, f1: float) -> None:
    assert share_of(expected, text) == pytest.approx(share)
    assert token_f1(expected, text) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1),
        ("(b)", None),
        ("C. It rots", 2),
        ("The answer is A", 0),
        ("答案是B", 1),
        ("They need frost", 0),
        ("A cold winter helps, since they need frost.", 0),
        ("It rots and they need frost", None),
        ("Nothing of these", None),
        ("D", None),
    ],
)
def test_chosen_reads_a_letter_or_the_words_of_one_choice(text: str, place: int | None) -> None:
    assert chosen(["they need frost", "they need sun", "it rots"], text) == place


def test_choice_that_stands_within_another_is_given_only_alone() -> None:
    assert chosen(["10", "10 to 12"], "It takes 10 to 12 days") == 1 and chosen(["10", "10 to 12"], "It takes 10 days") == 0


def expecting(*documents: str, answers: tuple[str, ...] = (), choices: tuple[str, ...] = ()) -> EvalItem:
    sources = [{"document": name, "quote": ""} for name in documents]
    return EvalItem.model_validate(
        {"id": "i", "question": "When?", "lang": "en", "answers": list(answers), "choices": list(choices), "sources": sources, "split": "dev"}
    )


def test_citation_precision_and_recall_by_hand() -> None:
    given_answer = answer(citation(external_id="tulips", document="d1", source="tulips.md"), citation(external_id="roses", document="d2", source="roses.md"))
    assert citation_precision(expecting("tulips", "iris", "lily"), given_answer) == 0.5
    assert citation_recall(expecting("tulips", "iris", "lily"), given_answer) == pytest.approx(1 / 3)
    assert citation_precision(expecting("tulips"), answer()) == citation_recall(expecting("tulips"), answer()) == 0.0


def test_answers_are_compared_by_words_numbers_and_choice() -> None:
    spoken = answer(citation()).model_copy(update={"text": "Plant them 15 cm deep."})
    item = expecting("tulips", answers=("0.15 m",))
    assert numeric_right(item, spoken) and not exact_right(item, spoken)
    assert answer_f1(expecting("tulips", answers=("plant 15 cm deep",)), spoken) == pytest.approx(2 * 4 / (4 + 5))
    assert choice_right(expecting("tulips", answers=("15 cm deep",), choices=("5 cm deep", "15 cm deep")), spoken)


def test_answer_that_was_not_given_says_nothing() -> None:
    held = answer(status=Status.ABSTAINED).model_copy(update={"text": "I don't know"})
    assert exact_right(expecting(answers=()), held) and answer_f1(expecting("tulips", answers=("October",)), held) == 0.0
    assert support(held) == 0.0 and support(answer(citation())) == 1.0
