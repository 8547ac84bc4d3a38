from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from core.settings import ROOT
from ui import i18n


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_i18n_both_languages_have_the_same_keys() -> None:
    assert set(i18n.EN) == set(i18n.ZH)


@pytest.mark.parametrize("key", sorted(i18n.EN))
def test_i18n_both_languages_fill_the_same_placeholders(key: str) -> None:
    assert placeholders(i18n.EN[key]) == placeholders(i18n.ZH[key])
    assert i18n.ZH[key].strip() and i18n.EN[key].strip()


def test_i18n_every_key_named_in_the_source_exists() -> None:
    sources = [
        ROOT / "ui" / "app.py",
        ROOT / "ui" / "export.py",
        *sorted((ROOT / "ui" / "pages").glob("*.py")),
        *sorted((ROOT / "ui" / "components").glob("*.py")),
    ]
    pattern = re.compile(r'["\']((?:app|nav|frame|build|ask|source|details|history|library|evaluate|adapters|training|about|error)\.[a-z_0-9]+)["\']')
    # Keys of widgets look alike; they are the ones with more dots or with an own prefix.
    named = {key for path in sources for key in pattern.findall(Path(path).read_text("utf-8"))}
    widgets = {
        "app.framed", "ask.py", "library.py", "evaluate.py", "adapters.py", "about.py",
        "build.start", "evaluate.limit", "evaluate.start", "evaluate.chosen", "history.deleted", "history.new", "history.undo", "ask.export",
        "training.said", "training.report",
    }  # fmt: skip
    assert named - widgets <= set(i18n.EN)


@pytest.mark.parametrize(("locale", "lang"), [("zh-CN", "zh"), ("zh", "zh"), ("ZH-Hant", "zh"), ("en-US", "en"), ("de-DE", "en"), (None, "en"), ("", "en")])
def test_i18n_takes_the_browsers_language(locale: str | None, lang: str) -> None:
    assert i18n.language_of(locale) == lang


def test_i18n_names_unknown_things_of_a_domain_as_they_are() -> None:
    assert i18n.text_or("metric.own_metric", "zh", "own_metric") == "own_metric"
