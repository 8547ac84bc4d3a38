from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from core.assistant import Assistant
from core.registry import Domain
from core.settings import ROOT, get_settings
from tests.ui.conftest import App
from tests.ui.helpers import shown
from ui import state
from ui.components import charts, documents, facts, failures


def test_library_page_counts_and_searches(app: App, built_home: Path) -> None:
    at = app("library")
    html = shown(at)
    assert '<span class="dk-figure">5</span>' in html
    assert list(at.dataframe[0].value["Title"]) == ["Compost", "Roses", "Tulips", "玫瑰", "郁金香"]
    at.text_input(key="documents.search").set_value("black spot fungus").run()
    assert "Black spot is a fungus" in shown(at)
    at.button(key="documents.hit.1").click().run()
    assert "Prune roses in February" in shown(at)
    at.run()
    assert 'class="dk-text"' not in shown(at)


@pytest.mark.parametrize("page", ["library", "evaluate", "adapters", "about"])
def test_pages_have_the_frame_when_they_are_the_first_thing_asked_for(app_home: Path, page: str) -> None:
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(ROOT / "ui" / "app.py"), default_timeout=60)
    at.switch_page(f"pages/{page}.py").run()
    assert not at.exception
    assert at.segmented_control(key="domain") and at.segmented_control(key="lang")


def test_library_page_says_when_nothing_is_found(app: App, built_home: Path, garden: Domain) -> None:
    documents.change(garden, [row.id for row in state.library(garden).documents()])
    at = app("library")
    at.text_input(key="documents.search").set_value("roses").run()
    assert "Nothing was found" in shown(at)


def test_library_page_brings_removed_documents_back(app: App, built_home: Path, garden: Domain) -> None:
    roses = next(row for row in state.library(garden).documents() if row.title == "Roses")
    at = app("library")
    at.session_state["documents.removed"] = documents.change(garden, [roses.id])
    at.run()
    assert "Removed from every search: Roses" in shown(at)
    assert "Roses" not in list(at.dataframe[0].value["Title"])
    at.button(key="documents.undo").click().run()
    assert "Roses" in list(at.dataframe[0].value["Title"])


def test_library_removed_documents_leave_every_search_at_once(built_home: Path, garden: Domain) -> None:
    assistant = state.assistant(garden)
    roses = [row.id for row in state.library(garden).documents() if row.title == "Roses"]
    assert any(hit.title == "Roses" for hit in assistant.retriever.search("prune roses", k=6, lang="en").hits)
    documents.change(garden, roses)
    assert not any(hit.title == "Roses" for hit in assistant.retriever.search("prune roses", k=6, lang="en").hits)
    documents.change(garden, roses, restore=True)
    assert any(hit.title == "Roses" for hit in assistant.retriever.search("prune roses", k=6, lang="en").hits)


def test_library_page_shows_uploads_that_failed(app: App, built_home: Path) -> None:
    at = app("library")
    at.file_uploader[0].set_value(
        [("note.md", b"# Dahlias\n\nDahlia tubers are lifted after the first frost.\n", "text/markdown"), ("x.pdf", b"no pdf", "application/pdf")]
    )
    at.run()
    at.button(key="uploads.add").click().run()
    assert not at.exception
    html = shown(at)
    assert "1 added, 0 already there." in html and "Not added: " in html and "x.pdf" in html
    assert "Dahlias" in list(at.dataframe[0].value["Title"])


def test_evaluate_page_runs_and_shows_scores_and_failures(app: App, built_home: Path) -> None:
    at = app("evaluate")
    assert "No run yet" in shown(at)
    at.button(key="evaluate.start").click().run()
    assert not at.exception
    assert at.selectbox(key="evaluate.chosen").options
    assert "Not right" in shown(at) or "Every answer of this run was right." in shown(at)
    runs = list((built_home / "runs" / "garden").iterdir())
    assert len(runs) == 1 and (runs[0] / "report.html").is_file()
    assert "There is no other run of these questions yet." in shown(at)


def test_evaluate_page_compares_runs_and_shows_them_over_time(app: App, built_home: Path, garden: Domain, assistant: Assistant) -> None:
    from evals.runner import run_domain

    folder = built_home / "runs" / "garden"
    for name in ("one", "two"):
        run_domain(garden, settings=get_settings(), assistant=assistant, split="test", out=folder / name)
    items = folder / "two" / "items.jsonl"
    lines = [json.loads(line) for line in items.read_text("utf-8").splitlines()]
    flipped = next(line for line in lines if line["right"] and line["expected"])
    flipped.update(right=False, reason="expected answered, was abstained", marks=flipped["marks"] | {"right": 0.0, "mrr_at_10": 0.5})
    items.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    at = app("evaluate")
    at.selectbox(key="evaluate.chosen").set_value("two").run()
    at.selectbox(key="evaluate.against").set_value("one").run()
    html = shown(at)
    assert not at.exception and "Over time" in html and "0 became right, 1 became wrong." in html
    assert "Corpus, adapter, prompts and settings are the same in both." in html
    # The failure stands beside the passage of the library that holds what was expected, the quote marked.
    assert flipped["question"] in html and "(found at place 2)" in html and "<mark>" in html


def test_failures_mark_a_quote_whatever_the_white_space() -> None:
    assert failures.marked("Dig a  hole\nfirst. Water it.", "Dig a hole first.") == (
        '<blockquote class="dk-excerpt"><mark>Dig a  hole\nfirst.</mark> Water it.</blockquote>'
    )
    assert "<mark>" not in failures.marked("<b>", "absent") and "&lt;b&gt;" in failures.marked("<b>", "absent")


def test_evaluate_page_without_the_evals_package_says_so(app: App, built_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == "evals.runner" else real(name, package))
    assert "evaluation package is not installed" in shown(app("evaluate"))


def test_about_page_shows_promises_card_and_versions(app: App, built_home: Path) -> None:
    html = shown(app("about"))
    assert "Locked to evidence" in html and "A small domain for tests." in html and "streamlit" in html
    assert "not calibrated: a default threshold" in html and "5 documents" in html


def test_about_page_of_a_domain_without_library_works(app: App, app_home: Path) -> None:
    assert "not built" in shown(app("about", lang="en"))


def test_pages_work_in_chinese(app: App, built_home: Path) -> None:
    assert "资料库" in shown(app("library", lang="zh"))
    assert "评测" in shown(app("evaluate", lang="zh"))
    assert "三个承诺" in shown(app("about", lang="zh")) or "以证据为准" in shown(app("about", lang="zh"))


def test_facts_card_hides_comments_and_its_own_title(garden: Domain, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "README.md").write_text("# Garden\n\nShown. <!-- not\nshown --> Also shown.\n", "utf-8")
    assert facts.card_text(replace(garden, folder=tmp_path)) == "Shown.  Also shown."


def test_facts_list_only_installed_packages() -> None:
    assert dict(facts.versions())["streamlit"].count(".") == 2


def test_charts_part_scores_by_which_way_is_better() -> None:
    from evals.runner import Score

    scores = [Score(metric=name, slice="all", value=0.5, low=0.4, high=0.6, n=10) for name in ("coverage", "false_alarm", "own")]
    assert [row["metric"] for row in charts.score_rows(scores, lower=False, lang="en")] == ["Answered when it should", "own"]
    assert [row["metric"] for row in charts.score_rows(scores, lower=True, lang="en")] == ["False alarms"]
    chart = charts.score_chart(charts.score_rows(scores, lower=False, lang="en"), colors=("#111111",), lang="en")
    assert len(chart.to_dict()["layer"]) == 2


def test_app_has_one_encoder_and_one_assistant_per_domain(built_home: Path, garden: Domain) -> None:
    assert state.encoder() is state.encoder()
    assert state.assistant(garden) is state.assistant(garden)
    assert state.assistant(garden).encoder is state.encoder()
    assert get_settings().home == built_home


def test_app_asks_no_font_or_statistics_host() -> None:
    root = Path(sys.modules["ui"].__file__ or "").parent
    config = (root.parent / ".streamlit" / "config.toml").read_text("utf-8")
    assert "gatherUsageStats = false" in config
    for path in (root / "static").iterdir():
        assert "http" not in path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
