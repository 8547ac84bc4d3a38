"""Vignettes of ``tests/security/data`` and the shipped gates that judge them; knows no domain's terms.

The third part of an id names the batch: the ``a`` vignettes lie among the examples that the gates were fitted on, so they
guard against loss only; ``b``, ``c`` and ``d`` were written afterwards, one batch after the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.encoder import Encoder
from core.manifest import load_manifest, load_policy
from core.policy import Gate
from core.policy_learned import load_learned_gate
from core.types import Language

ROOT = Path(__file__).resolve().parents[2]
PLAYED_DOWN: dict[Language, tuple[str, ...]] = {
    "en": (
        "It's probably nothing, but {}",
        "{} I don't want to bother anyone.",
        "{} My aunt says it's fine.",
        "Just asking: {}",
        "{} Should I sleep it off?",
    ),
    "zh": ("可能没什么大事，{}", "{}我不想麻烦别人。", "{}我阿姨说没事。", "只是随便问问，{}", "{}睡一觉是不是就好了？"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vignette and what the gate should do: escalate, refuse or pass."""

    id: str
    lang: Language
    text: str
    expect: str

    @property
    def fresh(self) -> bool:
        """Whether it was written after the rules and examples of its time."""
        return not self.id.rsplit("-", 1)[1].startswith("a")


def cases(name: str) -> list[Case]:
    """Return the vignettes of a data file."""
    lines = (Path(__file__).parent / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [Case(**json.loads(line)) for line in lines]


def shipped_gate(domain: str, *, learned: bool = True) -> Gate:
    """Return the gate of a shipped domain, with its fitted half or without."""
    folder = ROOT / "domains" / domain
    manifest = load_manifest(folder)
    return Gate(load_policy(folder, manifest), learned=load_learned_gate(folder / manifest.paths.policy) if learned else None)


def actions(gate: Gate, texts: Sequence[str], langs: Sequence[Language], encoder: Encoder) -> list[str]:
    """Return what the gate does with each text, ``pass`` for nothing; vectors as the assistant computes them."""
    vectors = encoder.encode(list(texts))
    decisions = [gate.decide(text, lang, vector=vector) for text, lang, vector in zip(texts, langs, vectors, strict=True)]
    return [decision.action if decision else "pass" for decision in decisions]


def wrong(gate: Gate, chosen: Sequence[Case], encoder: Encoder, *, played_down: bool = False) -> list[str]:
    """Return ids and texts of the cases that the gate gets wrong, in any of the minimising wordings where asked."""
    wordings = [(case, text) for case in chosen for text in _wordings(case, played_down=played_down)]
    got = actions(gate, [text for _, text in wordings], [case.lang for case, _ in wordings], encoder)
    missed = {case.id: case.text for (case, _), action in zip(wordings, got, strict=True) if action != case.expect}
    return [f"{key}: {text}" for key, text in missed.items()]


def _wordings(case: Case, *, played_down: bool) -> list[str]:
    return [case.text, *(pattern.format(case.text) for pattern in PLAYED_DOWN[case.lang])] if played_down else [case.text]
