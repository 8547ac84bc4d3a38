"""Numbers and units in English and Chinese text, and when a text gives an expected one."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from evals.quantities import numeric_match, parse_quantities


def read(text: str, lang: str = "en") -> list[tuple[float, str]]:
    return [(float(found.value), found.unit) for found in parse_quantities(text, lang)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("1,234.5 mg", "en", [(1234.5, "mg")]),
        ("$3.2 million", "en", [(3_200_000, "USD")]),
        ("US$5bn", "en", [(5e9, "USD")]),
        ("net loss of $(6,850)", "en", [(-6850, "USD")]),
        ("(6,850)", "en", [(-6850, "")]),
        ("12 per cent", "en", [(12, "%")]),
        ("6 to 12 months", "en", [(6, "mo"), (12, "mo")]),
        ("$5-10 million", "en", [(5e6, "USD"), (1e7, "USD")]),
        ("135/85 mmHg", "en", [(135, "mmHg"), (85, "mmHg")]),
        ("three quarters", "en", [(0.75, "")]),
        ("two hundred and five", "en", [(205, "")]),
        ("½ tablet", "en", [(0.5, "")]),
        ("6.24 × 10^18", "en", [(6.24e18, "")]),
        ("−5.26", "en", [(-5.26, "")]),
        ("H2O and the PHQ-9", "en", []),
        ("no one knows, one of them", "en", []),
        ("the 2nd", "en", []),
        ("三十五万元", "zh", [(350_000, "CNY")]),
        ("两万五", "zh", [(25_000, "")]),
        ("1.2亿", "zh", [(1.2e8, "")]),
        ("百分之十二", "zh", [(12, "%")]),
        ("五成", "zh", [(5, "成")]),
        ("三分之一", "zh", [(1 / 3, "")]),
        ("5天-7天", "zh", [(5, "d"), (7, "d")]),
        ("2019年", "zh", [(2019, "")]),
        ("统一", "zh", []),
        ("第三", "zh", []),
    ],
)
def test_quantities_of_a_text(text: str, lang: str, expected: list[tuple[float, str]]) -> None:
    assert read(text, lang) == [(pytest.approx(value), unit) for value, unit in expected]


@pytest.mark.parametrize(
    ("expected", "text", "lang"),
    [
        ("500 mg", "Take 0.5 g.", "en"),
        ("30 min", "half an hour", "en"),
        ("6 to 12 months", "It takes between 6 and 12 months.", "en"),
        ("10.2", "10.24", "en"),
        ("7/9", "0.778", "en"),
        ("below 6 mg/dL (360 µmol/L)", "under 6 mg/dL", "en"),
        ("36", "at least 36 hours", "en"),
        ("5 %", "百分之五", "zh"),
        ("1.2亿", "120,000,000", "zh"),
        ("98.6 °F", "37.0 °C", "en"),
    ],
)
def test_text_gives_the_expected_quantity(expected: str, text: str, lang: str) -> None:
    assert numeric_match(expected, text, lang)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expected", "text", "lang"),
    [
        ("500 mg", "500 g", "en"),
        ("5 g", "5 %", "en"),
        ("5", "5.4", "en"),
        ("18.02", "18", "en"),
        ("2019", "2018", "en"),
        ("-5", "a fall of 5", "en"),
        ("6 to 12 months", "6 months", "en"),
        ("30 days", "1 month", "en"),
        ("yes", "yes", "en"),
        ("5 %", "0.05", "en"),
    ],
)
def test_text_does_not_give_the_expected_quantity(expected: str, text: str, lang: str) -> None:
    assert not numeric_match(expected, text, lang)  # type: ignore[arg-type]


def test_percent_is_a_fraction_where_that_is_asked_for() -> None:
    assert numeric_match("5 %", "0.05", "en", percent_as_fraction=True)


ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(number: int) -> str:
    """An English number, written independently of the reader."""
    for size, name in ((10**6, "million"), (10**3, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            joint = " and " if size == 100 or rest < 100 else " "
            return f"{in_words(number // size)} {name}" + (joint + in_words(rest) if rest else "")
    return ONES[number] if number < 20 else TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")


def in_chinese(number: int) -> str:
    """A Chinese number, written independently of the reader."""
    if number >= 10_000:
        rest = number % 10_000
        return in_chinese(number // 10_000) + "万" + ("" if not rest else ("零" if rest < 1_000 else "") + in_chinese(rest))
    text, gap = "", False
    for size, name in ((1_000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, size)
        if digit:
            text += ("零" if gap else "") + "零一二三四五六七八九"[digit] + name
        gap = bool(text) and not digit
    return text or "零"


@given(st.integers(10, 999_999_999))
@examples(max_examples=150, deadline=None)
def test_english_words_are_read_back(number: int) -> None:
    assert [found.value for found in parse_quantities(f"It has {in_words(number)} parts.", "en")] == [number]


@given(st.integers(10, 99_999_999))
@examples(max_examples=150, deadline=None)
def test_chinese_numerals_are_read_back(number: int) -> None:
    assert [found.value for found in parse_quantities(f"共有{in_chinese(number)}个。", "zh")] == [number]


@given(st.decimals(min_value=0, max_value=10**9, places=2))
@examples(max_examples=150, deadline=None)
def test_digits_are_read_back_with_and_without_separators(number: Decimal) -> None:
    for text in (f"{number:f}", f"{number:,f}", f"${number:,f}", f"{number:f} kg"):
        assert [found.value for found in parse_quantities(f"about {text} in all", "en")] == [number]
    assert numeric_match(f"{number:f}", f"It is {number:,f}.", "en")


@given(st.text(alphabet=st.sampled_from("0123456789.,()-/^%$¥ kKmMgG十百千万亿半点分之一二三 one and half to"), max_size=80), st.sampled_from(["en", "zh"]))
@examples(max_examples=300, deadline=None)
def test_no_text_raises_or_takes_long(text: str, lang: str) -> None:
    begun = time.monotonic()
    parse_quantities(text, lang)  # type: ignore[arg-type]
    assert time.monotonic() - begun < 1
