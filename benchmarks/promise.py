"""Whether the promise about wrong answers holds: thresholds fitted on a random half of a domain's ``test`` items, measured on the other half.

    python -m benchmarks.promise [--splits 200] [--risk 0.05] [--delta 0.1]

Prints for each domain in how many splits more than ``risk`` of the answers were wrong, beside what ``delta`` allows; mean coverage; and the same with
the confidences shuffled, when hardly anything may be answered. Fits and changes nothing.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace

from core.assistant import Assistant
from core.registry import discover
from core.settings import get_settings
from evals.calibration import Observation, observe
from evals.datasets import load_items
from evals.risk_control import controlled_threshold


def split(observations: Sequence[Observation], *, seed: int, risk: float, delta: float) -> tuple[float, float]:
    """Return the share of wrong answers and the coverage of the answerable on one half at the threshold fitted on the other."""
    order = random.Random(seed).sample(list(observations), len(observations))
    fitted, held = order[: len(order) // 2], order[len(order) // 2 :]
    threshold = controlled_threshold([one.confidence for one in fitted], [not one.right for one in fitted], risk=risk, delta=delta).value
    given = [one for one in held if one.confidence >= threshold]
    return sum(not one.right for one in given) / max(1, len(given)), sum(one.right for one in given) / max(1, sum(one.answerable for one in held))


def report(name: str, observations: Sequence[Observation], *, splits: int, risk: float, delta: float) -> str:
    """Return one line about a set of observations."""
    found = [split(observations, seed=seed, risk=risk, delta=delta) for seed in range(splits)]
    broken = sum(wrong > risk for wrong, _ in found) / splits
    return f"  {name:<22} over {risk:.0%} wrong in {broken:.1%} of {splits} splits, mean coverage {sum(coverage for _, coverage in found) / splits:.3f}"


def main() -> None:
    """Measure every domain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--delta", type=float, default=0.1)
    options = parser.parse_args()
    settings = get_settings()
    for domain in discover(settings).domains.values():
        items = [item for item in load_items(domain) if item.kind != "safety" or item.answerable]
        seen = observe(Assistant(domain, settings=settings), items)
        confidences = random.Random(1).sample([one.confidence for one in seen], len(seen))
        shuffled = [replace(one, confidence=confidence) for one, confidence in zip(seen, confidences, strict=True)]
        sys.stdout.write(f"{domain.name}: {len(seen)} items; {options.delta:.0%} of the splits allowed\n")
        for name, observations in (("as they are", seen), ("confidences shuffled", shuffled)):
            sys.stdout.write(report(name, observations, splits=options.splits, risk=options.risk, delta=options.delta) + "\n")


if __name__ == "__main__":
    main()
