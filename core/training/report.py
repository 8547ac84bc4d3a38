"""What a training run reports, whatever it trained: data, curve, figures before and after, samples to read. Measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import UsageError
from core.training.checkpoint import Point, write_whole
from core.types import Frozen

REPORT = "report.json"


class DataCount(Frozen):
    """How many examples a data entry gave to each part, and which hash stands for them."""

    name: str
    license: str = ""
    attribution: str = ""
    url: str = ""
    train: int
    valid: int
    test: int
    leaks: int = 0
    """Examples left out because an eval item asks what they ask."""
    held_elsewhere: int = 0
    """Examples left out because another entry holds their question or text out."""
    sha256: str
    """Of all its examples, in order."""


class Figure(Frozen):
    """A metric on held-out examples, before training and after."""

    metric: str
    group: str = "all"
    """Which of the examples: all, or those of one data set, language or label."""
    n: int
    before: float | None = None
    after: float
    better: int | None = None
    """Examples that only the trained model gets right, where each is right or wrong."""
    worse: int | None = None
    p: float | None = None
    """Of the paired test of before against after."""


class Sample(Frozen):
    """A held-out example to read."""

    input: str
    expected: str
    before: str = ""
    after: str


class TrainingReport(Frozen):
    """``report.json`` of a finished run."""

    task: str
    domain: str = ""
    command: str
    recipe: dict[str, Any]
    base: str
    base_sha256: str = ""
    weights_sha256: str
    bytes: int
    """Of the trained weights."""
    seconds: float
    """Of training, all attempts together."""
    goal: str
    best_step: int
    data: tuple[DataCount, ...]
    history: tuple[Point, ...]
    figures: tuple[Figure, ...]
    confusion: dict[str, dict[str, int]] = {}
    """Of a classifier: how often each label (outer) was given each (inner) on held-out examples."""
    samples: tuple[Sample, ...]

    def figure(self, metric: str, group: str = "all") -> Figure | None:
        """Return a figure by name, None when the report does not have it."""
        return next((figure for figure in self.figures if (figure.metric, figure.group) == (metric, group)), None)


def paired_p(better: int, worse: int) -> float:
    """Return the two-sided exact McNemar test of examples gained against examples lost, to three digits."""
    from scipy.stats import binomtest

    return float(f"{binomtest(better, better + worse).pvalue:.3g}") if better + worse else 1.0


def save_report(folder: Path, report: TrainingReport) -> None:
    """Write ``report.json``, last of a run's files."""
    write_whole(folder / REPORT, (report.model_dump_json(indent=1) + "\n").encode())


def load_report(folder: Path) -> TrainingReport | None:
    """Return the report of a finished run, None while there is none.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        return TrainingReport.model_validate_json((folder / REPORT).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder.name}/{REPORT} is damaged; run the training again, it only has to write the report anew") from error
