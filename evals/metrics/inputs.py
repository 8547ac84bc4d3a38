"""What every metric asks of its input."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UsageError


def paired(first: Sequence[object], second: Sequence[object]) -> None:
    """Refuse two sequences that are empty or of unlike length.

    Raises:
        UsageError: they are.
    """
    if not first or len(first) != len(second):
        raise UsageError(f"a metric compares two lists of one length, at least 1; these have {len(first)} and {len(second)}")


def at_least_one(number: int, name: str) -> None:
    """Refuse a number below 1.

    Raises:
        UsageError: it is.
    """
    if number < 1:
        raise UsageError(f"{name} must be at least 1, not {number}")
