"""Whether a run's confidence can be believed: reliability, and wrong answers against coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.reporting.charts import line_chart, reliability_chart
from core.types import Language
from ui.components import charts, html
from ui.i18n import text

if TYPE_CHECKING:
    from evals.runs import Run


def show_confidence(run: Run, *, promise: float | None, colors: tuple[str, ...], lang: Language) -> None:
    """Show both charts of a run; ``promise`` is the largest share of wrong answers that the domain allows."""
    from evals.report import curve_rows, reliability_rows

    bins, curve = reliability_rows(run.items), curve_rows(run.items)
    if not bins:
        html.show(html.tag("p", text("evaluate.no_answers", lang), cls="dk-small dk-quiet"))
        return
    left, right = st.columns(2, gap="large")
    with left:
        html.show(html.tag("p", text("evaluate.reliability", lang), cls="dk-side-source"))
        chart = reliability_chart(
            bins, x=text("evaluate.confidence", lang), y=text("evaluate.share_right", lang), count=text("evaluate.answers", lang), color=colors[0]
        )
        charts.show(chart, key="chart.reliability")
        html.show(html.tag("p", text("evaluate.reliability_hint", lang), cls="dk-small dk-quiet"))
    with right:
        html.show(html.tag("p", text("evaluate.curve", lang), cls="dk-side-source"))
        chart = line_chart(
            [row | {"series": text("evaluate.answers", lang)} for row in curve], x=text("evaluate.share_answered", lang),
            y=text("evaluate.share_wrong", lang), colors=colors, percent=True, percent_across=True, zero=True, height=260, legend=False, rule=promise,
        )  # fmt: skip
        charts.show(chart, key="chart.curve")
        html.show(html.tag("p", text("evaluate.curve_hint", lang), cls="dk-small dk-quiet"))
