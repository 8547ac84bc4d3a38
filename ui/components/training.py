"""Training of a domain's adapter from the app: start, live curves, stop, go on, put the result into the domain and back out again."""

from __future__ import annotations

import shutil
import time

import streamlit as st

from core.errors import DomainkitError
from core.models.adapters import CARD, WEIGHTS
from core.query_adapter import ensure_query_encoder, find_adapter
from core.registry import Domain
from core.reporting.charts import line_chart
from core.settings import Settings
from core.training.adapter_files import install_adapter
from core.training.report_page import PAGE, curve_rows
from core.types import Language
from ui import training_jobs
from ui.components import charts, chrome, html
from ui.i18n import text
from ui.training_jobs import Standing

EVERY = 2.0
"""Seconds between two looks at a run."""


def show_training(domain: Domain, settings: Settings, lang: Language) -> None:
    """Show the training of a domain's adapter."""
    html.section(text("training.title", lang))
    if not training_jobs.recipe_of(domain).is_file():
        html.show(html.card("calm", symbol="description", title=text("training.no_recipe", lang), body=text("training.no_recipe_body", lang)))
        return
    try:
        found = training_jobs.standing(domain, settings)
    except DomainkitError as error:
        chrome.problem(error, lang)
        return
    if found.running:
        _live(domain, settings, lang)
        return
    _ended(found, domain, settings, lang)
    _controls(found, domain, settings, lang)


@st.fragment(run_every=EVERY)
def _live(domain: Domain, settings: Settings, lang: Language) -> None:
    """Show a run that is going on, looked at again every two seconds; the whole page is drawn anew when it has ended."""
    found = training_jobs.standing(domain, settings)
    if not found.running:
        st.session_state.pop("training.stopping", None)
        st.rerun()
    with st.container(key="dk-run-state"):
        _progress(found, lang)
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(text("training.stop", lang), icon=":material/stop:", key="training.stop"):
                st.session_state["training.stopping"] = training_jobs.ask_to_stop(domain, settings)
            said = "training.stopping" if st.session_state.get("training.stopping") else "training.survives"
            html.show(html.tag("p", text(said, lang), cls="dk-small dk-quiet"))
    _curves(found, domain, lang)


def minutes_left(found: Standing) -> int | None:
    """Return how many minutes the steps left take at the pace so far, None before there is one."""
    state = found.state
    if state is None or not state.step or not state.seconds:
        return None
    done = max(state.step, found.now.done if found.now else 0)
    return round(state.seconds / state.step * (state.steps - done) / 60)


def _progress(found: Standing, lang: Language) -> None:
    now = found.now
    if now is None or not now.total:
        st.progress(0.0, text=text("training.preparing", lang, what=html.plain(now.text) if now else "…"))
        return
    training = found.state is not None and now.total == found.state.steps
    label = text("training.step", lang, done=now.done, total=now.total) if training else text("training.preparing", lang, what=html.plain(now.text))
    left = minutes_left(found) if training else None
    parts = [label, html.plain(now.text) if training else "", text("training.left", lang, minutes=left) if left is not None else ""]
    st.progress(min(1.0, now.done / now.total), text=" · ".join(part for part in parts if part))


def _curves(found: Standing, domain: Domain, lang: Language) -> None:
    if found.state is None:
        return
    pictures = list(curve_rows(found.state.history, trace=found.state.trace).values())
    titles = [text("training.loss", lang), *(text("training.validation", lang) for _ in pictures[1:])]
    columns = st.columns(2, gap="large")
    for number, (title, rows) in enumerate(zip(titles, pictures, strict=True)):
        with columns[number % 2]:
            html.show(html.tag("p", title, cls="dk-side-source"))
            chart = line_chart(rows, x=text("training.x", lang), y=" ", colors=charts.series_colors(domain), points=len(rows) < 40, height=200)
            charts.show(chart, key=f"chart.training.{number}")


def _ended(found: Standing, domain: Domain, settings: Settings, lang: Language) -> None:
    """Show a run that stands still: its error, where it was stopped, or what it brought."""
    if found.error:
        html.show(html.card("problem", symbol="error", title=text("training.failed", lang), body=found.error, role="alert"))
    if found.state is None:
        return
    if found.report is None:
        if not found.error:
            html.show(html.tag("p", text("training.stopped", lang, done=found.state.step, total=found.state.steps), cls="dk-small"))
        _curves(found, domain, lang)
        return
    figure = found.report.figure("recall_at_1")
    line = f"Recall@1 {figure.before:.3f} → {figure.after:.3f} (n = {figure.n:,})" if figure and figure.before is not None else ""
    html.show(html.tag("p", html.icon("check_circle"), " ", text("training.finished", lang), f". {line}" if line else "", cls="dk-small dk-good"))
    _curves(found, domain, lang)
    _install(found, domain, settings, lang)


def _install(found: Standing, domain: Domain, settings: Settings, lang: Language) -> None:
    source, target = found.folder / "adapter", domain.folder / domain.manifest.paths.adapter
    former = training_jobs.former_of(domain, settings)
    same = (target / WEIGHTS).is_file() and (target / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()
    with st.container(horizontal=True, vertical_alignment="center"):
        if not same and st.button(text("training.install", lang), icon=":material/download_done:", type="primary", key="training.install"):
            shutil.rmtree(former, ignore_errors=True)
            install_adapter(source, target, former=former)
            _compile(domain, settings, lang)
            st.session_state["training.said"] = text("training.installed", lang, name=domain.name)
            st.rerun()
        if same and (former / CARD).is_file() and st.button(text("training.undo", lang), icon=":material/undo:", key="training.undo"):
            install_adapter(former, target)
            shutil.rmtree(former, ignore_errors=True)
            _compile(domain, settings, lang)
            st.session_state["training.said"] = text("training.undone", lang)
            st.rerun()
        page = found.folder / PAGE
        if page.is_file():
            st.download_button(
                text("evaluate.report", lang), page.read_bytes(), file_name=f"{domain.name}-training.html", mime="text/html", icon=":material/download:",
                key="training.report",
            )  # fmt: skip
    said = st.session_state.pop("training.said", "") or (text("training.same", lang) if same else "")
    if said:
        html.show(html.tag("p", said, cls="dk-small dk-quiet"))


def _compile(domain: Domain, settings: Settings, lang: Language) -> None:
    with st.spinner(text("training.compiling", lang)):
        ensure_query_encoder(find_adapter(domain, settings), settings)


def _controls(found: Standing, domain: Domain, settings: Settings, lang: Language) -> None:
    if "training.data" not in st.session_state:
        st.session_state["training.data"] = training_jobs.last_data(domain, settings)
    data = st.text_input(text("training.data", lang), key="training.data", help=text("training.data_hint", lang))
    begun = found.state is not None and found.report is None
    finished = found.report is not None
    with st.container(horizontal=True, vertical_alignment="center"):
        start = "training.resume" if begun else "training.start"
        if not finished and st.button(text(start, lang), icon=":material/play_arrow:", type="primary", key="training.start"):
            training_jobs.start(domain, settings, data=data.strip())
            _await(domain, settings)
        if (begun or finished) and st.button(text("training.again", lang), icon=":material/restart_alt:", key="training.again"):
            training_jobs.set_aside(domain, settings)
            training_jobs.start(domain, settings, data=data.strip())
            _await(domain, settings)


def _await(domain: Domain, settings: Settings) -> None:
    """Draw the page anew when the process that was started holds its folder, or has ended."""
    for _ in range(100):
        found = training_jobs.standing(domain, settings)
        if found.running or found.error:
            break
        time.sleep(0.1)
    st.rerun()
