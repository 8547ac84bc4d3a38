"""A run → ``report.html``: scores with intervals, reliability, risk against coverage, what flipped, and every item readable. Measures nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.reporting.charts import interval_chart, line_chart, reliability_chart
from core.reporting.page import picture, render_page
from core.training.checkpoint import write_whole
from evals.aggregate import LOWER_IS_BETTER, Score, reliability_bins, selective_curve, worst_slices
from evals.comparison import Comparison
from evals.gate import Verdict
from evals.items import ItemResult
from evals.metrics import expected_calibration_error
from evals.runs import Run
from evals.titles import in_order, metric_title

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
SLICES = {"all": "all", "en": "English", "zh": "Chinese"}


def write_report(folder: Path, run: Run, *, verdict: Verdict | None = None, comparison: Comparison | None = None) -> Path:
    """Write a run's report into a folder and return its path.

    Args:
        folder: where ``report.html`` goes; made when it is not there.
        run: what it is about.
        verdict: of the gate, where it was asked.
        comparison: with the baseline, where there is one.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    path = folder / REPORT
    page = report_page(run, verdict=verdict, comparison=comparison).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    except OSError as error:
        raise UsageError(f"cannot write into '{folder.name}' ({error.strerror}); name another folder") from error
    return path


def report_page(run: Run, *, verdict: Verdict | None = None, comparison: Comparison | None = None) -> str:
    """Return a run's report as one HTML page that loads nothing."""
    given = [item for item in run.items if item.status == "answered" and item.expected_status in {"answered", "abstained"}]
    changes = comparison.changes if comparison is not None else ()
    return render_page(
        TEMPLATES, "run.html", run=run, verdict=verdict, comparison=comparison, title=metric_title,
        moved=sorted((one for one in changes if one.better or one.worse), key=lambda one: (one.p_adjusted, in_order(one.metric))),
        when=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created_at)), right=sum(item.right for item in run.items),
        higher=_scores(run.scores, lower=False), lower=_scores(run.scores, lower=True),
        worst=[worst for worst in worst_slices(run.scores) if worst.metric in {"right", "passage_right", "wrong_answers", "status"}],
        reliability=_reliability(run.items), curve=_curve(run.items), answers=len(given),
        error=expected_calibration_error([item.confidence for item in given], [item.passage_right for item in given]) if given else 0.0,
        table=sorted(run.scores, key=lambda score: (in_order(score.metric), score.slice != "all", score.slice)),
        items=sorted(run.items, key=lambda item: item.right), reasons=sorted({item.reason for item in run.items if not item.right}),
        kinds=sorted({item.kind for item in run.items}), languages=sorted({item.lang for item in run.items}),
        statuses=sorted({str(item.status) for item in run.items}), split_quote=split_quote,
    )  # fmt: skip


def split_quote(text: str) -> tuple[str, str]:
    """Return document and quote of a line of :class:`ItemResult`."""
    document, _, quote = text.partition(": ")
    return document, quote


def score_rows(scores: Sequence[Score], *, lower: bool) -> list[dict[str, Any]]:
    """Return scores over all items and by language as the rows of a chart, those where lower is better or the others; names are still the metrics' own."""
    chosen = [score for score in scores if (score.metric in LOWER_IS_BETTER) is lower and "=" not in score.slice]
    return [
        {
            "metric": score.metric, "slice": score.slice, "value": score.value, "low": score.low, "high": score.high,
            "label": f"{score.value:.1%}  (n = {score.n})",
        }
        for score in sorted(chosen, key=lambda score: (in_order(score.metric), score.slice != "all", score.slice))
    ]  # fmt: skip


def _scores(scores: Sequence[Score], *, lower: bool) -> Any:
    rows = [row | {"metric": metric_title(row["metric"]), "slice": SLICES.get(row["slice"], row["slice"])} for row in score_rows(scores, lower=lower)]
    return picture(interval_chart(rows, titles={"metric": "Metric", "slice": "Slice", "value": "Value"}, minimum=210), width=620) if rows else ""


def reliability_rows(items: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Return the rows of a reliability chart; see :func:`evals.aggregate.reliability_bins`."""
    return [{"confidence": one.confidence, "right": one.right, "n": one.n} for one in reliability_bins(items)]


def curve_rows(items: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Return the rows of a chart of the share of wrong answers against coverage; see :func:`evals.aggregate.selective_curve`."""
    return [{"x": point.coverage, "y": point.wrong_rate, "series": "", "hint": f"confidence ≥ {point.threshold:.2f}"} for point in selective_curve(items)]


def _reliability(items: Sequence[ItemResult]) -> Any:
    rows = reliability_rows(items)
    return picture(reliability_chart(rows, x="Confidence", y="Share right", count="Answers"), width=360) if rows else ""


def _curve(items: Sequence[ItemResult]) -> Any:
    rows = curve_rows(items)
    chart = line_chart(
        rows, x="Share of questions answered", y="Share of answers wrong", percent=True, percent_across=True, zero=True, height=260, legend=False
    )
    return picture(chart, width=360) if rows else ""
