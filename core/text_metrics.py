"""Metrics of texts against reference texts, as the official scripts of SQuAD (English) and CMRC 2018 (Chinese) compare them, and sacrebleu's.

Knows nothing of meaning nor of quantities.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from core.errors import UsageError
from core.text import normalize
from core.types import Frozen, Language

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_SEGMENT = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")
_BESIDE_HAN = re.compile(rf"(?<=[{_HAN}])\s+|\s+(?=[{_HAN}])")


class CorpusScore(Frozen):
    """A score of a set of texts, from 0 to 100, and the signature that says how it was computed."""

    value: float
    signature: str


def normalize_answer(text: str) -> str:
    """Return a text as exact match compares it: case-folded, without punctuation, with single spaces; English also without articles.

    Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, and Cui et al., "A Span-Extraction Dataset for Chinese
    Machine Reading Comprehension", 2019, by their evaluation scripts; unlike those, in NFKC and without the punctuation of either language in
    both. Spaces beside Chinese characters mean nothing and go.
    """
    plain = "".join(" " if sign.isspace() else sign for sign in normalize(text) if not _is_punctuation(sign))
    plain = _BESIDE_HAN.sub("", plain.strip())
    return " ".join((plain if re.search(f"[{_HAN}]", plain) else _ARTICLE.sub(" ", plain)).split())


def exact_match(expected: Sequence[str], text: str) -> bool:
    """Whether a text is one of the expected answers, both as :func:`normalize_answer` leaves them.

    No expected answer, or empty ones alone, expect no answer: then only an empty text matches (SQuAD 2.0, Rajpurkar et al., 2018).
    """
    return normalize_answer(text) in _references(expected)


def answer_f1(expected: Sequence[str], text: str, lang: Language) -> float:
    """Return the F1 of a text against the expected answer that it fits best.

    English: words in common, repeats counted (SQuAD). Chinese: the longest run in common of segments, which are single Chinese characters and
    runs of anything else (CMRC 2018). No expected answer: 1 for an empty text, else 0, as in :func:`exact_match`.
    """
    given = _segments(text, lang)
    return max(_f1(_segments(reference, lang), given, lang) for reference in _references(expected))


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], lang: Language) -> CorpusScore:
    """Return corpus BLEU (Papineni et al., 2002) by sacrebleu (Post, 2018): its ``zh`` tokenizer for Chinese, ``13a`` else.

    Args:
        hypotheses: one text per item.
        references: one or more texts per item.
        lang: language of all.

    Raises:
        UsageError: no texts, unlike numbers of them, or an item without a reference.
    """
    from sacrebleu.metrics.bleu import BLEU

    return _corpus_score(BLEU(tokenize="zh" if lang == "zh" else "13a"), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]], lang: Language) -> CorpusScore:
    """Return corpus chrF2 (Popović, 2015) by sacrebleu: F of up to six characters in a row that weighs recall twice.

    Args:
        hypotheses: one text per item.
        references: one or more texts per item.
        lang: makes no difference, since characters need no tokenizer; here so that it is called as :func:`bleu` is.

    Raises:
        UsageError: no texts, unlike numbers of them, or an item without a reference.
    """
    from sacrebleu.metrics.chrf import CHRF

    return _corpus_score(CHRF(), hypotheses, references)


def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")


def _references(expected: Sequence[str]) -> list[str]:
    return [plain for text in expected if (plain := normalize_answer(text))] or [""]


def _segments(text: str, lang: Language) -> list[str]:
    plain = normalize_answer(text)
    return _SEGMENT.findall(plain) if lang == "zh" else plain.split()


def _f1(expected: list[str], given: list[str], lang: Language) -> float:
    if not expected or not given:
        return float(expected == given)
    run = SequenceMatcher(None, expected, given, autojunk=False)
    shared = run.find_longest_match().size if lang == "zh" else (Counter(expected) & Counter(given)).total()
    return 2 * shared / (len(expected) + len(given))


def _corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    if not hypotheses or len(hypotheses) != len(references):
        raise UsageError(f"a metric compares two lists of one length, at least 1; these have {len(hypotheses)} and {len(references)}")
    if not all(references):
        raise UsageError("every item needs at least one reference")
    streams = [list(stream) for stream in zip_longest(*references)]
    score = metric.corpus_score(list(hypotheses), streams).score
    return CorpusScore(value=float(score), signature=str(metric.get_signature()))
