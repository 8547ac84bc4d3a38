"""Units of measure and money: what they measure, their size, and their names in English and Chinese. Knows nothing of numbers in text.

Sizes are exact by definition (BIPM, The International System of Units, 9th edition, 2019; for inch and pound the agreement of 1959). A month is
no number of days, a business day no day and a currency no other: each such pair is of two kinds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

# Kind | symbol, matched as written | size in the kind's base unit | names, matched in either case, in singular and plural.
_TABLE = """
mass | g | 1 | gram, gramme, 克
mass | mg | 0.001 | milligram, 毫克
mass | μg | 0.000001 | microgram, mcg, ug, 微克
mass | kg | 1000 | kilogram, kilo, 千克, 公斤
mass | t | 1000000 | tonne, 吨
mass | 斤 | 500 | 市斤
mass | lb | 453.59237 | lbs
mass | oz | 28.349523125 | ounce, 盎司
volume | L | 1 | liter, litre, l, 升
volume | dL | 0.1 | deciliter, decilitre, dl, 分升
volume | cL | 0.01 | centiliter, centilitre, cl, 厘升
volume | mL | 0.001 | milliliter, millilitre, ml, cc, 毫升
volume | μL | 0.000001 | microliter, microlitre, 微升
length | m | 1 | meter, metre, 米
length | km | 1000 | kilometer, kilometre, 千米, 公里
length | cm | 0.01 | centimeter, centimetre, 厘米, 公分
length | mm | 0.001 | millimeter, millimetre, 毫米
length | μm | 0.000001 | micrometer, micrometre, micron, 微米
length | nm | 0.000000001 | nanometer, nanometre, 纳米
length | inch | 0.0254 | inches, 英寸
length | ft | 0.3048 | foot, feet, 英尺
length | mile | 1609.344 | 英里
area | m2 | 1 | square meter, square metre, 平方米
area | cm2 | 0.0001 | square centimeter, square centimetre, 平方厘米
area | km2 | 1000000 | square kilometer, square kilometre, 平方公里, 平方千米
time | ms | 0.001 | millisecond, 毫秒
time | s | 1 | second, sec, 秒钟, 秒
time | min | 60 | minute, 分钟
time | h | 3600 | hour, hr, 个小时, 小时, 个钟头, 钟头
time | d | 86400 | day, 天, 日
time | wk | 604800 | week, 周, 个星期, 星期, 个礼拜
calendar | mo | 1 | month, 个月
calendar | yr | 12 | year, 年, 岁, 周岁, 周年
working time | business day | 1 | working day, 个工作日, 工作日
working time | trading day | 1 | 个交易日, 交易日
amount | mol | 1 | mole, 摩尔
amount | mmol | 0.001 | millimole, 毫摩尔
amount | μmol | 0.000001 | micromole, umol, 微摩尔
energy | J | 1 | joule, 焦耳, 焦
energy | kJ | 1000 | kilojoule, 千焦
energy | MJ | 1000000 | megajoule, 兆焦
energy | Wh | 3600 | watt-hour, 瓦时
energy | kWh | 3600000 | kilowatt-hour, kilowatt hour, 千瓦时
energy | cal | 4.184 | calorie, 卡路里
energy | kcal | 4184 | kilocalorie, 千卡, 大卡
power | W | 1 | watt, 瓦特, 瓦
power | kW | 1000 | kilowatt, 千瓦
power | mW | 0.001 | milliwatt, 毫瓦
power | MW | 1000000 | megawatt, 兆瓦
power | GW | 1000000000 | gigawatt, 吉瓦
voltage | V | 1 | volt, 伏特, 伏
voltage | kV | 1000 | kilovolt, 千伏
voltage | mV | 0.001 | millivolt, 毫伏
current | A | 1 | ampere, amp, 安培
current | mA | 0.001 | milliampere, 毫安
resistance | Ω | 1 | ohm, 欧姆
resistance | kΩ | 1000 | kiloohm, 千欧
force | N | 1 | newton, 牛顿
frequency | Hz | 1 | hertz, 赫兹
frequency | kHz | 1000 | kilohertz, 千赫
frequency | MHz | 1000000 | megahertz, 兆赫
frequency | GHz | 1000000000 | gigahertz, 吉赫
pressure | Pa | 1 | pascal, 帕斯卡
pressure | kPa | 1000 | kilopascal, 千帕
pressure | mmHg | 133.322387415 | mm Hg, 毫米汞柱
pressure | atm | 101325 | atmosphere, 标准大气压
temperature | °C | 1 | degree celsius, degrees celsius, 摄氏度
temperature | °F | 5/9 | degree fahrenheit, degrees fahrenheit, 华氏度
activity | IU | 1 | 国际单位
level | dB | 1 | decibel, 分贝
percent | % | 1 | percent, per cent, pct
percent | 成 | 10 |
percent | ‰ | 0.1 | per mille, permille
percent | ‱ | 0.01 | permyriad
percentage point | pp | 1 | percentage point, 个百分点, 百分点
percentage point | bp | 0.01 | basis point, bps, 个基点, 基点
USD | USD | 1 | dollar, US dollar, U.S. dollar, 美元
EUR | EUR | 1 | euro, 欧元
GBP | GBP | 1 | 英镑
JPY | JPY | 1 | yen, 日元
CNY | CNY | 1 | RMB, yuan, renminbi, 元人民币, 元, 人民币
HKD | HKD | 1 | 港元, 港币
AUD | AUD | 1 | 澳元
CAD | CAD | 1 | 加元
SGD | SGD | 1 | 新加坡元
"""
_OFFSETS = {"°F": Decimal(-160) / 9}
CURRENCY_SIGNS = {"US$": "USD", "HK$": "HKD", "A$": "AUD", "C$": "CAD", "S$": "SGD", "$": "USD", "€": "EUR", "£": "GBP"}
"""Signs that stand before an amount; ``¥`` is not among them, since it is yuan or yen."""
CURRENCIES = frozenset({*CURRENCY_SIGNS.values(), "JPY", "CNY"})
# A Chinese unit of one sign is none at the head of another word.
_WORDS = {
    "升": "至到高级值",
    "日": "元本期",
    "年": "级",
    "元": "素件",
    "周": "边",
    "焦": "虑",
    "瓦": "解",
    "天": "然",
    "克": "服",
    "米": "饭粉",
    "成": "不功为人长本立员果熟绩",
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit; ``value * size + offset`` is in the base unit of its kind. A currency's kind is its ISO 4217 code."""

    symbol: str
    kind: str
    size: Decimal
    offset: Decimal = Decimal(0)


@lru_cache(maxsize=1)
def _names() -> dict[str, Unit]:
    """Return every unit by its symbol and, in lower case and singular, by its names."""
    found: dict[str, Unit] = {}
    for row in _TABLE.strip().splitlines():
        kind, symbol, size, names = (column.strip() for column in row.split("|"))
        whole, _, part = size.partition("/")
        unit = Unit(symbol=symbol, kind=kind, size=Decimal(whole) / Decimal(part or 1), offset=_OFFSETS.get(symbol, Decimal(0)))
        found[symbol] = unit
        found.update((name.strip().lower(), unit) for name in names.split(",") if name)
    return found


@lru_cache(maxsize=1)
def unit_pattern() -> re.Pattern[str]:
    """Return the pattern of a unit, the longest that fits; ``mg/dL`` and the like are one unit."""
    one = "|".join(_pattern_of(name) for name in sorted(_names(), key=lambda name: (-len(name), name)))
    return re.compile(rf"(?:{one})(?:\s?/\s?(?:{one}))*")


def _pattern_of(name: str) -> str:
    escaped = re.escape(name)
    if name in _WORDS:
        return f"{escaped}(?![{_WORDS[name]}])"
    if not (name[-1].isascii() and name[-1].isalnum()):
        return escaped
    symbol = _names()[name].symbol == name
    return (escaped if symbol and len(name) < 4 else rf"(?i:{escaped}s?)") + "(?![A-Za-z0-9])"


@lru_cache(maxsize=1_000)
def unit_of(text: str) -> Unit:
    """Return the unit that :func:`unit_pattern` matched as ``text``; of ``a/b`` the quotient.

    Raises:
        KeyError: there is no such unit.
    """
    first, *others = (_named(part.strip()) for part in text.split("/"))
    for other in others:
        first = Unit(symbol=f"{first.symbol}/{other.symbol}", kind=f"{first.kind}/{other.kind}", size=first.size / other.size)
    return first


def _named(name: str) -> Unit:
    plain = " ".join(name.lower().split())
    return next(_names()[each] for each in (name, plain, plain.removesuffix("s")) if each in _names())
