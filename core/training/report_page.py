"""A finished training run → ``report.html``: curves, figures before and after, samples to read, data and recipe. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.reporting.charts import line_chart
from core.reporting.page import picture, render_page
from core.training.checkpoint import Point, read_progress, write_whole
from core.training.loop import smaller_is_better
from core.training.report import TrainingReport

PAGE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
MARKED = 40
"""Fewer points than these are marked on a curve."""


def write_report_page(folder: Path, report: TrainingReport) -> Path:
    """Write ``report.html`` into the folder of a run and return its path."""
    path = folder / PAGE
    state = read_progress(folder)
    write_whole(path, report_page(report, trace=state.trace if state else ()).encode())
    return path


def report_page(report: TrainingReport, *, trace: Sequence[tuple[int, float]] = ()) -> str:
    """Return a report as one HTML page that loads nothing; ``trace`` is the loss between validations, where it was kept."""
    best = next((point for point in report.history if point.step == report.best_step), None)
    curves = [
        (title, picture(line_chart(rows, x="Step", y=title, points=len(rows) < MARKED, height=220), width=360))
        for title, rows in curve_rows(report.history, trace=trace).items()
    ]
    return render_page(
        TEMPLATES, "training.html", report=report, best=best, curves=curves, figures=[figure for figure in report.figures if figure.group == "all"],
        groups=[figure for figure in report.figures if figure.group != "all"], lower=smaller_is_better,
        recipe=json.dumps(report.recipe, indent=1, ensure_ascii=False),
    )  # fmt: skip


def curve_rows(history: Sequence[Point], *, trace: Sequence[tuple[int, float]] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a run's curves by title: the training loss, then validation metrics that share a scale in one picture."""
    losses = trace or [(point.step, point.loss) for point in history]
    rows: dict[str, list[dict[str, Any]]] = {"Training loss": [{"x": step, "y": loss, "series": "training loss"} for step, loss in losses]} if losses else {}
    for point in history:
        for name, value in point.metrics.items():
            title = "Validation" if not smaller_is_better(name) else f"Validation {name.partition('_')[0]}"
            rows.setdefault(title, []).append({"x": point.step, "y": value, "series": name.replace("_", " ")})
    return rows
