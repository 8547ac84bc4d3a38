"""Numbers with their units in English and Chinese text, and whether a text gives an expected one. Knows no questions and no model.

One quantity each: thousands separators and decimals (1,234.5), powers (6.24 × 10^18), fractions (90/585, ½, three quarters, 三分之一), words
(two hundred and five, 三十五万, 两万五), scales ($3.2 million, 5bn, $15m, 1.2亿), signs (-5.26, −1/2, 负三), percentages (12 %, 12 per cent, 百分之十二,
五成), currencies before or after the amount, and the units of :mod:`evals.units`.

- An amount in parentheses is negative, as in financial statements, where it follows a currency sign, has a thousands separator and no unit, or
  fills a table cell or the whole text: "(6,850)".
- In "6 to 12 months", "$5-10 million", "6~12" and "between 2 and 3 h" two numbers share unit, currency and scale. "135/85 mmHg" is two quantities.
- A year (2019年) is a bare number. No quantity: digits in names (H2O, PHQ-9, 8-K), ordinals (2nd, 第三), "one" as a pronoun, and a single Chinese
  digit that counts nothing (统一).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from core.types import Language
from evals.numerals import MONEY_SCALE, NUMBER, SCALE, number_of, scale_of
from evals.units import CURRENCIES, CURRENCY_SIGNS, Unit, unit_of, unit_pattern

TOLERANCE = 0.01
"""Largest relative difference of equal quantities: beyond it 5.4 is not "5", although it rounds to it."""
_MONEY = "|".join(re.escape(sign) for sign in (*CURRENCY_SIGNS, "¥"))
_SHARES = {"百分之": "%", "千分之": "‰", "万分之": "‱"}
_QUANTITY = re.compile(
    rf"(?P<sign>(?<![A-Za-z0-9)%])[-−](?=[\d.]|{_MONEY})|负|零下|\bnegative\s)?(?:(?P<currency>{_MONEY}|\b(?:USD|EUR|GBP|JPY|CNY|RMB|HKD)|人民币)\s?(?P<opened>\()?)?"
    rf"(?P<share>{'|'.join(_SHARES)})?{NUMBER}",
    re.VERBOSE,
)
_GAP, _GAP_OF_PART = re.compile(r"[ \n-]{0,2}"), re.compile(r"[ \n-]{0,2}(?:an? )?")
_HAN = re.compile("[\u3400-\u9fff]")
_ORDINAL_OR_NAME = re.compile(r"(?:st|nd|rd|th)\b|-[A-Z]{1,2}\b")
_MEASURE = re.compile(r"[个次种倍份只项条名位家例人颗片粒步月桶股]|[至到~或-][零一二三四五六七八九十两]")
_CELL_START, _CELL_END = re.compile(r"(?:\A|[\n\t|]|  ) *\( ?\Z"), re.compile(r" ?\) *(?:\Z|[\n\t|]|  )")
_RANGE, _AND = re.compile(r"\s*(?:to|through|[-–—~]|至|到)\s*"), re.compile(r"\s*(?:and|和|与)\s*")
_BETWEEN = re.compile(r"(?:\bbetween|介于|在)\s*\Z")
_ASIDE = re.compile(r"[(（](?![\d,.]+[)）])[^()（）]*[)）]")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number with its unit.

    ``unit`` is a symbol of :mod:`evals.units`, empty for a bare number; ``kind`` is what it measures (``mass``, ``percent``, a currency's ISO 4217
    code); ``step`` is the size of the last digit as written, 0.1 for 3.6 and 100,000 for 3.6 million, and 0 for words and fractions.
    """

    value: Decimal
    unit: str = ""
    kind: str = ""
    step: Decimal = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A number at its place in a text, its scale still apart."""

    number: Decimal
    step: Decimal
    scale: Decimal
    unit: Unit | None
    start: int
    end: int

    @property
    def quantity(self) -> Quantity:
        kind, unit = (self.unit.kind, self.unit.symbol) if self.unit else ("", "")
        return Quantity(value=self.number * self.scale, unit=unit, kind=kind, step=self.step * self.scale)


def parse_quantities(text: str, lang: Language) -> list[Quantity]:
    """Return the quantities of a text in order, by the rules of the module's docstring.

    Args:
        text: any text.
        lang: of the text; ``¥`` is yuan in Chinese and yen in English.
    """
    plain = _prepared(text)
    return [found.quantity for found in _sharing(plain, list(_found(plain, lang)))]


def numeric_match(expected: str, text: str, lang: Language, *, tolerance: float = TOLERANCE, percent_as_fraction: bool = False) -> bool:
    """Whether a text gives every quantity of an expected answer, both ends of a range included.

    What the expected answer adds in parentheses is not asked for: "below 6 mg/dL (360 µmol/L)" asks for 6 mg/dL. Two quantities are equal when
    they differ by at most half the last digit of the expected one (of the given one where that is a fraction or in words), and by at most
    ``tolerance`` of it: 10.24 is "10.2" and 0.778 is "7/9", but 5.4 is not "5", 18 not "18.02" and 2018 not "2019". Units of one kind are
    converted (0.5 h is 30 min); those of two kinds are never equal (g and %, month and day); where one side has no unit, the numbers are
    compared as they stand. Signs count: a fall of 5 is not "-5".

    Args:
        expected: an answer; one without a quantity matches nothing.
        text: where to look.
        lang: language of both.
        tolerance: largest relative difference.
        percent_as_fraction: whether 5 % is also a bare 0.05.
    """
    asked = parse_quantities(_ASIDE.sub(" ", expected), lang) or parse_quantities(expected, lang)
    given = parse_quantities(text, lang)
    limit = Decimal(str(tolerance))
    return bool(asked) and all(any(_equal(one, other, limit, percent_as_fraction) for other in given) for one in asked)


def _equal(expected: Quantity, given: Quantity, tolerance: Decimal, percent_as_fraction: bool) -> bool:
    if expected.kind and given.kind:
        return expected.kind == given.kind and _close(_in_base(expected), _in_base(given), tolerance)
    if percent_as_fraction and "percent" in (expected.kind, given.kind) and _close(_fraction(expected), _fraction(given), tolerance):
        return True
    return _close(expected, given, tolerance)


def _close(expected: Quantity, given: Quantity, tolerance: Decimal) -> bool:
    size = abs(expected.value)
    least = size * Decimal("1e-12")  # what divisions leave in thirds and converted units
    return abs(expected.value - given.value) <= min((expected.step or given.step) / 2, size * tolerance) + least


def _in_base(quantity: Quantity) -> Quantity:
    unit = unit_of(quantity.unit)
    return replace(quantity, value=quantity.value * unit.size + unit.offset, step=quantity.step * unit.size)


def _fraction(quantity: Quantity) -> Quantity:
    if not quantity.kind:
        return quantity
    percent = _in_base(quantity)
    return replace(percent, value=percent.value / 100, step=percent.step / 100)


def _prepared(text: str) -> str:
    """Return the text in NFKC; what NFKC would run together (2½, 10¹⁸, a list's 3，500) is kept apart first."""
    text = re.sub("[，、]", lambda mark: mark.group() + " ", text)
    text = re.sub("(?<=[0-9])[⁻⁰¹²³⁴-⁹]+", lambda power: "^" + power.group().translate(_SUPERSCRIPTS), text)
    text = re.sub("(?<=[0-9])(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub("(?<=[0-9])[\u2009\u202f](?=[0-9]{3})", "", text)
    return re.sub("[\u2010\u2011\u2012]", "-", unicodedata.normalize("NFKC", text))


def _found(text: str, lang: Language) -> Iterator[_Found]:
    at = 0
    while (match := _QUANTITY.search(text, at)) is not None:
        if match["sign"] and match.start() == at > 0:
            match = _QUANTITY.match(text, at + 1) or match  # the dash of a range: 5天-7天
        found = None if _in_a_name(text, match.start(), at) else _read(text, match, lang)
        at = found.end if found is not None else match.end()
        if found is None:
            continue
        if match["bottom"] and found.unit is not None and found.unit.kind == "pressure":  # 135/85 mmHg
            for part in ("top", "bottom"):
                yield replace(found, number=Decimal(match[part].replace(",", "")), step=Decimal(1))
        else:
            yield found


def _in_a_name(text: str, start: int, previous_end: int) -> bool:
    """Whether a number belongs to a word before it: H2O, PHQ-9, 第三; but not the second of "5mg-10mg"."""
    before = text[max(0, start - 2) : start]
    return bool(re.search(r"[A-Za-z_]\Z|第 ?\Z", before) or (re.search(r"[A-Za-z]-\Z", before) and previous_end != start - 1))


def _read(text: str, match: re.Match[str], lang: Language) -> _Found | None:
    """Return the quantity that begins at a match, None where the number counts nothing."""
    number, step = number_of(match)
    end = match.end()
    unit = _unit_before(match, lang)
    negative = bool(match["sign"])
    if text.startswith(")", end) and (match["opened"] or _separated(text, match)):
        negative, end = True, end + 1
    scaled = (MONEY_SCALE if unit is not None and unit.kind in CURRENCIES else SCALE).match(text, end)
    end = scaled.end() if scaled else end
    following = None if unit is not None else unit_pattern().match(text, _unit_start(text, end, part=bool(match["english"]) and number < 1))
    if not (scaled or following or unit or negative) and _counts_nothing(text, match, end):
        return None
    if following is not None and not (following.group() == "年" and 1_000 <= number < 3_000 and not scaled):
        unit, end = unit_of(following.group()), following.end()
    if negative or _fills_a_cell(text, match.start(), end):
        number = -number
    return _Found(number=number, step=step, scale=scale_of(scaled.group()) if scaled else Decimal(1), unit=unit, start=match.start(), end=end)


def _unit_before(match: re.Match[str], lang: Language) -> Unit | None:
    if match["share"]:
        return unit_of(_SHARES[match["share"]])
    sign = match["currency"]
    if sign is None:
        return None
    return unit_of(("CNY" if lang == "zh" else "JPY") if sign == "¥" else CURRENCY_SIGNS.get(sign, sign))


def _unit_start(text: str, end: int, *, part: bool) -> int:
    """Return where a unit may begin behind a number: "14-year", "half an hour"."""
    gap = (_GAP_OF_PART if part else _GAP).match(text, end)
    return gap.end() if gap else end


def _counts_nothing(text: str, match: re.Match[str], end: int) -> bool:
    """Whether a number without unit and scale is an ordinal, part of a name or a Chinese word of one sign."""
    numeral = match["chinese"] or ""
    if len(numeral) == 1 and numeral != text.strip():
        return not (_MEASURE.match(text, end) or (numeral == "零" and not _HAN.match(text, end)))
    return bool(_ORDINAL_OR_NAME.match(text, end))


def _separated(text: str, match: re.Match[str]) -> bool:
    """Whether a bare number with a thousands separator begins a parenthesis."""
    return "," in (match["digits"] or "") and match["currency"] is None and text.endswith("(", 0, match.start())


def _fills_a_cell(text: str, start: int, end: int) -> bool:
    """Whether an amount in parentheses is all that a table cell or the text holds."""
    return bool(_CELL_START.search(text[max(0, start - 8) : start]) and _CELL_END.match(text[end : end + 8]))


def _sharing(text: str, found: list[_Found]) -> list[_Found]:
    """Return the numbers with what the two of a range share."""
    for n, (first, second) in enumerate(zip(found, found[1:])):
        between = text[first.end : second.start]
        opened = _BETWEEN.search(text[max(0, first.start - 12) : first.start])
        if _RANGE.fullmatch(between) or (opened and _AND.fullmatch(between)):
            found[n], found[n + 1] = _shared(found[n], second)
    return found


def _shared(first: _Found, second: _Found) -> tuple[_Found, _Found]:
    first, second = replace(first, unit=first.unit or second.unit), replace(second, unit=second.unit or first.unit)
    if first.unit == second.unit and first.scale == 1 and first.number < second.number:
        first = replace(first, scale=second.scale)
    return first, second
