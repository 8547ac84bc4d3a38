"""How good answers are that a language model wrote: perplexity, exact match, F1, BLEU, chrF and citations, before training and after.

Knows no model: it is given what each wrote.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import numpy as np

from core.models.drafting import to_draft
from core.text_metrics import answer_f1, bleu, chrf, exact_match
from core.training.instructions import Prompted
from core.training.pretraining import perplexity
from core.training.report import Figure, Sample, paired_p
from core.types import LANGUAGES, Language

SAMPLES = 20
_MARKER = re.compile(r"\s*\[(\d{1,3})\]")
Measured = tuple[Sequence[tuple[float, int]], Sequence[str]]
"""Summed negative log-likelihood, in nats, and tokens of each held-out answer; what was written to each of the questions asked."""


def said(text: str) -> tuple[str, frozenset[int]]:
    """Return what a model's text says without the numbers of passages, and those numbers; "I don't know." says nothing."""
    draft = to_draft(text).text
    return _MARKER.sub("", draft).strip(), frozenset(int(number) for number in _MARKER.findall(draft))


def figures(test: Sequence[Prompted], asked: Sequence[Prompted], before: Measured, after: Measured) -> tuple[Figure, ...]:
    """Return the figures of all held-out questions and, where there are two languages, of each.

    Perplexity is that of all held-out answers. Exact match and F1 are those of :mod:`core.text_metrics`; where nothing answers, saying
    nothing is right. BLEU and chrF, from 0 to 100, compare what is answered in one language. ``citations`` is the share of questions with
    passages whose answer names those that answer and no other.

    Args:
        test: all held-out questions.
        asked: those that were answered in words.
        before: of the base.
        after: of the trained model.
    """
    langs: list[Language] = [lang for lang in LANGUAGES if any(one.lang == lang for one in test)]
    found = _group("all", test, asked, before, after, langs)
    if len(langs) > 1:
        for lang in langs:
            found += _group(lang, test, asked, before, after, [lang])
    return tuple(found)


def _group(name: str, test: Sequence[Prompted], asked: Sequence[Prompted], before: Measured, after: Measured, langs: Sequence[Language]) -> list[Figure]:
    rows = [n for n, one in enumerate(test) if one.lang in langs]
    tokens = sum(before[0][n][1] for n in rows)
    old, new = (perplexity(sum(part[0][n][0] for n in rows), tokens) for part in (before, after))
    found = [Figure(metric="perplexity", group=name, n=tokens, before=round(old, 3), after=round(new, 3))]
    chosen = [n for n, one in enumerate(asked) if one.lang in langs]
    if not chosen:
        return found
    triples = [(asked[n], before[1][n], after[1][n]) for n in chosen]
    found += [_matches(name, triples), _mean("f1", name, triples, lambda one, text: answer_f1([one.plain], said(text)[0], one.lang))]
    shown = [triple for triple in triples if triple[0].passages]
    if shown:
        found.append(_mean("citations", name, shown, lambda one, text: float(said(text)[1] == one.numbers)))
    answered = [n for n in chosen if asked[n].plain]
    if len(langs) == 1 and answered:
        for metric, score in (("bleu", bleu), ("chrf", chrf)):
            one, two = (score([said(part[1][n])[0] for n in answered], [[asked[n].plain] for n in answered], langs[0]) for part in (before, after))
            found.append(Figure(metric=metric, group=name, n=len(answered), before=round(one.value, 2), after=round(two.value, 2)))
    return found


_Triples = Sequence[tuple[Prompted, str, str]]


def _mean(metric: str, group: str, rows: _Triples, score: Callable[[Prompted, str], float]) -> Figure:
    old, new = (float(np.mean([score(one, texts[place]) for one, *texts in rows])) for place in (0, 1))
    return Figure(metric=metric, group=group, n=len(rows), before=round(old, 4), after=round(new, 4))


def _matches(group: str, rows: _Triples) -> Figure:
    """Return exact match with the two-sided exact McNemar test."""
    right = np.array([[exact_match([one.plain], said(text)[0]) for text in (old, new)] for one, old, new in rows])
    better, worse = int((right[:, 1] & ~right[:, 0]).sum()), int((right[:, 0] & ~right[:, 1]).sum())
    shares = right.mean(axis=0)
    return Figure(
        metric="exact_match", group=group, n=len(rows), before=round(float(shares[0]), 4), after=round(float(shares[1]), 4), better=better, worse=worse,
        p=paired_p(better, worse),
    )  # fmt: skip


def samples(asked: Sequence[Prompted], before: Measured, after: Measured, *, seed: int = 0) -> tuple[Sample, ...]:
    """Return up to :data:`SAMPLES` questions with what was expected and what each model wrote."""
    chosen = sorted(random.Random(seed).sample(range(len(asked)), min(SAMPLES, len(asked))))
    return tuple(Sample(input=asked[n].question, expected=asked[n].answer, before=before[1][n], after=after[1][n]) for n in chosen)
