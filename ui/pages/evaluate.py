"""The Evaluate page: run a domain's evals, see scores over time and in one run, compare two runs, read what was not right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from core.errors import DomainkitError
from core.eval_items import eval_files
from core.registry import Domain
from core.reporting.charts import line_chart
from core.types import Language
from ui import state
from ui.app import show
from ui.components import charts, chrome, html
from ui.components.comparison import show_comparison
from ui.components.confidence import show_confidence
from ui.components.failures import show_failures
from ui.components.page import begin
from ui.i18n import text

if TYPE_CHECKING:
    from evals.runs import Run, RunSummary

SAMPLE = 40
OVER_TIME = ("right", "wrong")
# Runs that the charts over time show at most; a docstring would be shown on the page.
KEPT = 30


def _start(domain: Domain, lang: Language) -> None:
    from evals.report import write_report
    from evals.runner import run_domain

    view = state.view()
    with st.container(horizontal=True, vertical_alignment="center", key="dk-run"):
        begin = st.button(text("evaluate.run", lang), type="primary", icon=":material/play_arrow:", key="evaluate.start")
        limit = st.segmented_control(
            text("evaluate.size", lang),
            [SAMPLE, 0],
            default=SAMPLE,
            required=True,
            format_func=lambda n: text("evaluate.size_some", lang, n=n) if n else text("evaluate.size_all", lang),
            key="evaluate.limit",
            label_visibility="collapsed",
        )
    if not begin:
        return
    bar = st.progress(0.0)

    def progress(name: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / max(1, total)), text=text("evaluate.running", lang, done=min(done + 1, total), total=total))

    try:
        run = run_domain(domain, settings=view.settings, split="test", limit=limit or None, progress=progress)
    except DomainkitError as error:
        bar.empty()
        chrome.problem(error, lang)
        return
    write_report(view.settings.home / "runs" / domain.name / run.id, run)
    bar.empty()
    st.session_state["evaluate.chosen"] = run.id
    st.toast(text("evaluate.done", lang, n=len(run.items)), icon=":material/check:")


def _label(run: RunSummary) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(run.created_at))} · {run.split} · {run.id[-4:]}"


def _choose(runs: list[RunSummary], lang: Language) -> RunSummary:
    by_id = {run.id: run for run in runs}
    if st.session_state.get("evaluate.chosen") not in by_id:
        st.session_state["evaluate.chosen"] = runs[0].id
    return by_id[st.selectbox(text("evaluate.which", lang), list(by_id), format_func=lambda run_id: _label(by_id[run_id]), key="evaluate.chosen")]


@st.cache_resource(max_entries=64, show_spinner=False)
def _loaded(path: str, stamp: int) -> Run:
    from pathlib import Path

    from evals.runs import load_run

    return load_run(Path(path))


def _load(summary: RunSummary) -> Run:
    from evals.runs import SCORES

    return _loaded(str(summary.path), (summary.path / SCORES).stat().st_mtime_ns)


def _over_time(runs: list[RunSummary], chosen: Run, domain: Domain, lang: Language) -> None:
    """Show how the main scores moved over the runs that asked what the chosen one asked."""
    same = [run for run in map(_load, reversed(runs[:KEPT])) if run.config.get("items_sha256") == chosen.config.get("items_sha256")]
    if len(same) < 2:
        return
    from evals.titles import metric_title

    html.section(text("evaluate.over_time", lang))
    html.show(html.tag("p", text("evaluate.over_time_hint", lang), cls="dk-small dk-quiet"))
    for metric, column in zip(OVER_TIME, st.columns(2, gap="large"), strict=True):
        rows = [
            {
                "x": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(run.created_at)), "y": score.value, "low": score.low, "high": score.high,
                "series": metric_title(metric, lang), "hint": f"{score.value:.1%} · {run.id[-4:]}",
            }
            for run in same
            if (score := run.score(metric)) is not None
        ]  # fmt: skip
        with column:
            html.show(html.tag("p", metric_title(metric, lang), cls="dk-side-source"))
            chart = line_chart(rows, x=" ", y=" ", colors=charts.series_colors(domain), points=True, percent=True, time=True, height=170)
            charts.show(chart, key=f"chart.time.{metric}")


def _scores(run: Run, domain: Domain, lang: Language) -> None:
    for lower, key in ((False, "evaluate.higher"), (True, "evaluate.lower")):
        rows = charts.score_rows(run.scores, lower=lower, lang=lang)
        if rows:
            html.show(html.tag("p", text(key, lang), cls="dk-small dk-quiet"))
            charts.show(charts.score_chart(rows, colors=charts.series_colors(domain)[:3], lang=lang), key=f"chart.scores.{lower}")


def _compare(runs: list[RunSummary], run: Run, lang: Language) -> None:
    from evals.comparison import compare

    others = {other.id: other for other in runs if other.id != run.id and other.split == run.split}
    if not others:
        html.show(html.tag("p", text("evaluate.no_other", lang), cls="dk-small dk-quiet"))
        return
    # Against the last run before this one, unless another is asked for.
    earlier = [key for key, other in others.items() if other.created_at < run.created_at]
    if st.session_state.get("evaluate.against") not in others:
        st.session_state["evaluate.against"] = earlier[0] if earlier else next(iter(others))
    chosen = st.selectbox(text("evaluate.against", lang), list(others), format_func=lambda run_id: _label(others[run_id]), key="evaluate.against")
    try:
        show_comparison(compare(_load(others[chosen]), run), lang)
    except DomainkitError as error:
        chrome.problem(error, lang)


def _report(run: Run, summary: RunSummary, lang: Language) -> None:
    from evals.report import REPORT

    path = summary.path / REPORT
    if path.is_file():
        st.download_button(
            text("evaluate.report", lang), path.read_bytes(), file_name=f"{run.domain}-{run.id}.html", mime="text/html", icon=":material/download:",
            help=text("evaluate.report_hint", lang), key="evaluate.report",
        )  # fmt: skip


def render() -> None:
    """Show the page."""
    domain = begin("evaluate.title", intro="evaluate.intro", needs="evals.runner")
    if domain is None:
        return
    view = state.view()
    lang = view.lang
    from evals.runs import list_runs

    if eval_files(domain.folder, domain.manifest):
        _start(domain, lang)
    else:
        html.show(html.card("calm", symbol="quiz", title=text("evaluate.no_items", lang)))
    runs = list_runs(view.settings, domain.name)
    if not runs:
        html.show(html.tag("p", text("evaluate.no_runs", lang), cls="dk-small dk-quiet"))
        return
    summary = _choose(runs, lang)
    run = _load(summary)
    scores, confidence, failed, compared = st.tabs(
        [text("evaluate.tab_scores", lang), text("evaluate.tab_confidence", lang), text("evaluate.tab_failures", lang), text("evaluate.tab_compare", lang)]
    )
    with scores:
        _over_time(runs, run, domain, lang)
        _scores(run, domain, lang)
        _report(run, summary, lang)
    with confidence:
        show_confidence(run, promise=domain.manifest.abstention.max_wrong_rate, colors=charts.series_colors(domain), lang=lang)
    with failed:
        show_failures(run, state.library(domain), lang)
    with compared:
        _compare(runs, run, lang)


if __name__ == "__main__":
    show(render)
