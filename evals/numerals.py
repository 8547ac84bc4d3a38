"""Numbers as they are written: in digits, as fractions and powers, in English and in Chinese words. Knows no units, signs or currencies.

Text is taken in NFKC, where ½ is ``1⁄2`` with a fraction slash.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

_ONES = {word: n for n, word in enumerate("zero one two three four five six seven eight nine".split())}
_TEENS = {word: n for n, word in enumerate("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(), start=10)}
_TENS = {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}
_SMALL = {**_ONES, **_TEENS, **_TENS, "a": 1, "an": 1}
_LARGE = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10}

_ONE = "(?:one|two|three|four|five|six|seven|eight|nine)"
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[-\s]{_ONE})?|{'|'.join(_TEENS)}|{_ONE})"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|a)\s+hundred(?:\s+(?:and\s+)?{_BELOW_100})?|{_BELOW_100})"
_GROUP = rf"(?:{_BELOW_1000}|a)\s+(?:thousand|million|billion|trillion)"
# "one" as a pronoun ("one of them", "no one") counts nothing.
_PRONOUN = r"one(?:\s+(?:of|another|who|that|which)\b|['’]s)"
_NO_PRONOUN = rf"(?:(?!one\b)|(?!{_PRONOUN})(?<!\bno\s)(?<!\bany\s)(?<!\beach\s)(?<!\bthis\s)(?<!\bthat\s)(?<!\bwhich\s))"
_ENGLISH = (
    rf"\b(?:(?:an?|{_ONE})[-\s](?:{'|'.join(_PARTS)})s?|half"
    rf"|{_NO_PRONOUN}(?:{_GROUP}(?:,?\s+(?:and\s+)?{_GROUP})*(?:,?\s+(?:and\s+)?{_BELOW_1000})?|{_BELOW_1000}|zero)(?:[-\s]and[-\s]a[-\s]half)?)\b"
)

_HAN_ONES = {**{sign: n for n, sign in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2}
_HAN_TENS = {"十": 10, "百": 100, "千": 1_000}
_HAN_LARGE = {"万": 10_000, "亿": 100_000_000}
_ANY = "".join(_HAN_ONES)
# It begins with a digit or 十, so that 千万 ("by all means") and the 百 of 百分之 are no numbers.
_HAN = rf"(?:[{_ANY}十][{_ANY}十百千万亿]{{0,40}}(?:点[{_ANY}]{{1,20}}[万亿]{{0,2}})?|半)"

# Lengths are bounded, so that no text can ask for arithmetic without end.
_DIGITS = r"(?:\d{1,3}(?:,\d{3}){1,12}(?![\d,]*\d)|\d{1,40})(?:\.\d{1,40})?|\.\d{1,40}"
NUMBER = rf"""(?:
    (?P<denominator>{_HAN})分之(?P<numerator>{_HAN})
  | (?<![/⁄\d.])(?:(?P<whole>\d{{1,9}})\s)?(?P<top>{_DIGITS})\s?[/⁄]\s?(?=[\d.]*[1-9])(?P<bottom>\d{{1,40}}(?:\.\d{{1,40}})?)(?![/⁄\d]|\.\d)
  | (?P<digits>{_DIGITS})(?:\s?[×x*·]\s?10\^(?P<ten>[+-]?\d{{1,2}})|[eE](?P<exponent>[+-]?\d{{1,2}})(?!\w)|\^(?P<power>-?\d{{1,2}}))?
  | (?P<english>(?i:{_ENGLISH}))
  | (?P<chinese>{_HAN})
)"""
"""One number, to be compiled with ``re.VERBOSE``; :func:`number_of` reads the match."""

# A letter is a scale only where it touches the number ("5k", "$5M"); small letters that are units too, after a currency alone.
_LETTERS = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
_ABBREVIATIONS = {"mn": 10**6, "bn": 10**9, "tn": 10**12}
_MONEY_LETTERS = {"m": 10**6, "mm": 10**6, "b": 10**9}
_SCALES = {**_LARGE, **_HAN_TENS, **_HAN_LARGE, **_LETTERS, **_ABBREVIATIONS, **_MONEY_LETTERS}
_SCALE = (
    rf"(?:[\s-]?(?i:{'|'.join(_LARGE)})s?\b){{1,3}}|(?:[{''.join(_LETTERS)}]|\s?(?i:{'|'.join(_ABBREVIATIONS)}))(?![A-Za-z])"
    r"|\s?(?:[十百千万亿](?!(?<=[百千])[克米瓦卡帕焦伏赫分])){1,3}"
)
SCALE = re.compile(_SCALE)
"""What multiplies the number before it: million, bn, k, 万, 百万."""
MONEY_SCALE = re.compile(rf"{_SCALE}|\s?(?:{'|'.join(_MONEY_LETTERS)})(?![A-Za-z])")
"""The same behind an amount of money, where m is a million."""


class Number(NamedTuple):
    """A value and the size of its last digit as written; ``step`` is 0 where it is exact: words and fractions."""

    value: Decimal
    step: Decimal


def number_of(match: re.Match[str]) -> Number:
    """Return the number that :data:`NUMBER` matched."""
    if match["digits"]:
        return _in_digits(match)
    if match["bottom"]:
        return Number(Decimal(match["whole"] or 0) + Decimal(match["top"].replace(",", "")) / Decimal(match["bottom"]), Decimal(0))
    if match["denominator"]:
        below = chinese_value(match["denominator"])
        return Number(chinese_value(match["numerator"]) / below if below else Decimal(0), Decimal(0))
    return Number(english_value(match["english"]) if match["english"] else chinese_value(match["chinese"]), Decimal(0))


def scale_of(text: str) -> Decimal:
    """Return the factor that :data:`SCALE` or :data:`MONEY_SCALE` matched as ``text``."""
    factor = Decimal(1)
    for word in re.findall(r"[A-Za-z]+|[十百千万亿]", text):
        plain = word.lower().removesuffix("s")
        factor *= _SCALES[word if word in _SCALES else plain]
    return factor


def english_value(words: str) -> Decimal:
    """Return the value of an English number: "two hundred and five", "three quarters", "two and a half"."""
    tokens = [token for token in re.split(r"[-\s,]+", words.lower()) if token]
    half = Decimal(0)
    if tokens[-3:] == ["and", "a", "half"]:
        tokens, half = tokens[:-3], Decimal("0.5")
    part = _PARTS.get(tokens[-1]) or _PARTS.get(tokens[-1].removesuffix("s"))
    if part is not None:
        return Decimal(_SMALL[tokens[0]] if len(tokens) > 1 else 1) / part
    total = group = 0
    for token in tokens:
        if token == "hundred":
            group *= 100
        elif token in _LARGE:
            total, group = total + group * _LARGE[token], 0
        elif token != "and":
            group += _SMALL[token]
    return total + group + half


def chinese_value(numeral: str) -> Decimal:
    """Return the value of a Chinese number: by place (二〇一九), by unit (三十五万), short for it (两万五 is 25,000), with decimals (三点五万)."""
    if numeral == "半":
        return Decimal("0.5")
    whole, point, rest = numeral.partition("点")
    if not point:
        return Decimal(_by_place(whole) if set(whole) <= set(_HAN_ONES) else _by_unit(whole))
    decimals = rest.rstrip("万亿")
    return Decimal(f"{chinese_value(whole)}.{_by_place(decimals):0{len(decimals)}d}") * scale_of(rest[len(decimals) :])


def _in_digits(match: re.Match[str]) -> Number:
    value = Decimal(match["digits"].replace(",", ""))
    if match["power"]:
        return Number(value ** int(match["power"]) if value else value, Decimal(0))
    step = Decimal(1).scaleb(int(value.as_tuple().exponent))
    shift = int(match["ten"] or match["exponent"] or 0)
    return Number(value.scaleb(shift), step.scaleb(shift))


def _by_place(digits: str) -> int:
    return int("".join(str(_HAN_ONES[digit]) for digit in digits))


def _by_unit(numeral: str) -> int:
    total = section = digit = 0
    for at, sign in enumerate(numeral):
        if sign in _HAN_ONES:
            digit = _HAN_ONES[sign]
            above = int(scale_of(numeral[at - 1])) if at else 1
            if at == len(numeral) - 1 and above >= 100:
                digit *= above // 10  # 两万五: the last digit stands for the next lower unit
        elif sign in _HAN_TENS:
            section, digit = section + (digit or 1) * _HAN_TENS[sign], 0
        elif sign == "万":
            total, section, digit = total + (section + digit) * _HAN_LARGE[sign], 0, 0
        else:
            total, section, digit = (total + section + digit) * _HAN_LARGE[sign], 0, 0
    return total + section + digit
