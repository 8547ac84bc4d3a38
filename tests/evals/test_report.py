"""A run as a page: every item is in it, escaped; the gate's reasons and what flipped too."""

from __future__ import annotations

from pathlib import Path

from run_samples import item, run_of

from core.manifest import Gate
from evals.comparison import compare
from evals.gate import check_gate
from evals.report import curve_rows, reliability_rows, report_page, score_rows, write_report
from evals.titles import METRICS, metric_title

NASTY = '</details><script>alert("x")</script>'


def test_page_holds_every_item_escaped_and_nothing_to_load(tmp_path: Path) -> None:
    run = run_of([item("a"), item("b", right=False, question=NASTY, answer=NASTY, cited=(f"doc: {NASTY}",))])
    path = write_report(tmp_path, run)
    page = path.read_text("utf-8")
    assert path.name == "report.html" and "1 of 2 right" in page
    assert page.count('<details class="item"') == 2 and page.count("<script") == 1 and "alert(&#34;x&#34;)" in page
    assert 'data-right="no"' in page and "cites another document" in page
    assert " src=" not in page and "@import" not in page and "url(http" not in page


def test_page_of_a_gated_run_says_why_and_what_flipped() -> None:
    before = run_of([item(str(n)) for n in range(40)], "before")
    after = run_of([item(str(n), right=n > 9) for n in range(40)], "after")
    page = report_page(after, verdict=check_gate(after, Gate(floors={"passage_right": 0.9}), baseline=before), comparison=compare(before, after))
    assert "gate failed" in page and "passage_right 0.750 is below 0.9" in page
    assert page.count('<span class="bad">−</span>') == 10 and "Against before" in page


def test_page_of_a_gate_that_passed_says_so() -> None:
    run = run_of([item("a")])
    assert "gate passed" in report_page(run, verdict=check_gate(run, Gate()))


def test_run_without_answers_lock_or_cost_has_a_page() -> None:
    run = run_of([item("a", answerable=False)], lock=None, environment=None, cost=None)
    assert "Reliability" not in report_page(run)


def test_rows_are_parted_by_which_way_is_better_and_in_reading_order() -> None:
    run = run_of([item(str(n), right=n > 3) for n in range(30)])
    higher, lower = (score_rows(run.scores, lower=value) for value in (False, True))
    assert {row["metric"] for row in lower} == {"wrong"} and higher[0]["metric"] == "right"
    assert [row["slice"] for row in higher if row["metric"] == "right"] == ["all", "en"]


def test_curves_end_where_today_s_answers_are() -> None:
    run = run_of([item(str(n), right=n >= 5, confidence=0.5 + n / 100) for n in range(40)])
    last = curve_rows(run.items)[-1]
    assert (last["x"], last["y"]) == (1.0, 5 / 40)
    assert sum(row["n"] for row in reliability_rows(run.items)) == 40


def test_every_metric_that_runs_have_is_named_in_both_languages() -> None:
    from evals.gate import PRIMARY, WATCHED

    assert {*PRIMARY, *WATCHED} <= METRICS.keys()
    assert all(metric_title(name, lang) for name in METRICS for lang in ("en", "zh")) and metric_title("own") == "own"
