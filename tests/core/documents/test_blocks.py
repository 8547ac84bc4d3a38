from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents.blocks import PageBuilder, clean_verbatim, normalise, verbatim_page
from core.documents.parsed import Limits, OutputBudget, ParsedDocument
from core.errors import DocumentError
from core.types import Block, BlockKind, Page

TEXTS = st.text(alphabet=st.characters(exclude_categories=()), max_size=60) | st.sampled_from(["a\n\n\nb", "\x00\ud800", " \u00a0x ", "é", "\ufeff"])


def budget(megabytes: int = 64) -> OutputBudget:
    return OutputBudget(Limits(output_mb=megabytes))


@given(st.lists(st.tuples(st.sampled_from(BlockKind), TEXTS, st.integers(-1, 9))))
def test_blocks_spans_index_exactly_their_text(items: list[tuple[BlockKind, str, int]]) -> None:
    builder = PageBuilder(budget())
    expected = []
    for kind, text, level in items:
        builder.add(kind, text, level=level)
        whole = normalise(text) if kind in (BlockKind.TEXT, BlockKind.LIST_ITEM) else " ".join(normalise(text).split())
        if whole:
            expected.append((kind, whole))
    page = builder.build(number=3)
    assert [(block.kind, page.text[block.start : block.end]) for block in page.blocks] == expected
    assert ParsedDocument(title="x", pages=(page,)).pages == (page,)
    page.text.encode("utf-8")


@given(TEXTS)
def test_blocks_verbatim_keeps_every_offset(text: str) -> None:
    page = verbatim_page(text, budget())
    assert len(page.text) >= len(text) - text.count("\r\n") and len(page.text) == len(clean_verbatim(text))
    assert "".join(page.text.split()) == "".join("".join(page.text[b.start : b.end] for b in page.blocks).split())
    for block in page.blocks:
        words = page.text[block.start : block.end]
        assert words and words == words.strip()


def test_blocks_verbatim_changes_control_characters_only() -> None:
    text = "one\r\n\r\ntwo\x00 three\tfour é\u00a0x"
    page = verbatim_page(text, budget())
    assert len(page.text) == len(text)
    assert [page.text[b.start : b.end] for b in page.blocks] == ["one", "two  three\tfour é\u00a0x"]


def test_blocks_join_runs_by_line_breaks_and_paragraphs_by_blank_lines() -> None:
    builder = PageBuilder(budget())
    for kind, text in (
        ("heading", "H"),
        ("list_item", "a"),
        ("list_item", "b"),
        ("table_row", "1 | 2"),
        ("table_row", "3 | 4"),
        ("text", "t"),
    ):
        builder.add(BlockKind(kind), text)
    assert builder.build().text == "H\n\na\nb\n\n1 | 2\n3 | 4\n\nt"


def test_normalise_composes_and_strips() -> None:
    assert normalise("e\u0301\u00a0x  \r\n\x00y\u00ad\ud800z \n\n\n\nw\t") == "é x\nyz\n\nw"


def test_budget_stops_a_document_that_is_too_long() -> None:
    spent = budget(1)
    spent.spend("高" * 300_000)
    with pytest.raises(DocumentError, match=r"more than 1 MB of text.*DOMAINKIT_PARSE_OUTPUT_MB"):
        spent.spend("高" * 60_000)


@pytest.mark.parametrize("spans", [[(0, 9)], [(2, 2)], [(2, 3), (1, 2)]])
def test_parsed_refuses_spans_outside_their_page(spans: list[tuple[int, int]]) -> None:
    blocks = tuple(Block(kind=BlockKind.TEXT, start=start, end=end) for start, end in spans)
    with pytest.raises(ValueError, match="lies outside its page"):
        ParsedDocument(title="x", pages=(Page(number=None, text="abcd", blocks=blocks),))
