"""The items of an eval run that were not right, one at a time, beside the source that was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.types import Language
from ui.components import html
from ui.i18n import text, text_or

if TYPE_CHECKING:
    from evals.items import ItemResult
    from evals.runs import Run


def failures(run: Run) -> list[ItemResult]:
    """Return the items of a run that were not right, in the run's order."""
    return [item for item in run.items if not item.right]


def _step(key: str, by: int, count: int) -> None:
    st.session_state[key] = (st.session_state.get(key, 0) + by) % count


def _lines(values: Sequence[str], lang: Language) -> html.Safe:
    if not values:
        return html.tag("p", text("evaluate.nothing", lang), cls="dk-quiet dk-small")
    return html.join(*(html.tag("p", value, cls="dk-side-quote") for value in values))


def show_failures(run: Run, lang: Language) -> None:
    """Show one failure with what it cited beside what it should have, and buttons to the others."""
    items = failures(run)
    html.section(text("evaluate.failures", lang, n=len(items), total=len(run.items)))
    if not items:
        html.show(html.tag("p", html.icon("check_circle"), " ", text("evaluate.no_failures", lang), cls="dk-small dk-good"))
        return
    key = f"failures.at.{run.id}"
    at = min(st.session_state.get(key, 0), len(items) - 1)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(text("evaluate.previous", lang), icon=":material/chevron_left:", key="failures.previous", on_click=_step, args=(key, -1, len(items)))
        st.button(
            text("evaluate.next", lang), icon=":material/chevron_right:", icon_position="right", key="failures.next", on_click=_step,
            args=(key, 1, len(items)),
        )  # fmt: skip
        html.show(html.tag("p", text("evaluate.position", lang, n=at + 1, total=len(items)), cls="dk-small dk-quiet"))
    item = items[at]
    given = text_or(f"status.{item.status}", lang, item.status)
    with st.container(border=True, key="dk-failure"):
        html.show(
            html.tag("p", html.tag("span", item.id, cls="dk-chip"), " ", html.tag("span", item.reason, cls="dk-quiet"), cls="dk-small"),
            html.tag("p", item.question, cls="dk-failure-question"),
            html.tag("p", text("evaluate.given", lang, status=given, confidence=f"{item.confidence:.0%}"), cls="dk-small dk-quiet"),
            html.tag("p", item.answer, cls="dk-failure-answer"),
        )
        cited, expected = st.columns(2, gap="medium")
        with cited:
            html.show(html.tag("p", text("evaluate.cited", lang), cls="dk-side-title"), _lines(item.cited, lang))
        with expected:
            html.show(html.tag("p", text("evaluate.expected", lang), cls="dk-side-title"), _lines(item.expected, lang))
