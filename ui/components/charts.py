"""Charts of eval scores: points with their confidence intervals. Which way is better is for the evals to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.types import Language
from ui.i18n import text, text_or

if TYPE_CHECKING:
    from evals.aggregate import Score


def metric_label(metric: str, lang: Language) -> str:
    """Return a metric's name as people read it; the name itself where the app has no word for it."""
    return text_or(f"metric.{metric}", lang, metric)


def score_rows(scores: Sequence[Score], *, lower: bool, lang: Language) -> list[dict[str, Any]]:
    """Return scores over all items and by language as the rows of a chart: those where lower is better, or the others."""
    from evals.aggregate import LOWER_IS_BETTER

    return [
        {
            "metric": metric_label(score.metric, lang),
            "slice": text_or(f"slice.{score.slice}", lang, score.slice),
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "label": f"{score.value:.0%}  (n = {score.n})",
        }
        for score in scores
        if (score.metric in LOWER_IS_BETTER) is lower and "=" not in score.slice
    ]


def score_chart(rows: Sequence[dict[str, Any]], *, colors: tuple[str, ...], lang: Language) -> Any:
    """Return an altair chart: one band per metric, in it one point with its 95 % interval per slice."""
    import altair as alt

    slices = list(dict.fromkeys(row["slice"] for row in rows))
    scale = alt.Scale(domain=slices, range=list(colors[: len(slices)]))
    color = alt.Color("slice:N", sort=slices, scale=scale, legend=alt.Legend(orient="top", title=None, symbolOpacity=1, labelFontSize=12))
    tooltip = [
        alt.Tooltip("metric:N", title=text("evaluate.metric", lang)),
        alt.Tooltip("slice:N", title=text("evaluate.slice", lang)),
        alt.Tooltip("label:N", title=text("evaluate.value", lang)),
        alt.Tooltip("low:Q", format=".1%"),
        alt.Tooltip("high:Q", format=".1%"),
    ]
    axis = alt.Axis(format="%", title=None, tickCount=5, domain=False, ticks=False, grid=True, orient="bottom", labelFontSize=12)
    x = alt.X("value:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    y = alt.Y("metric:N", sort=metrics, axis=alt.Axis(title=None, labelLimit=230, domain=False, ticks=False, labelFontSize=13))
    offset = alt.YOffset("slice:N", sort=slices)
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(y=y, yOffset=offset, color=color, tooltip=tooltip)
    intervals = base.mark_rule(strokeWidth=2.5, opacity=0.45, strokeCap="round").encode(x=alt.X("low:Q", axis=axis), x2="high:Q")
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=x)
    step = 17 * max(1, len(slices)) + 10
    # The page fits legend and axis into the height, so they need room beside the bands.
    return alt.layer(intervals, points).properties(height=step * len(metrics) + 90).configure_view(stroke=None)
