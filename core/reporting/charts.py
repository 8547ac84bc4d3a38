"""Charts as Vega-Lite (altair): points with intervals, curves, reliability, a matrix. Knows neither where figures come from nor who shows them.

Each takes plain rows and words, so that a report and the app in either language share it; :func:`svg` draws one without a browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLORS = ("#2f6fab", "#64748b", "#b7791f", "#2f855a", "#9b4d96", "#c0562f")
"""Series colours that differ in lightness too, for people who see colours differently."""
QUIET = "#94a3b8"
Row = Mapping[str, Any]
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"


def interval_chart(rows: Sequence[Row], *, colors: Sequence[str] = COLORS, titles: Mapping[str, str], minimum: int = 0) -> Any:
    """Return a band per metric, in it one point with its interval per slice.

    Args:
        rows: ``metric``, ``slice``, ``value``, ``low``, ``high`` in [0, 1] and ``label``.
        colors: one per slice.
        titles: what tooltips call ``metric``, ``slice`` and ``value``.
        minimum: pixels kept for the metrics' names, where whoever draws it does not know the reader's font.
    """
    import altair as alt

    slices = list(dict.fromkeys(row["slice"] for row in rows))
    scale = alt.Scale(domain=slices, range=list(colors[: len(slices)]))
    color = alt.Color("slice:N", sort=slices, scale=scale, legend=alt.Legend(orient="top", title=None, symbolOpacity=1, labelFontSize=12))
    tooltip = [
        alt.Tooltip("metric:N", title=titles["metric"]), alt.Tooltip("slice:N", title=titles["slice"]), alt.Tooltip("label:N", title=titles["value"]),
        alt.Tooltip("low:Q", format=".1%"), alt.Tooltip("high:Q", format=".1%"),
    ]  # fmt: skip
    axis = alt.Axis(format="%", title=None, tickCount=5, domain=False, ticks=False, grid=True, orient="bottom", labelFontSize=12)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    y = alt.Y(
        "metric:N", sort=metrics, axis=alt.Axis(title=None, labelLimit=230, labelPadding=8, minExtent=minimum, domain=False, ticks=False, labelFontSize=13)
    )
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(y=y, yOffset=alt.YOffset("slice:N", sort=slices), color=color, tooltip=tooltip)
    span = alt.Scale(domain=[0, 1])
    intervals = base.mark_rule(strokeWidth=2.5, opacity=0.45, strokeCap="round").encode(x=alt.X("low:Q", axis=axis, scale=span), x2="high:Q")
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=alt.X("value:Q", scale=span, axis=axis))
    step = 17 * max(1, len(slices)) + 10
    # Legend and axis are fitted into the height, so they need room beside the bands.
    return alt.layer(intervals, points).properties(height=step * len(metrics) + 90).configure_view(stroke=None)


def gain_chart(rows: Sequence[Row], *, before: str, after: str, colors: Sequence[str] = (COLORS[1], COLORS[0]), minimum: int = 0) -> Any:
    """Return a band per metric with a line from its value before to its value after.

    Args:
        rows: ``metric``, ``before`` and ``after`` in [0, 1] and ``label``.
        before: what the legend calls the values before.
        after: and those after.
        colors: of both.
        minimum: as for :func:`interval_chart`.
    """
    import altair as alt

    metrics = [row["metric"] for row in rows]
    y = alt.Y("metric:N", sort=metrics, axis=_names(minimum))
    x = {"scale": alt.Scale(domain=[0, 1]), "axis": _axis("", percent=True)}
    scale = alt.Scale(domain=[before, after], range=list(colors))
    color = alt.Color("series:N", scale=scale, legend=alt.Legend(orient="top", title=None, symbolOpacity=1, labelFontSize=12))
    tooltip = [alt.Tooltip("metric:N", title=" "), alt.Tooltip("label:N", title=" ")]
    points = [row | {"series": name, "value": row[key]} for row in map(dict, rows) for name, key in ((before, "before"), (after, "after"))]
    lines = alt.Chart(alt.InlineData(values=[dict(row) for row in rows])).mark_rule(strokeWidth=2.5, opacity=0.45, color=QUIET)
    dots = alt.Chart(alt.InlineData(values=points)).mark_point(filled=True, size=90, opacity=1)
    return (
        alt.layer(
            lines.encode(x=alt.X("before:Q", **x), x2="after:Q", y=y, tooltip=tooltip), dots.encode(x=alt.X("value:Q", **x), y=y, color=color, tooltip=tooltip)
        )
        .properties(height=30 * len(rows) + 70)
        .configure_view(stroke=None)
    )


def line_chart(
    rows: Sequence[Row], *, x: str, y: str, colors: Sequence[str] = COLORS, points: bool = False, zero: bool = False, height: int = 240,
    percent: bool = False, percent_across: bool = False, time: bool = False, legend: bool = True, rule: float | None = None,
) -> Any:  # fmt: skip
    """Return one line per series.

    Args:
        rows: ``x``, ``y``, ``series`` and, with intervals, ``low`` and ``high``; ``hint`` is shown at the pointer.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        colors: one per series.
        points: mark each value.
        zero: begin the vertical axis at 0.
        height: of the picture, in pixels.
        percent: write the vertical axis as percentages.
        percent_across: write the horizontal one so.
        time: ``x`` is an ISO date and time.
        legend: name the series.
        rule: a value of the vertical axis to mark by a dashed line.
    """
    import altair as alt

    series = list(dict.fromkeys(row["series"] for row in rows))
    color = alt.Color(
        "series:N", sort=series, scale=alt.Scale(domain=series, range=list(colors[: len(series)])),
        legend=alt.Legend(orient="top", title=None, labelFontSize=12, symbolOpacity=1) if legend and len(series) > 1 else None,
    )  # fmt: skip
    across = alt.X(f"x:{'T' if time else 'Q'}", axis=_axis(x, percent=percent_across, time=time), scale=alt.Scale(nice=not time))
    up = alt.Y("y:Q", axis=_axis(y, percent=percent), scale=alt.Scale(zero=zero, nice=True))
    tooltip = [alt.Tooltip("series:N", title=" "), alt.Tooltip("x:T" if time else "x:Q", title=x), alt.Tooltip("y:Q", title=y, format=".4~g")]
    if any("hint" in row for row in rows):
        tooltip.append(alt.Tooltip("hint:N", title=" "))
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(x=across, color=color, tooltip=tooltip)
    layers = []
    if any("low" in row for row in rows):
        layers.append(base.mark_rule(strokeWidth=2, opacity=0.35).encode(y=alt.Y("low:Q", axis=_axis(y, percent=percent)), y2="high:Q"))
    layers.append(base.mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(filled=True, size=55) if points else False, interpolate="linear").encode(y=up))
    if rule is not None:
        layers.append(alt.Chart(alt.InlineData(values=[{"y": rule}])).mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5).encode(y="y:Q"))
    return alt.layer(*layers).properties(height=height).configure_view(stroke=None)


def reliability_chart(rows: Sequence[Row], *, x: str, y: str, count: str, color: str = COLORS[0], height: int = 260) -> Any:
    """Return confidence against the share that was right, one dot per bin, its size the number of answers; on the dashed line both are equal.

    Args:
        rows: ``confidence`` and ``right`` in [0, 1], and ``n``.
        x: title of the confidence.
        y: title of the share right.
        count: what a tooltip calls ``n``.
        color: of the dots.
        height: of the picture, in pixels.
    """
    import altair as alt

    whole = alt.Scale(domain=[0, 1])
    equal = alt.Chart(alt.InlineData(values=[{"confidence": 0, "right": 0}, {"confidence": 1, "right": 1}]))
    diagonal = equal.mark_line(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5).encode(
        x=alt.X("confidence:Q", axis=_axis(x, percent=True), scale=whole), y=alt.Y("right:Q", axis=_axis(y, percent=True), scale=whole)
    )
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x="confidence:Q", y="right:Q",
        tooltip=[alt.Tooltip("confidence:Q", title=x, format=".0%"), alt.Tooltip("right:Q", title=y, format=".0%"), alt.Tooltip("n:Q", title=count)],
    )  # fmt: skip
    dots = base.mark_point(filled=True, color=color, opacity=0.85).encode(size=alt.Size("n:Q", legend=None, scale=alt.Scale(range=[40, 420])))
    return alt.layer(diagonal, base.mark_line(color=color, opacity=0.35), dots).properties(height=height).configure_view(stroke=None)


def matrix_chart(rows: Sequence[Row], *, x: str, y: str, colors: tuple[str, str] = ("#c0562f", "#2f855a"), text: str = "#1e293b") -> Any:
    """Return a table of differences as coloured cells: losses in the first colour, gains in the second, nothing where neither is certain.

    Args:
        rows: ``across``, ``down``, ``difference``, ``label`` and ``note``.
        x: title of the columns.
        y: title of the rows.
        colors: of a loss and a gain.
        text: colour of the labels.
    """
    import altair as alt

    most = max((abs(row["difference"]) for row in rows), default=0.0) or 1.0
    down, across = (list(dict.fromkeys(row[name] for row in rows)) for name in ("down", "across"))
    axis: dict[str, Any] = {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domain": False,
        "ticks": False,
        "labelAngle": 0,
        "labelLimit": 240,
    }
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=alt.X("across:N", sort=across, axis=alt.Axis(title=x, orient="top", **axis)), y=alt.Y("down:N", sort=down, axis=alt.Axis(title=y, **axis)),
        tooltip=[alt.Tooltip("down:N", title=y), alt.Tooltip("across:N", title=x), alt.Tooltip("label:N", title=" "), alt.Tooltip("note:N", title=" ")],
    )  # fmt: skip
    scale = alt.Scale(domain=[-most, 0, most], range=[colors[0], "#ffffff00", colors[1]], interpolate="rgb")
    cells = base.mark_rect(cornerRadius=4, stroke=QUIET, strokeOpacity=0.35, opacity=0.45).encode(color=alt.Color("difference:Q", scale=scale, legend=None))
    labels = base.mark_text(fontSize=13, color=text).encode(text="label:N")
    return alt.layer(cells, labels).properties(height=46 * len(down) + 46).configure_view(stroke=None)


def _names(minimum: int) -> Any:
    import altair as alt

    return alt.Axis(title=None, labelLimit=230, labelPadding=8, minExtent=minimum, domain=False, ticks=False, labelFontSize=13)


def _axis(title: str, *, percent: bool = False, time: bool = False) -> Any:
    import altair as alt

    return alt.Axis(
        title=title.strip() or None, titleFontWeight="normal", titleFontSize=12, labelFontSize=12, domain=False, ticks=False, tickCount=4 if time else 6,
        format="%m-%d %H:%M" if time else "%" if percent else alt.Undefined,
    )  # fmt: skip


def svg(chart: Any, *, width: int = 640) -> str:
    """Return a chart as SVG, drawn in this process without network or browser."""
    import vl_convert

    plain = chart.properties(width=width).configure(font=FONT, axis={"gridColor": "#e2e8f0", "labelColor": "#475569", "titleColor": "#475569"})
    drawn: str = vl_convert.vegalite_to_svg(plain.to_dict(), allowed_base_urls=[])
    return drawn
