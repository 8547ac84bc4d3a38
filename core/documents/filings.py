"""Names a company filing from its first pages: company, form, period. Knows the wording of US SEC covers, nothing else.

The wording is fixed by the SEC's own forms (Form 10-K, 10-Q and 8-K, cover pages); earnings releases and annual reports to
shareholders follow custom, so only their plain cases are recognised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.types import Page

_COVER_PAGES = 12
_FIRST_PAGES = 3
_MAX_CHARS = 6_000
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DATE = rf"(?:{_MONTHS})\s+\d{{1,2}}\s*,?\s*\d{{4}}"
_SEC = re.compile(r"securities\s+and\s+exchange\s+commission", re.I)
_FORM = re.compile(r"\bform\s+(10-?\s?K|10-?\s?Q|8-?\s?K|20-?\s?F|6-?\s?K)(?:\s*/\s*A)?\b", re.I)
_FISCAL_YEAR = re.compile(rf"for\s+the\s+(?:fis\s?cal\s+)?year\s+ended:?\s+({_DATE})", re.I)
_QUARTER = re.compile(rf"for\s+the\s+(?:(?:fiscal\s+)?quarterly\s+period|(?:fiscal\s+)?quarter|period)\s+ended:?\s+(?:commission\s+file\s+)?({_DATE})", re.I)
_REPORT_DATE = re.compile(rf"date\s+of\s+report\s*(?:\([^)]*\))?\s*:?[\s_]*({_DATE})", re.I)
_COVER = re.compile(r"pursuant\s+to\s+section\s+13", re.I)
_COLUMNS = re.compile(r"^\d{1,3}-\d{3,6}\s+(?P<name>[A-Z][^\d\n]{2,60}?)\s+(?:[A-Z][a-z]+)\s+\d\d-\d{7}", re.M)
_EVENT_DATE = re.compile(rf"({_DATE})\s*\(?\s*date\s+of\s+(?:earliest|report)", re.I)
_REGISTRANT = re.compile(r"\(?\s*exact\s+name\s+of\s+(?:the\s+)?(?:registrant|company)", re.I)
_FILE_NUMBER = re.compile(r"commission\s+file\s+(?:number|no)s?\s*\.?\s*:?\s*(?:0*\d+-\d+\.?)?", re.I)
_NOISE = re.compile(
    rf"^[\W_]*$|commission\s+file|file\s+n(?:umber|o\b)|transition\s+period|^\W*(?:or|mark\s+one)\W*$|^{_DATE}\W*$|^[\d\W]+$|\bform\s+\d"
    r"|exchange\s+act|date\s+of\s+(?:report|earliest)|^table\s+of\s+contents|^washington,?\s+d|^current\s+report|^pursuant|fiscal\s+year"
    r"|quarterly\s+period|^to$|state\s+or\s+other|incorporation|^(?:irs\s+)?employer|^number$|identification",
    re.I,
)
_NAME_TAIL = re.compile(r"^(?:&|and\b|of\b|company\b|corporation\b|incorporated\b|inc\b|corp\b|co\b|ltd\b|limited\b|plc\b|holdings\b|group\b|services\b)", re.I)
_LEADING_NOISE = re.compile(r"^[\W_]*(?:(?:0*\d{1,3}-\d{3,6})[\W_]+)?")
_RELEASE = re.compile(
    r"^\W*(?P<company>[A-Z0-9][\w&.,'’\- ]{1,60}?)\s+(?:reports|announces|delivers|posts|releases)\s+(?:[\w\-]+\s+){0,4}?"
    r"(?P<period>(?:record\s+)?(?:(?:first|second|third|fourth)[\s-]quarter|q[1-4]|full[\s-]year|fiscal|\d{4})\b[^.;]{0,60}?)\s*"
    r"(?:(?:financial|operating|earnings)\s+)*(?:results|earnings)",
    re.I | re.M,
)
_ANNUAL_REPORT = re.compile(r"\b((?:19|20)\d\d)\s+annual\s+report\b|\bannual\s+report\s+((?:19|20)\d\d)\b", re.I)
_STATE_NAMES = (
    "alabama alaska arizona arkansas california colorado connecticut delaware florida georgia hawaii idaho illinois indiana iowa kansas "
    "kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon "
    "pennsylvania tennessee texas utah vermont virginia washington wisconsin wyoming jersey"
).split()
_STATE = re.compile(rf"^(?:{'|'.join(_STATE_NAMES)}|new\s+(?:york|jersey|mexico|hampshire)|(?:north|south)\s+\w+)\b", re.I)


def filing_context(pages: Sequence[Page]) -> str:
    """Return ``company · form · period``, for example ``Apple Inc. · 10-Q · quarter ended July 1, 2023``.

    Parts that the pages do not name are left out; a document that is no filing gives an empty string.
    """
    first = "\n".join(_plain(page.text) for page in pages[:_FIRST_PAGES])
    if release := _RELEASE.search(first[:1_200]):
        company = re.sub(r"^(?:the\s+)?news\s+release\W*", "", _squeeze(release["company"]), flags=re.I)
        return _join(company, "earnings release", re.sub(r"(?i)\s+(?:financial\s+and|and)$", "", _squeeze(release["period"])).strip(" ,-"))
    for page in pages[:_COVER_PAGES]:
        text = _plain(page.text)
        if _SEC.search(text[:2_000]) and _COVER.search(text) and (form := _FORM.search(text)):
            return _cover(text, re.sub(r"\s", "", form.group(1)).upper())
    if report := _ANNUAL_REPORT.search(first[:1_500]):
        return _join("annual report", report.group(1) or report.group(2))
    return ""


def _cover(text: str, form: str) -> str:
    form = form if "-" in form else re.sub(r"^(\d+)", r"\1-", form)
    period = ""
    if form in ("10-K", "20-F") and (found := _FISCAL_YEAR.search(text)):
        period = f"fiscal year ended {_date(found.group(1))}"
    elif form == "10-Q" and (found := _QUARTER.search(text)):
        period = f"quarter ended {_date(found.group(1))}"
    elif form in ("8-K", "6-K") and (found := _REPORT_DATE.search(text) or _EVENT_DATE.search(text)):
        period = _date(found.group(1))
    return _join(_company(text), form, period)


def _company(text: str) -> str:
    """Return the words before "(Exact name of registrant …)"; where there are none, those after the file number."""
    found = _REGISTRANT.search(text)
    if found:
        before = text[: found.start()]
        lines = [line.strip(" _\t*") for line in before.split("\n")]
        lines = [line for line in lines if line][-12:]
        if sum(len(line.split()) == 1 for line in lines) >= 10:
            # One word per line: the name is what follows the commission file number.
            joined = " ".join(before.split())
            return _name(re.split(rf"{_FILE_NUMBER.pattern}|reported\)\s*:?\s*{_DATE}", joined, flags=re.I)[-1])
        if lines and (name := _last_name(lines)):
            return name
    if found and (row := _COLUMNS.search(text, found.end())):
        return _name(row["name"])
    number = _FILE_NUMBER.search(text)
    for line in (text[number.end() :] if number else "").split("\n")[:6]:
        name = _name(line)
        if name and not _NOISE.search(name) and not _REGISTRANT.search(name) and not _STATE.search(name):
            return name
    return ""


def _last_name(lines: list[str]) -> str:
    name = lines[-1]
    if len(lines) > 1 and _NAME_TAIL.search(name) and not _NOISE.search(lines[-2]):
        name = f"{lines[-2]} {name}"
    # "Commission file number 1-9595 ____ BEST BUY CO., INC." on one line.
    name = _FILE_NUMBER.split(name)[-1] if _FILE_NUMBER.search(name) else re.split(r"_{3,}", name)[-1]
    name = _name(name)
    return "" if _NOISE.search(name) else name


def _name(text: str) -> str:
    name = _squeeze(_LEADING_NOISE.sub("", re.split(r"_{3,}", text.strip(" _"))[-1])).strip(" _-–—*:;")
    if re.search(r"^\d+\s|\d{5}|\b(?:street|avenue|boulevard)\b", name, re.I):  # an address
        return ""
    return name if 2 <= len(name) <= 80 and re.search(r"[A-Za-z]{2}|3M", name) else ""


def _date(text: str) -> str:
    words = re.sub(r"\s*,\s*", ", ", _squeeze(text))
    if not words.isupper():
        return words
    return words.capitalize()


def _plain(text: str) -> str:
    return text[:_MAX_CHARS].replace("\u00a0", " ")


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _join(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
