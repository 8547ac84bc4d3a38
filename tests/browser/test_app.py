from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.browser.conftest import Open

expect.set_options(timeout=20_000)  # a busy machine draws late

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUESTION = "When do I plant tulips?"
HOSTILE = "![x](https://evil.example/a.png) <img src=https://evil.example/b.png onerror=alert(1)> when do I plant tulips"


def ask(page: Page, question: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(question)
    box.press("Enter")
    expect(page.locator(".dk-question").last).to_have_text(question)
    expect(page.locator(".dk-working, .dk-streaming")).to_have_count(0)
    expect(page.get_by_test_id("stFeedback").last).to_be_visible()


def pdf(text: str) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    canvas.setTitle("Greenhouse manual for the north wing")
    canvas.drawString(72, 700, "This page is the cover of the manual and says nothing else.")
    canvas.showPage()
    canvas.drawString(72, 700, text)
    canvas.save()
    return buffer.getvalue()


def test_app_answers_a_starter_and_opens_its_source(visit: Open) -> None:
    page = visit("?domain=garden")
    page.get_by_role("button", name=QUESTION).click()
    number = page.locator("button.cite").first
    number.click()
    expect(number).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".dk-excerpt mark")).to_contain_text("tulip bulbs in October")
    expect(page.get_by_text("Matches the library word for word")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("Open the original"))).to_have_attribute("href", "https://example.org/gardening")
    number.click()
    expect(page.locator(".dk-excerpt")).to_have_count(0)


def test_app_switches_domains_and_colours(visit: Open) -> None:
    page = visit("?domain=garden")
    expect(page.locator(".dk-hero h2")).to_have_text(["Garden"])
    before = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--dk-light')")
    other = page.locator(".st-key-domain button").filter(has_not_text="Garden").first
    title = other.inner_text().split("\n")[-1].strip()
    other.click()
    expect(page.locator(".dk-hero h2")).to_have_text([title])
    expect(page).to_have_title(re.compile(re.escape(title)))
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--dk-light')") != before
    assert "domain=garden" not in page.url


def test_app_speaks_the_browsers_language_and_switches(visit: Open) -> None:
    page = visit("?domain=garden", locale="zh-CN")
    expect(page.locator(".dk-hero h2")).to_have_text(["园艺"])
    page.get_by_role("radio", name="English").click()
    expect(page.locator(".dk-hero h2")).to_have_text(["Garden"])


def test_app_answers_chinese(visit: Open) -> None:
    page = visit("?domain=garden", locale="zh-CN")
    ask(page, "什么时候种郁金香？")
    # Whether it knows is the core's business; that it says so in Chinese is the app's.
    expect(page.locator(".answer p, .dk-card-title")).to_contain_text(re.compile("十月|我不知道"))


def test_app_keeps_focus_for_the_next_question_and_survives_a_reload(visit: Open) -> None:
    page = visit("?domain=garden")
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_focused()
    ask(page, "how long does compost take")
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_focused()
    page.reload()
    expect(page.locator(".dk-question")).to_have_text("how long does compost take")


def test_app_deletes_a_conversation_and_undoes_it(visit: Open) -> None:
    page = visit("?domain=garden")
    ask(page, "what is black spot on roses")
    row = page.locator("[class*='st-key-dk-current-']")
    row.get_by_role("button", name="Delete this conversation").click()
    expect(page.locator(".dk-question")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".dk-question")).to_have_text("what is black spot on roses")


def test_app_copies_the_answer_as_text(visit: Open) -> None:
    page = visit("?domain=garden")
    ask(page, QUESTION)
    page.get_by_role("button", name="Copy answer").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "October" in copied and "http" not in copied and "[" not in copied


def test_app_exports_markdown_and_pdf(visit: Open, tmp_path: Path) -> None:
    page = visit("?domain=garden")
    ask(page, QUESTION)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Markdown").click()
    waiting.value.save_as(tmp_path / "a.md")
    assert "October" in (tmp_path / "a.md").read_text("utf-8")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PDF").click()
    waiting.value.save_as(tmp_path / "a.pdf")
    assert "October" in PdfReader(tmp_path / "a.pdf").pages[0].extract_text()


def test_app_shows_hostile_text_as_text(visit: Open) -> None:
    page = visit("?domain=garden")
    ask(page, HOSTILE)
    expect(page.locator(".dk-question")).to_have_text(HOSTILE)
    assert page.locator("img[src*='evil'], [onerror]").count() == 0
    # Sidebar title and export are made of the same words.
    assert page.locator("a[href*='evil']").count() == 0


def test_app_adds_a_pdf_and_answers_from_its_page(visit: Open) -> None:
    page = visit("library?domain=garden")
    sentence = "The greenhouse thermostat must be set to 17 degrees in January."
    files = [
        {"name": "greenhouse.pdf", "mimeType": "application/pdf", "buffer": pdf(sentence)},
        {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"no pdf at all"},
    ]
    page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    page.get_by_role("button", name="Add to the library").click()
    expect(page.get_by_text("1 added, 0 already there.")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Not added: broken.pdf")).to_be_visible()
    page.get_by_role("link", name="Ask").click()
    ask(page, "what must the greenhouse thermostat be set to in January")
    expect(page.locator(".answer p").last).to_contain_text("17 degrees")
    page.locator("button.cite").last.click()
    expect(page.locator(".dk-source-head")).to_contain_text("page 2")
    expect(page.locator(".dk-excerpt mark")).to_contain_text("17 degrees")


def test_app_removes_a_document_and_undoes_it(visit: Open) -> None:
    page = visit("library?domain=garden")
    table = page.get_by_test_id("stDataFrame")
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 36 + 18)
    page.get_by_role("button", name="Remove (1)").click()
    expect(page.get_by_text(re.compile("Removed from every search"))).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text(re.compile("Removed from every search"))).to_have_count(0)


def test_app_runs_an_evaluation(visit: Open) -> None:
    page = visit("evaluate?domain=garden")
    page.get_by_role("button", name="Run the evaluation").click()
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible(timeout=60_000)
    page.get_by_role("tab", name="Not right").click()
    expect(page.get_by_text(re.compile(r"Not right \(|Every answer of this run")).first).to_be_visible()
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_text("There is no other run of these questions yet.")).to_be_visible()
    page.get_by_role("tab", name="Scores").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    assert download.value.suggested_filename.endswith(".html")


@pytest.mark.parametrize("path", ["", "library", "evaluate", "adapters", "about"])
@pytest.mark.parametrize("width", [360, 390])
def test_app_fits_a_phone(visit: Open, path: str, width: int) -> None:
    page = visit(f"{path}?domain=garden", phone=True)
    page.set_viewport_size({"width": width, "height": 780})
    expect(page.locator(".st-key-domain")).to_be_visible()
    expect(page.locator(".dk-title")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_app_has_a_dark_theme(visit: Open) -> None:
    page = visit("?domain=garden", dark=True)
    expect(page.locator(".dk-hero")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor") == "rgb(21, 24, 28)"


def test_app_hides_what_is_streamlits_own(visit: Open) -> None:
    page = visit("?domain=garden")
    expect(page.locator(".dk-hero")).to_be_visible()
    for name in ("stAppDeployButton", "stMainMenu", "stDecoration"):
        expect(page.get_by_test_id(name)).to_have_count(0)
