"""Sentence boundaries in English and Chinese text, as character spans. Knows nothing of documents or models.

Rules, not a model: a boundary must fall on the same character in every run, since citations point at it.
"""

from __future__ import annotations

import re

from core.types import Span

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st vs etc inc ltd co corp llc plc no nos fig figs eq eqs sec ch vol pp p ed eds al approx dept est "
    "e.g i.e a.m p.m u.s u.k u.n d.c ph.d m.d b.sc m.sc jan feb mar apr jun jul aug sep sept oct nov dec cf ca resp".split()
)
_CLOSERS = "\"'”’»)]}）】」』》"
_END = re.compile(r"[.!?…]+|[。！？；]+")
_WORD_BEFORE = re.compile(r"[\w.]+$")
_BRACKETS = {"(": ")", "（": "）"}
_MAX_BRACKET = 200
"""A bracket that stays open for longer than this was never meant to be closed."""
_GOES_ON = frozenset("+-−×*/=<>≤≥,;:，、；：")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


def _ends_sentence(text: str, start: int, end: int) -> bool:
    mark = text[start:end]
    if mark[0] in "。！？；":
        return True
    following = text[end : end + 1]
    if following and not following.isspace() and following not in _CLOSERS and ord(following) < 0x2E80:
        return False  # 3.5, e.g., www.example.org, "...and"
    if mark in {"...", "…"}:
        # "1, 1, 2, 3, ... and so on" and "a + b + ... + z" go on; "I waited... Then he came." does not.
        before_mark, after_mark = text[max(0, start - 4) : start].rstrip()[-1:], text[end : end + 4].lstrip()[:1]
        return not (before_mark in _GOES_ON or after_mark in _GOES_ON or after_mark.islower() or after_mark.isdigit())
    if mark != ".":
        return True
    before = _WORD_BEFORE.search(text, max(0, start - 24), start)
    word = before.group().lower().lstrip(".") if before else ""
    rest = text[end : end + 4].lstrip()
    if word in _ABBREVIATIONS:
        # "etc. The" and "a.m. The" may end a sentence; titles and references never do.
        return word in {"etc", "a.m", "p.m", "u.s", "u.k", "al"} and bool(rest) and rest[0].isupper()
    if len(word) == 1 and word.isalpha() and word not in "aix":
        return not (rest and rest[0].isupper())  # an initial: "J. Smith"
    if word.isdigit() and (start - len(word) == 0 or text[start - len(word) - 1] == "\n"):
        return False  # "1. First item"
    return not (rest and rest[0].islower())


def _inside_bracket(text: str, begin: int, at: int, edge: int) -> bool:
    """Whether a bracket opened since ``begin`` is still open at ``at`` and closed soon after."""
    for opener, closer in _BRACKETS.items():
        opened = text.rfind(opener, max(begin, at - _MAX_BRACKET), at)
        if opened >= 0 and text.rfind(closer, opened, at) < 0:
            closed = text.find(closer, at, min(edge, opened + _MAX_BRACKET))
            # A closer right behind the mark belongs to the sentence anyway.
            if closed > at:
                return True
    return False


def sentence_spans(text: str, *, start: int = 0, end: int | None = None) -> list[Span]:
    """Split ``text[start:end]`` into sentences.

    Single line breaks count as spaces (PDF lines break anywhere); a blank line always ends a sentence.

    Returns:
        Spans in the coordinates of ``text``, in order, not overlapping, without surrounding white space; together they cover
        every character that is not white space.
    """
    stop = len(text) if end is None else end
    spans: list[Span] = []
    at = start
    while at < stop:
        paragraph = _PARAGRAPH.search(text, at, stop)
        edge = paragraph.start() if paragraph else stop
        begin = at
        for mark in _END.finditer(text, at, edge):
            if mark.start() < begin or not _ends_sentence(text, mark.start(), min(mark.end(), edge)) or _inside_bracket(text, begin, mark.end(), edge):
                continue
            close = mark.end()
            while close < edge and text[close] in _CLOSERS:
                close += 1
            _push(spans, text, begin, close)
            begin = close
        _push(spans, text, begin, edge)
        at = paragraph.end() if paragraph else stop
    return spans


def _push(spans: list[Span], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if end > start:
        spans.append(Span(start=start, end=end))
