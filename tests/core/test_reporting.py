"""Pages of results load nothing, escape everything, run one script; charts are drawn without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.reporting.charts import gain_chart, interval_chart, line_chart, matrix_chart, reliability_chart, svg
from core.reporting.page import render_page

TITLES = {"metric": "Metric", "slice": "Slice", "value": "Value"}


def page(folder: Path, text: str) -> str:
    (folder / "page.html").write_text(
        '{% extends "base.html" %}{% block title %}t{% endblock %}{% block content %}<p title="{{ text }}">{{ text }}</p>{% endblock %}'
    )
    return render_page(folder, "page.html", text=text)


def test_page_allows_the_one_script_that_it_has(tmp_path: Path) -> None:
    found = page(tmp_path, "x")
    script = re.search(r"<script>(.*?)</script>", found, re.S)
    assert script is not None and found.count("<script") == 1
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()}'" in found
    assert "default-src 'none'" in found


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=60))
def test_text_of_a_page_is_never_markup(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "escaping"
    folder.mkdir(exist_ok=True)
    body = page(folder, f"</p><script>{text}</script><img src=x onerror=1>")
    assert body.count("<script") == 1 and "<img" not in body


def test_charts_are_drawn_without_network() -> None:
    score = {"metric": "m", "slice": "all", "value": 0.5, "low": 0.4, "high": 0.6, "label": "50 %"}
    charts = [
        interval_chart([score, score | {"slice": "en"}], titles=TITLES),
        gain_chart([{"metric": "m", "before": 0.2, "after": 0.4, "label": "x"}], before="before", after="after"),
        line_chart([{"x": 1, "y": 0.1, "series": "a"}, {"x": 2, "y": 0.2, "series": "a"}], x="step", y="loss", rule=0.15),
        reliability_chart([{"confidence": 0.9, "right": 0.8, "n": 5}], x="c", y="r", count="n"),
        matrix_chart([{"across": "a", "down": "b", "difference": 0.1, "label": "+0.1", "note": ""}], x="x", y="y"),
    ]
    for chart in charts:
        drawn = svg(chart)
        assert drawn.startswith("<svg") and "<path" in drawn
        assert not re.findall(r'(?:href|src)="http', drawn)


def test_interval_chart_keeps_the_order_of_metrics_and_slices() -> None:
    rows = [{"metric": m, "slice": s, "value": 0.5, "low": 0.4, "high": 0.6, "label": ""} for m in ("z", "a") for s in ("zh", "en")]
    layer = interval_chart(rows, titles=TITLES).to_dict()["layer"][0]["encoding"]
    assert layer["y"]["sort"] == ["z", "a"] and layer["color"]["sort"] == ["zh", "en"]
