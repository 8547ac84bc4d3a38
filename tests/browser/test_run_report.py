"""A run's report in a real browser: it filters, opens, and loads nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.types import Status
from evals.aggregate import aggregate
from evals.items import ItemResult
from evals.report import write_report
from evals.runs import Run

pytestmark = pytest.mark.browser


def result(name: str, *, right: bool, lang: str = "en") -> ItemResult:
    return ItemResult(
        id=name, question=f"question {name} <b>bold</b>", lang=lang, kind="qa", answerable=True, expected_status=Status.ANSWERED, status=Status.ANSWERED, right=right,
        reason="" if right else "cites another document", answer=f"answer {name}", cited=("doc: quote",), expected=("doc: other quote",), confidence=0.8,
        milliseconds=1.0, source_right=right, passage_right=right, quote_right=right, spans_hold=True, slice={},
    )  # fmt: skip


def test_report_filters_its_items_and_asks_for_nothing(browser: Browser, tmp_path: Path) -> None:
    items = (result("a", right=True), result("b", right=False), result("c", right=False, lang="zh"))
    run = Run(id="r", domain="garden", created_at=0.0, split="test", config={}, scores=aggregate(items), items=items)
    path = write_report(tmp_path, run)
    page = browser.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    try:
        page.goto(path.as_uri())
        shown = page.locator("[data-list] > details:visible")
        expect(shown).to_have_count(2)  # what was not right, first
        page.get_by_label("Language").select_option("zh")
        expect(shown).to_have_count(1)
        expect(page.locator("[data-count]")).to_have_text("1 / 3")
        page.get_by_label("Language").select_option("")
        page.get_by_label("Right or not").select_option("")
        page.get_by_label("Search").fill("question a")
        expect(shown).to_have_count(1)
        page.get_by_role("button", name="Open all").click()
        expect(page.get_by_text("answer a", exact=True)).to_be_visible()
        assert asked == [path.as_uri()] and problems == []
        assert page.locator("svg").count() >= 2 and page.locator("b").count() == 0
    finally:
        page.close()
