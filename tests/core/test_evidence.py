from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passage_samples import hit

from core.evidence import MIN_SUPPORT, cite, lock, numbers, shown
from core.models import Draft, Quote
from core.types import Hit, Span

pytestmark = pytest.mark.usefixtures("home")
TULIPS = hit("Plant tulip bulbs in October, about 15 cm deep. Tulip bulbs need a cold winter to flower. Water them once a week.", start=40)
ROSES = hit("Prune roses in February or March, before the buds open. Cut 5 mm above a bud.", title="Roses", document="d2", start=7)
CHINESE = hit("郁金香的球茎应在十月种下，深度约15厘米。郁金香需要寒冷的冬天才能开花。", title="郁金香", lang="zh", document="d3")
HITS = (TULIPS, ROSES, CHINESE)
PIECES = st.sampled_from(
    ["Plant tulip bulbs in October, about 15 cm deep.", "Plant tulip bulbs in March.", "Use 250 g of lime per bulb.", "Prune roses in February or March.", "[1]", "[2, 3]", "【1】",
     "Tulips are blue whales.", "郁金香的球茎应在十月种下。", "郁金香应在99月种下。", "I don't know.", "…", "15", "5 mm", " ", "\n\n", "The", "🌷", "'", '"', "\x00"]
)  # fmt: skip
DRAFTS = st.one_of(st.lists(PIECES, max_size=8).map(" ".join), st.text(max_size=200))


def locked(text: str, **options: frozenset[str]) -> list[str]:
    return [claim.text for claim in lock(Draft(text=text), HITS, **options)]


def page_slice(found: Hit, start: int, end: int) -> str:
    return found.passage.text[start - found.passage.start : end - found.passage.start]


@given(DRAFTS)
@examples(max_examples=300, deadline=None)
def test_lock_cites_exact_spans_and_lets_no_number_through(text: str) -> None:
    by_document = {found.passage.document_id: found for found in HITS}
    for claim in lock(Draft(text=text), HITS):
        (citation,) = claim.citations
        source = by_document[citation.document_id]
        assert citation.quote == page_slice(source, citation.start, citation.end)
        assert citation.end - citation.start == len(citation.quote) > 0
        assert citation.sha256 == hashlib.sha256(citation.quote.encode()).hexdigest()
        assert numbers(claim.text) <= numbers(citation.quote)
        assert MIN_SUPPORT <= claim.support <= 1
        assert claim.text and "\n" not in claim.text


@given(st.lists(st.builds(Quote, hit=st.integers(0, 2), sentence=st.integers(0, 1)), max_size=4))
@examples(max_examples=60, deadline=None)
def test_lock_of_quotes_is_verbatim(quotes: list[Quote]) -> None:
    claims = lock(Draft(quotes=tuple(quotes)), HITS)
    assert len(claims) == len(quotes)
    for claim, quote in zip(claims, quotes, strict=True):
        span = HITS[quote.hit].passage.sentences[quote.sentence]
        assert claim.support == 1.0
        assert (claim.citations[0].start, claim.citations[0].end) == (span.start, span.end)
        assert claim.text == shown(claim.citations[0].quote) == page_slice(HITS[quote.hit], span.start, span.end)


def test_lock_keeps_a_supported_sentence_with_its_place() -> None:
    (claim,) = lock(Draft(text="Tulip bulbs should be planted in October about 15 cm deep [1]."), HITS)
    assert claim.text == "Tulip bulbs should be planted in October about 15 cm deep."
    assert claim.citations[0].quote == "Plant tulip bulbs in October, about 15 cm deep."
    assert (claim.citations[0].document_id, claim.citations[0].start) == ("d1", 40)


@pytest.mark.parametrize(
    "text",
    [
        "Plant tulip bulbs in October, about 25 cm deep.",
        "Plant 100 tulip bulbs in October, about 15 cm deep.",
        "Cut 5.5 mm above a bud of roses.",
        "Tulips are poisonous to cats and dogs.",
        "Whales sing.",
        "郁金香的球茎应在十月种下，深度约25厘米。",
        "",
        "[1]",
        "?!",
        "the of and",
    ],
)
def test_lock_removes_what_is_not_supported(text: str) -> None:
    assert locked(text) == []


def test_lock_removes_only_the_unsupported_sentence() -> None:
    text = "Plant tulip bulbs in October. Feed them with 30 g of salt. Prune roses in February or March."
    assert locked(text) == ["Plant tulip bulbs in October.", "Prune roses in February or March."]


def test_lock_accepts_a_number_that_a_logged_tool_call_returned() -> None:
    text = "Plant the 42 tulip bulbs in October, about 15 cm deep."
    assert locked(text) == []
    assert locked(text, tool_numbers=frozenset({"42"})) == [text]


@pytest.mark.parametrize("text", ["Prune roses before the buds open [2].", "Prune roses before the buds open[2, 3].", "Prune roses before the buds open【2】."])
def test_lock_strips_markers_of_a_model(text: str) -> None:
    assert locked(text) == ["Prune roses before the buds open."]


def test_lock_joins_two_neighbouring_sentences_when_a_draft_does() -> None:
    (claim,) = lock(Draft(text="Plant tulip bulbs in October about 15 cm deep since tulip bulbs need a cold winter to flower."), HITS)
    assert claim.citations[0].quote == "Plant tulip bulbs in October, about 15 cm deep. Tulip bulbs need a cold winter to flower."


def test_lock_of_a_chinese_draft() -> None:
    (claim,) = lock(Draft(text="郁金香球茎应在十月种下，深度约15厘米[3]。"), HITS)
    assert claim.citations[0].quote == "郁金香的球茎应在十月种下，深度约15厘米。"


def test_lock_without_hits_has_nothing() -> None:
    assert lock(Draft(text="Plant tulips."), ()) == ()
    assert lock(Draft(), HITS) == ()


@pytest.mark.parametrize(("start", "end"), [(0, 10), (39, 45), (45, 45), (50, 45), (150, 1_000)])
def test_cite_refuses_a_span_outside_the_passage(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="is not in passage"):
        cite(TULIPS, Span(start=start, end=end))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234.50 and 007", {"1234.5", "7"}),
        ("3.0", {"3"}),
        ("0.50", {"0.5"}),
        ("0", {"0"}),
        ("3,5", {"3.5"}),
        ("1,000,000", {"1000000"}),
        ("120/80", {"120", "80"}),
        ("15 厘米，２０毫克", {"15", "20"}),
        ("no numbers", set()),
    ],
)
def test_numbers_have_one_spelling(text: str, expected: set[str]) -> None:
    assert numbers(text) == expected


@given(st.integers(0, 10**12))
@examples(max_examples=100, deadline=None)
def test_numbers_do_not_depend_on_thousands_separators(value: int) -> None:
    assert numbers(f"{value:,}") == numbers(str(value)) == {str(value)}


@given(st.text(max_size=100))
@examples(max_examples=100, deadline=None)
def test_shown_is_one_line(text: str) -> None:
    assert shown(text) == shown(shown(text))
    assert "\n" not in shown(text)
