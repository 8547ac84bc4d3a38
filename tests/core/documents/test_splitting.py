from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.documents.blocks import PageBuilder
from core.documents.parsed import Limits, OutputBudget
from core.documents.splitting import MAX_SENTENCE_CHARS, MAX_TOKENS, estimate_tokens, split
from core.types import BlockKind, Document, Page

WORDS = st.sampled_from(
    ["tulips", "grow", "in", "spring.", "Water", "them", "3.5", "cm", "deep.", "e.g.", "郁金香", "在春天", "开花。", "\n", "Why?", "x" * 90]
)
TEXTS = st.one_of(
    st.lists(WORDS, min_size=1, max_size=80).map(" ".join),
    st.lists(WORDS, min_size=1, max_size=80).map("".join),
    st.integers(1, 3_000).map(lambda n: "a" * n),
    st.integers(1, 600).map(lambda n: "字" * n),
)
BLOCKS = st.lists(st.tuples(st.sampled_from(list(BlockKind)), TEXTS, st.integers(1, 6)), max_size=12)


def page_of(blocks: list[tuple[BlockKind, str, int]], number: int | None) -> Page:
    builder = PageBuilder(OutputBudget(Limits()))
    for kind, text, level in blocks:
        builder.add(kind, text[:80] if kind is BlockKind.HEADING else text, level=level)
    return builder.build(number=number)


def document_of(pages: tuple[Page, ...], *, title: str = "Title") -> Document:
    text = "\0".join(page.text for page in pages)
    return Document(id=hashlib.sha256(text.encode()).hexdigest(), external_id="d", title=title, source="d.md", lang="en", pages=pages)


@given(st.lists(BLOCKS, min_size=1, max_size=3), st.booleans())
@examples(max_examples=150, deadline=None)
def test_split_holds_its_rules_for_any_document(contents: list[list[tuple[BlockKind, str, int]]], numbered: bool) -> None:
    pages = tuple(page_of(blocks, n + 1) for n, blocks in enumerate(contents)) if numbered else (page_of(contents[0], None),)
    passages = list(split(document_of(pages)))
    by_number = {page.number: page for page in pages}
    covered: dict[int | None, set[int]] = {page.number: set() for page in pages}
    for passage in passages:
        page = by_number[passage.page]
        assert passage.text == page.text[passage.start : passage.end]
        assert (passage.sentences[0].start, passage.sentences[-1].end) == (passage.start, passage.end)
        at = passage.start
        for span in passage.sentences:
            assert at <= span.start < span.end <= passage.end
            assert span.end - span.start <= MAX_SENTENCE_CHARS
            assert not covered[passage.page] & set(range(span.start, span.end))
            covered[passage.page] |= set(range(span.start, span.end))
            at = span.end
        tokens = sum(estimate_tokens(page.text[span.start : span.end]) for span in passage.sentences)
        assert tokens <= MAX_TOKENS or len(passage.sentences) == 1
    for page in pages:
        headings = {at for block in page.blocks if block.kind is BlockKind.HEADING for at in range(block.start, block.end)}
        visible = {at for at, character in enumerate(page.text) if not character.isspace()} - headings
        assert visible <= covered[page.number]
    assert len({passage.id for passage in passages}) == len(passages)


def test_split_names_the_headings_above_a_passage() -> None:
    page = page_of(
        [
            (BlockKind.HEADING, "Tulips", 1),
            (BlockKind.TEXT, "They grow from bulbs.", 0),
            (BlockKind.HEADING, "Care", 2),
            (BlockKind.HEADING, "Water", 3),
            (BlockKind.TEXT, "Once a week.", 0),
            (BlockKind.HEADING, "Pests", 2),
            (BlockKind.TEXT, "Slugs eat them.", 0),
        ],
        None,
    )
    document = document_of((page,), title="Tulips").model_copy(update={"context": "Guide 2026"})
    assert [passage.heading for passage in split(document)] == ["Tulips › Guide 2026", "Tulips › Guide 2026 › Care › Water", "Tulips › Guide 2026 › Pests"]


def test_split_carries_the_heading_over_a_page_break() -> None:
    pages = (page_of([(BlockKind.HEADING, "Risks", 1), (BlockKind.TEXT, "One.", 0)], 1), page_of([(BlockKind.TEXT, "Two.", 0)], 2))
    assert [(p.page, p.heading) for p in split(document_of(pages))] == [(1, "Title › Risks"), (2, "Title › Risks")]


def test_split_never_joins_sentences_of_two_sections() -> None:
    page = page_of([(BlockKind.TEXT, "Short.", 0), (BlockKind.HEADING, "Next", 2), (BlockKind.TEXT, "Also short.", 0)], None)
    assert [passage.text for passage in split(document_of((page,)))] == ["Short.", "Also short."]


def test_split_cuts_an_endless_word() -> None:
    passages = list(split(document_of((page_of([(BlockKind.TEXT, "a" * 5_000, 0)], None),))))
    assert "".join(passage.text for passage in passages) == "a" * 5_000


def test_split_gives_the_same_ids_again() -> None:
    document = document_of((page_of([(BlockKind.TEXT, "One sentence. " * 200, 0)], None),))
    assert [p.id for p in split(document)] == [p.id for p in split(document)]
