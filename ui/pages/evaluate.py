"""The Evaluate page: run a domain's evals, see the scores with their intervals, read what was not right."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING

import streamlit as st

from core.errors import DomainkitError
from core.eval_items import eval_files
from core.registry import Domain
from core.types import Language
from ui import state, theme
from ui.app import show
from ui.components import build, charts, chrome, html
from ui.components.failures import show_failures
from ui.i18n import text

if TYPE_CHECKING:
    from evals.runs import Run, RunSummary

SAMPLE = 40


def _start(domain: Domain, lang: Language) -> None:
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
    bar.empty()
    st.session_state["evaluate.chosen"] = run.id
    st.toast(text("evaluate.done", lang, n=len(run.items)), icon=":material/check:")


def _choose(runs: list[RunSummary], lang: Language) -> RunSummary:
    by_id = {run.id: run for run in runs}
    if st.session_state.get("evaluate.chosen") not in by_id:
        st.session_state["evaluate.chosen"] = runs[0].id

    def label(run_id: str) -> str:
        run = by_id[run_id]
        return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(run.created_at))} · {run.split} · {run_id[-4:]}"

    return by_id[st.selectbox(text("evaluate.which", lang), list(by_id), format_func=label, key="evaluate.chosen")]


def _scores(run: Run, domain: Domain, lang: Language) -> None:
    html.section(text("evaluate.scores", lang))
    dark = st.context.theme.type == "dark"
    accent = theme.accents(domain.manifest.appearance.color)[dark]
    colors = (accent, *(("#8b98a9", "#d9a441") if dark else ("#64748b", "#b7791f")))
    for lower, key in ((False, "evaluate.higher"), (True, "evaluate.lower")):
        rows = charts.score_rows(run.scores, lower=lower, lang=lang)
        if rows:
            html.show(html.tag("p", text(key, lang), cls="dk-small dk-quiet"))
            st.altair_chart(charts.score_chart(rows, colors=colors, lang=lang), width="stretch", key=f"evaluate.chart.{lower}")


def render() -> None:
    """Show the page."""
    view = state.view()
    lang, domain = view.lang, view.domain
    if domain is None:
        html.show(html.card("calm", symbol="folder_off", title=text("frame.no_domains", lang)))
        return
    html.heading(text("evaluate.title", lang), domain.manifest.title.get(lang))
    html.show(html.tag("p", text("evaluate.intro", lang), cls="dk-lead"))
    if importlib.util.find_spec("evals.runner") is None:
        html.show(html.card("calm", symbol="extension_off", title=text("evaluate.missing", lang)))
        return
    if not build.ready(domain, view.settings):
        build.missing_library(domain, view.settings, lang)
        return
    from evals.runs import list_runs, load_run

    if eval_files(domain.folder, domain.manifest):
        _start(domain, lang)
    else:
        html.show(html.card("calm", symbol="quiz", title=text("evaluate.no_items", lang)))
    runs = list_runs(view.settings, domain.name)
    if not runs:
        html.show(html.tag("p", text("evaluate.no_runs", lang), cls="dk-small dk-quiet"))
        return
    run = load_run(_choose(runs, lang).path)
    _scores(run, domain, lang)
    show_failures(run, lang)


if __name__ == "__main__":
    show(render)
