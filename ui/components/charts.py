"""Charts of the app: figures → charts in the app's words and colours. How they are drawn is for :mod:`core.reporting.charts` to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.registry import Domain
from core.types import Language
from ui import theme
from ui.i18n import text, text_or

if TYPE_CHECKING:
    from evals.aggregate import Score

GREY = ("#64748b", "#8b98a9")
OTHERS = (("#b7791f", "#0f766e", "#9b4d96"), ("#d9a441", "#5fc7bb", "#c58bc0"))
"""Colours of series beside the accent, for the light and for the dark theme."""


def series_colors(domain: Domain) -> tuple[str, ...]:
    """Return the colours of series for the theme in use: the domain's accent, a grey, then the others, what is furthest from the accent first."""
    dark = st.context.theme.type == "dark"
    accent = theme.accents(domain.manifest.appearance.color)[dark]
    return (accent, GREY[dark], *sorted(OTHERS[dark], key=lambda color: -theme.hue_distance(color, accent)))


def score_rows(scores: Sequence[Score], *, lower: bool, lang: Language) -> list[dict[str, Any]]:
    """Return scores over all items and by language as the rows of a chart: those where lower is better, or the others."""
    from evals.report import score_rows as rows
    from evals.titles import metric_title

    return [
        row | {"metric": metric_title(row["metric"], lang), "slice": text_or(f"slice.{row['slice']}", lang, row["slice"])} for row in rows(scores, lower=lower)
    ]


def score_chart(rows: Sequence[dict[str, Any]], *, colors: tuple[str, ...], lang: Language) -> Any:
    """Return a band per metric, in it one point with its 95 % interval per slice."""
    from core.reporting.charts import interval_chart

    titles = {"metric": text("evaluate.metric", lang), "slice": text("evaluate.slice", lang), "value": text("evaluate.value", lang)}
    return interval_chart(rows, colors=colors, titles=titles)


def show(chart: Any, *, key: str) -> None:
    """Put a chart on the page, as wide as its place."""
    st.altair_chart(chart, width="stretch", key=key)
