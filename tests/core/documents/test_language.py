from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.documents.language import detect_language


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("When do I plant tulips?", "en"),
        ("什么时候种郁金香？", "zh"),
        ("二甲双胍（metformin）的副作用有哪些？", "zh"),
        ("ETF和基金有什么区别？", "zh"),
        ("HbA1c 正常值是多少", "zh"),
        ("What does the word 气 mean in Chinese medicine texts?", "en"),
        ("药", "zh"),
        ("", "en"),
        ("12345 !!", "en"),
        ("¿Qué es la diabetes?", "en"),
    ],
)
def test_detect_language_weighs_scripts(text: str, lang: str) -> None:
    assert detect_language(text) == lang


@given(st.text(max_size=300))
@examples(max_examples=200, deadline=None)
def test_detect_language_is_one_of_two_for_any_text(text: str) -> None:
    assert detect_language(text) in {"en", "zh"}


def test_detect_language_reads_only_the_head() -> None:
    assert detect_language("word " * 800 + "汉" * 10_000) == "en"
