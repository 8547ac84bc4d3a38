"""Two eval runs side by side: what changed between them, each metric with its paired test, each question that flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.types import Language
from ui.components import html
from ui.components.failures import turner
from ui.i18n import text

if TYPE_CHECKING:
    from evals.comparison import Comparison, Flip


def show_comparison(found: Comparison, lang: Language) -> None:
    """Show a comparison, the first run standing for before."""
    better, worse = (sum(flip.better is value for flip in found.flips) for value in (True, False))
    changed = text("evaluate.changed", lang, parts=", ".join(found.changed)) if found.changed else text("evaluate.unchanged", lang)
    html.show(
        html.tag("p", text("evaluate.compared", lang, n=found.items, better=better, worse=worse)),
        html.tag("p", changed, cls="dk-small dk-quiet"),
        *(html.tag("p", note, cls="dk-small dk-quiet") for note in found.notes),
    )
    _changes(found, lang)
    if found.flips:
        html.section(text("evaluate.flips", lang))
        _flip(found.flips[turner("flips", len(found.flips), lang)], lang)


def _changes(found: Comparison, lang: Language) -> None:
    from evals.titles import in_order, metric_title

    moved = [change for change in found.changes if change.better or change.worse]
    if not moved:
        html.show(html.tag("p", html.icon("check_circle"), " ", text("evaluate.no_change", lang), cls="dk-small dk-good"))
        return
    rows = [
        {
            text("evaluate.metric", lang): metric_title(change.metric, lang),
            text("evaluate.before", lang): f"{change.a:.3f}",
            text("evaluate.now", lang): f"{change.b:.3f}",
            text("evaluate.interval", lang): f"{change.low:+.3f} … {change.high:+.3f}",
            text("evaluate.better_worse", lang): f"{change.better} / {change.worse}",
            text("evaluate.p", lang): f"{change.p_adjusted:.2g}",
        }
        for change in sorted(moved, key=lambda change: (change.p_adjusted, in_order(change.metric)))
    ]
    st.dataframe(rows, hide_index=True, width="stretch", key="comparison.changes")


def _flip(flip: Flip, lang: Language) -> None:
    right = text("evaluate.right", lang)
    symbol = html.icon("arrow_upward" if flip.better else "arrow_downward")
    with st.container(border=True, key="dk-flip"):
        html.show(
            html.tag("p", symbol, " ", html.tag("span", flip.id, cls="dk-chip"), " ", f"{flip.before or right} → {flip.after or right}", cls="dk-small"),
            html.tag("p", flip.question, cls="dk-failure-question"),
        )
        before, after = st.columns(2, gap="medium")
        for column, key, answer in ((before, "evaluate.before", flip.answer_before), (after, "evaluate.now", flip.answer_after)):
            with column:
                html.show(html.tag("p", text(key, lang), cls="dk-side-title"), html.tag("p", answer or text("evaluate.no_answer", lang), cls="dk-side-quote"))
        expected = (html.tag("p", line.partition(": ")[2] or line, cls="dk-side-quote") for line in flip.expected)
        html.show(html.tag("p", text("evaluate.expected", lang), cls="dk-side-title"), html.join(*expected) or html.tag("p", "-", cls="dk-quiet dk-small"))
