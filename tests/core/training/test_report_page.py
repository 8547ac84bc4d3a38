"""A training report as a page."""

from __future__ import annotations

from pathlib import Path

from core.training.checkpoint import Point
from core.training.report import DataCount, Figure, Sample, TrainingReport
from core.training.report_page import curve_rows, report_page, write_report_page


def report(**more: object) -> TrainingReport:
    values: dict[str, object] = {
        "task": "retrieval", "domain": "garden", "command": "domainkit train retrieval garden", "recipe": {"steps": 4}, "base": "base", "base_sha256": "b" * 64,
        "weights_sha256": "w" * 64, "bytes": 1_234_567, "seconds": 120.0, "goal": "mrr_at_10", "best_step": 2,
        "data": (DataCount(name="things", license="CC BY 4.0", attribution="A. Writer", train=10, valid=2, test=3, sha256="d" * 64),),
        "history": tuple(Point(step=n, loss=4.0 - n, metrics={"mrr_at_10": n / 4, "perplexity_en": 9.0 - n}) for n in (1, 2)),
        "figures": (
            Figure(metric="recall_at_1", n=100, before=0.4, after=0.5, better=12, worse=2, p=0.01), Figure(metric="f1", group="things", n=3, after=0.25),
            Figure(metric="perplexity", group="zh", n=3, before=90.0, after=30.0),
        ),
        "samples": (Sample(input="<b>how</b>", expected="so", before="rank 3", after="rank 1"),),
    }  # fmt: skip
    return TrainingReport.model_validate(values | more)


def test_page_shows_figures_samples_and_data_escaped(tmp_path: Path) -> None:
    page = write_report_page(tmp_path, report()).read_text("utf-8")
    assert "Retrieval: garden" in page and "1,234,567 bytes" in page and "CC BY 4.0" in page
    assert "&lt;b&gt;how&lt;/b&gt;" in page and page.count("<svg") == 3
    # Perplexity fell, which is good; F1 has nothing to be compared with.
    assert '<td class="n good">30.000</td>' in page and '<td class="n ">0.250</td>' in page


def test_page_without_figures_or_samples_is_a_page() -> None:
    assert "Samples" not in report_page(report(figures=(), samples=(), history=()))


def test_metrics_that_should_be_small_have_a_picture_of_their_own() -> None:
    rows = curve_rows(report().history)
    assert {title: len(found) for title, found in rows.items()} == {"Training loss": 2, "Validation": 2, "Validation perplexity": 2}


def test_trace_of_the_loss_stands_where_it_was_kept() -> None:
    rows = curve_rows(report().history, trace=((1, 3.0), (2, 2.5), (3, 2.0)))["Training loss"]
    assert [(row["x"], row["y"]) for row in rows] == [(1, 3.0), (2, 2.5), (3, 2.0)]
