"""A promise about wrong answers holds as often as it says; confidences that tell nothing buy no coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.stats import binom

from core.errors import UsageError
from evals.risk_control import NEVER, controlled_threshold, least_answers


def drawn(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Confidences c in [0, 1] of which a share 0.4 (1 − c) is wrong: above t, 0.2 (1 − t) of the answers are."""
    chance = np.random.default_rng(seed)
    confidences = chance.random(n)
    return confidences, chance.random(n) < 0.4 * (1 - confidences)


def test_promise_fails_no_more_often_than_it_may() -> None:
    broken, answered = 0, []
    for seed in range(400):
        found = controlled_threshold(*map(np.ndarray.tolist, drawn(seed)), risk=0.1, delta=0.1)
        broken += 0.2 * (1 - min(found.value, 1.0)) > 0.1
        answered.append(found.answered / 200)
    # The bar is 10 of 100 and what 400 draws leave to chance. With full knowledge the threshold would be 0.5, and half be answered.
    assert broken <= binom.ppf(0.999, 400, 0.1)
    assert np.mean(answered) > 0.1


def test_confidences_that_say_nothing_answer_almost_nothing() -> None:
    answered = 0
    for seed in range(50):
        confidences, wrong = drawn(seed)
        np.random.default_rng(seed + 1_000).shuffle(wrong)
        answered += controlled_threshold(confidences.tolist(), wrong.tolist(), risk=0.05, delta=0.1).answered
    assert answered / (50 * 200) < 0.02


def test_least_answers_by_hand() -> None:
    # 0.95^45 = 0.0994 and 0.95^44 = 0.1047.
    assert least_answers(0.05, 0.1) == 45
    right = [0.9] * 44
    assert controlled_threshold(right, [False] * 44, risk=0.05) == NEVER
    found = controlled_threshold([*right, 0.8], [False] * 45, risk=0.05)
    assert (found.value, found.answered, found.wrong) == (0.8, 45, 0) and found.p == pytest.approx(0.95**45)


def test_threshold_lets_answers_of_equal_confidence_through_together() -> None:
    found = controlled_threshold([0.9] * 60 + [0.5] * 60, [False] * 60 + [True] * 60, risk=0.05)
    assert (found.value, found.answered, found.wrong) == (0.9, 60, 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=150), st.floats(0.02, 0.5))
@examples(max_examples=100, deadline=None)
def test_threshold_keeps_the_promise_on_its_own_items_and_does_not_depend_on_their_order(items: list[tuple[float, bool]], risk: float) -> None:
    found, turned = (controlled_threshold([c for c, _ in order], [w for _, w in order], risk=risk) for order in (items, items[::-1]))
    assert found == turned
    through = [w for c, w in items if c >= found.value]
    assert (found.answered, found.wrong) == (len(through), sum(through))
    assert not through or sum(through) / len(through) <= risk


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=60, max_size=150))
@examples(max_examples=60, deadline=None)
def test_stricter_promise_never_answers_more(items: list[tuple[float, bool]]) -> None:
    confidences, wrong = [c for c, _ in items], [w for _, w in items]
    loose = controlled_threshold(confidences, wrong, risk=0.2, delta=0.2)
    assert controlled_threshold(confidences, wrong, risk=0.2, delta=0.05).answered <= loose.answered or loose == NEVER


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(UsageError, match="lie between 0 and 1"):
        controlled_threshold([0.5], [True], risk=0)
    with pytest.raises(UsageError, match="needs one outcome, not 1 and 0"):
        controlled_threshold([0.5], [], risk=0.1)
