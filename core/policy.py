"""Deterministic gates before retrieval: emergencies, refusals, notices; and disclaimers after. Safety sits outside the model.

Matches the terms of a domain's ``policy/rules.toml``; knows no particular domain. Terms become bounded, linear patterns: a
domain's files cannot bring regular expressions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.manifest import Policy, Rule
from core.policy_learned import LearnedGate
from core.text import normalize
from core.types import Language

Action = Literal["escalate", "refuse", "notice"]
_ORDER: dict[str, int] = {"escalate": 0, "refuse": 1, "notice": 2}
_MAX_CHARS = 20_000


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a gate decided: the action, the rule that fired and the notice to show."""

    action: Action
    rule: str
    notice: str


def _pattern(term: str, lang: Language) -> str:
    """Turn a term into a pattern: ``*`` ends a stem, ``..`` is a bounded gap; all else is literal."""
    term = normalize(term).strip()
    if lang == "zh":
        return r"[^。！？!?\n]{0,8}?".join(re.escape(part.strip()) for part in term.split("..") if part.strip())
    groups = []
    for part in term.split(".."):
        words = [re.escape(word[:-1]) + r"\w{0,20}" if word.endswith("*") else re.escape(word) for word in part.split()]
        if words:
            groups.append(r"[^\w.!?]{1,4}".join(words))
    # A gap's words and the marks between them share no character but an apostrophe inside a word: matching stays linear.
    return r"[^\w.!?]{1,4}(?:\w{1,30}(?:'\w{1,10})?[^\w.!?]{1,4}){0,4}?".join(groups) if groups else "(?!)"


class Gate:
    """The rules of one domain, compiled once. Terms of both languages are always tried, so mixed text cannot slip through."""

    def __init__(self, policy: Policy, *, learned: LearnedGate | None = None) -> None:
        self._policy = policy
        self._learned = learned

    @cached_property
    def _groups(self) -> dict[str, re.Pattern[str]]:
        compiled = {}
        for name, group in self._policy.groups.items():
            # One pair of boundaries around all English terms: the engine then rejects most terms by their first letter.
            words = [rf"(?<!\w)(?:{'|'.join(_pattern(term, 'en') for term in group.en)})(?!\w)"] if group.en else []
            compiled[name] = re.compile("|".join([*words, *(_pattern(term, "zh") for term in group.zh)]) or "(?!)")
        return compiled

    def decide(self, text: str, lang: Language, *, vector: NDArray[np.float32] | None = None) -> Decision | None:
        """Return what the first matching rule of the highest precedence says (escalate > refuse > notice), None if none does.

        Wording that plays a danger down cannot switch a rule off: only a rule's own ``none`` groups can, and a rule that
        must never be switched off has none. What no rule catches, the gate fitted on the domain's examples may.

        Args:
            text: the question.
            lang: the language of the notice, and of the fitted gate.
            vector: the question's encoding (d,), unit norm, where there is one.
        """
        folded = re.sub(r"\s+", " ", normalize(text[:_MAX_CHARS]))
        hits: dict[str, bool] = {}

        def has(group: str) -> bool:
            if group not in hits:
                hits[group] = self._groups[group].search(folded) is not None
            return hits[group]

        fired: Rule | None = None
        for rule in self._policy.rules:
            if fired is not None and _ORDER[rule.action] >= _ORDER[fired.action]:
                continue
            if all(has(group) for group in rule.all) and not any(has(group) for group in rule.none):
                fired = rule
        seen = self._learned.labels(folded, lang, vector) if self._learned is not None else []
        recognised = sorted((entry for entry in self._policy.learned if entry.label in seen), key=lambda e: (_ORDER[e.action], seen.index(e.label)))
        if recognised and (fired is None or _ORDER[recognised[0].action] < _ORDER[fired.action]):
            entry = recognised[0]
            return Decision(action=entry.action, rule=f"learned-{entry.label}", notice=self._policy.notices[entry.notice].get(lang))
        if fired is None:
            return None
        return Decision(action=fired.action, rule=fired.id, notice=self._policy.notices[fired.notice].get(lang))

    def disclaimer(self, lang: Language) -> str:
        """Return the line shown under every answer of this domain, empty when it has none."""
        return self._policy.disclaimer.get(lang) if self._policy.disclaimer else ""
