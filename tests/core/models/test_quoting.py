"""Which sentences the quoting answerer chooses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.models import Draft, Quote, Request
from core.models.quoting import RELATIVE_FLOOR, QuotingAnswerer
from core.types import Hit, Passage, Span

SCORES = st.lists(st.floats(0.01, 2), max_size=6)


def hit(scores: Sequence[float], *, sentences: int | None = None) -> Hit:
    """A passage of numbered sentences with their scores."""
    text = " ".join(f"Sentence {n}." for n in range(len(scores) if sentences is None else sentences))
    spans = tuple(Span(start=12 * n, end=12 * n + 11) for n in range(len(text) // 11))
    passage = Passage(id="p", document_id="d", page=None, start=0, end=len(text), text=text, heading="h", lang="en", sentences=spans)
    return Hit(passage=passage, external_id="d", title="t", source="s", url="", score=0.5, dense=0.5, keyword=0.5, sentence_scores=tuple(scores))


def chosen(*hits: Hit, most: int = 3) -> list[tuple[int, int]]:
    return [(quote.hit, quote.sentence) for quote in QuotingAnswerer().answer(Request(question="q", lang="en", hits=hits, max_sentences=most)).quotes]


@pytest.mark.parametrize(
    ("scores", "sentences"),
    [
        ([0.2, 0.9, 0.1], [1]),
        ([0.9, 0.9, 0.9, 0.9], [0, 1, 2]),
        ([0.1, 0.1, 0.9, 0.6], [2, 3]),
        ([0.6, 0.1, 0.9, 0.1], [0, 2]),
        ([0.9, 0.5, 0.1, 0.1], [0, 1]),
        ([0.1, 0.1, 0.5, 0.9], [3]),
    ],
)
def test_quoting_takes_the_best_sentence_and_its_fellows_in_reading_order(scores: list[float], sentences: list[int]) -> None:
    assert chosen(hit(scores)) == [(0, sentence) for sentence in sentences]


def test_quoting_answers_from_the_first_hit_even_where_a_later_one_has_a_better_sentence() -> None:
    assert chosen(hit([0.3, 0.2]), hit([0.9])) == [(0, 0), (0, 1)]


def test_quoting_passes_over_hits_without_scored_sentences() -> None:
    assert chosen(hit([], sentences=2), hit([0.4])) == [(1, 0)]


def test_quoting_without_hits_or_scores_is_an_empty_draft() -> None:
    assert QuotingAnswerer().answer(Request(question="q", lang="en", hits=())) == Draft()
    assert chosen(hit([], sentences=2)) == []


@given(st.lists(SCORES, max_size=4), st.integers(1, 5))
@examples(max_examples=200, deadline=None)
def test_quoting_quotes_one_passage_in_order_and_no_weak_sentence(scores: list[list[float]], most: int) -> None:
    quotes = chosen(*(hit(one) for one in scores), most=most)
    assert bool(quotes) == any(scores)
    assert len(quotes) <= min(most, 3) and quotes == sorted(set(quotes))
    if quotes:
        ((n,), values) = {number for number, _ in quotes}, [scores[quotes[0][0]][sentence] for _, sentence in quotes]
        assert n == next(number for number, one in enumerate(scores) if one)
        assert max(values) == max(scores[n])
        assert all(value + 0.08 >= RELATIVE_FLOOR * max(values) for value in values)


def test_quoting_streams_the_sentences_it_quotes() -> None:
    assert "".join(QuotingAnswerer().stream(Request(question="q", lang="en", hits=(hit([0.2, 0.9, 0.8]),)))) == "Sentence 1. Sentence 2. "


def test_quoting_names_its_encoder() -> None:
    assert (QuotingAnswerer().name, QuotingAnswerer(encoder_id="e@1").name) == ("quoting", "quoting/e@1")


def test_quoting_keeps_its_quotes_apart_from_free_text() -> None:
    assert QuotingAnswerer().answer(Request(question="q", lang="en", hits=(hit([0.9]),))) == Draft(quotes=(Quote(hit=0, sentence=0),))
