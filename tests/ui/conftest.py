"""An app over the small garden domain, in a home of its own; run by Streamlit's own test runner."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.library import Library
from core.registry import Domain
from core.settings import ROOT, get_settings

App = Callable[..., AppTest]


@pytest.fixture
def app_home(tmp_path: Path, home: Path, garden: Domain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh DOMAINKIT_HOME that shares the session's compiled encoder; the app finds the garden beside the shipped domains."""
    place = tmp_path / "home"
    place.mkdir()
    for name in ("encoders", "segmenter"):
        if (home / name).exists():
            os.symlink(home / name, place / name)
    monkeypatch.setenv("DOMAINKIT_HOME", str(place))
    monkeypatch.setenv("DOMAINKIT_DOMAINS", str(garden.folder))
    get_settings.cache_clear()
    st.cache_resource.clear()
    yield place
    st.cache_resource.clear()
    get_settings.cache_clear()


@pytest.fixture
def built_home(app_home: Path, garden_library: Library) -> Path:
    """The fresh home with a copy of the garden's library."""
    shutil.copytree(garden_library.folder, app_home / "libraries" / "garden")
    return app_home


@pytest.fixture
def app(app_home: Path) -> App:
    """Return a function that opens a page of the app on the garden domain."""

    def opened(page: str = "", *, lang: str = "en", domain: str = "garden") -> AppTest:
        at = AppTest.from_file(str(ROOT / "ui" / "app.py"), default_timeout=60)
        at.query_params["domain"] = domain
        at.query_params["lang"] = lang
        at.run()
        if page:
            at.switch_page(f"pages/{page}.py").run()
        assert not at.exception, at.exception
        return at

    return opened
