"""From raw text to drafts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models import Draft
from core.models.drafting import neutralize, says_no_answer, to_draft, visible

MARKERS = ("<|im_start|>", "<|im_end|>", "</s>", " x", "  y")


@pytest.mark.parametrize(
    "text", ["I don't know.", " i don’t KNOW", "I do not know!", "我不知道。", "我不知道", '"I don\'t know."', "<think>hm</think>\n\nI don't know."]
)
def test_drafting_makes_no_answer_an_empty_draft(text: str) -> None:
    assert to_draft(text) == Draft()


@pytest.mark.parametrize("text", ["I don't know whether roses like shade, but tulips do.", "我不知道玫瑰怎样。", "I", "Idle soil", "我"])
def test_drafting_keeps_an_answer_that_only_begins_like_one(text: str) -> None:
    assert to_draft(text).text == text


def test_drafting_drops_reasoning_and_surrounding_space() -> None:
    assert to_draft("  <think>\nroses? no\n</think>\n\nTulips. \n").text == "Tulips."
    assert to_draft("<think> never ends").text == ""


PIECES = st.lists(st.sampled_from(["I", " don", "'t", " know", ".", "<think>", "</think>", " ", "\n", "Tulips", "我不", "知道", "。", "<", "thi"]), max_size=12)


@given(pieces=PIECES)
def test_drafting_streams_the_text_of_the_draft_however_it_is_cut(pieces: list[str]) -> None:
    assert "".join(visible(pieces)) == to_draft("".join(pieces)).text
    assert "".join(visible("".join(pieces))) == to_draft("".join(pieces)).text


@given(text=st.lists(st.sampled_from([*MARKERS, "<|im", "_start|>", "<", "/s>", " ", "x", "y", "a"]), max_size=20).map("".join))
def test_neutralize_leaves_no_marker(text: str) -> None:
    safe = neutralize(text, markers=MARKERS)
    assert not any(marker in safe for marker in MARKERS)


def test_neutralize_leaves_other_text_alone() -> None:
    assert neutralize("2 < 3 and 4 > 1 </p>", markers=MARKERS) == "2 < 3 and 4 > 1 </p>"
    assert neutralize("any", markers=()) == "any"


def test_says_no_answer_reads_the_whole_text() -> None:
    assert says_no_answer("I don't know.")
    assert not says_no_answer("I don't know. Plant tulips in October.")
