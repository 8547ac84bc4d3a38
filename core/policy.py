"""Deterministic gates before retrieval: emergencies, refusals, notices; and disclaimers after. Safety sits outside the model.

Rules combine the term groups of a domain's ``policy/rules.toml``; what they miss, the gate fitted on its examples may catch. Knows no
particular domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.documents.language import detect_language
from core.manifest import Policy, Rule
from core.policy_learned import LearnedGate
from core.policy_terms import TermMatcher
from core.text import normalize
from core.types import Language

Action = Literal["escalate", "refuse", "notice"]
_ORDER: dict[str, int] = {"escalate": 0, "refuse": 1, "notice": 2}
_MAX_CHARS = 20_000
OVERRULED_BELOW = 0.05
"""A rule that is not final gives way where the fitted gate's score for its action is lower."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a gate decided: the action, the rule that fired and the notice to show."""

    action: Action
    rule: str
    notice: str


class Gate:
    """The rules of one domain, compiled once. Terms of both languages are always tried, so mixed text cannot slip through."""

    def __init__(self, policy: Policy, *, learned: LearnedGate | None = None) -> None:
        self._policy = policy
        self._learned = learned

    @cached_property
    def _terms(self) -> TermMatcher:
        return TermMatcher(self._policy.groups)

    def decide(self, text: str, lang: Language, *, vector: NDArray[np.float32] | None = None) -> Decision | None:
        """Return what the first matching rule of the highest precedence says (escalate > refuse > notice), None if none does.

        Wording that plays a danger down cannot switch a rule off: only a rule's own ``none`` groups can, or the gate fitted on the domain's
        examples when it is all but certain that this is none of its dangers; a rule marked ``final`` it never overrules. What no rule
        catches, the fitted gate may.

        Args:
            text: the question.
            lang: the language of the notice.
            vector: the question's encoding (d,), unit norm, where there is one.
        """
        folded = " ".join(normalize(text[:_MAX_CHARS]).split())
        hits = self._terms.groups_in(folded)
        # In the language it is written in: words of another one would score as harmless.
        spoken = detect_language(folded)
        scores = self._learned.scores(folded, spoken, vector) if self._learned is not None else {}
        fired: Rule | None = None
        for rule in self._policy.rules:
            if fired is not None and _ORDER[rule.action] >= _ORDER[fired.action]:
                continue
            if hits.issuperset(rule.all) and hits.isdisjoint(rule.none) and not (vector is not None and self._overruled(rule, scores)):
                fired = rule
        seen = self._learned.labels(scores, spoken) if self._learned is not None else []
        recognised = sorted((entry for entry in self._policy.learned if entry.label in seen), key=lambda e: (_ORDER[e.action], seen.index(e.label)))
        if recognised and (fired is None or _ORDER[recognised[0].action] < _ORDER[fired.action]):
            entry = recognised[0]
            return Decision(action=entry.action, rule=f"learned-{entry.label}", notice=self._policy.notices[entry.notice].get(lang))
        if fired is None:
            return None
        return Decision(action=fired.action, rule=fired.id, notice=self._policy.notices[fired.notice].get(lang))

    def _overruled(self, rule: Rule, scores: dict[str, float]) -> bool:
        """Whether the fitted gate is all but certain that a rule fired on harmless words; it needs a label of that action."""
        likewise = [scores[entry.label] for entry in self._policy.learned if entry.action == rule.action and entry.label in scores]
        return not rule.final and bool(likewise) and max(likewise) < OVERRULED_BELOW

    def disclaimer(self, lang: Language) -> str:
        """Return the line shown under every answer of this domain, empty when it has none."""
        return self._policy.disclaimer.get(lang) if self._policy.disclaimer else ""
