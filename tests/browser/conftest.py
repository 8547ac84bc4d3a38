"""The real app on a free loopback port with a home of its own, and a real Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from core.library import Library
from core.registry import Domain
from core.settings import ROOT

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}

Open = Callable[..., Page]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server(home: Path, garden: Domain, garden_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app; yields its address."""
    place = tmp_path_factory.mktemp("browser-home")
    for name in ("encoders", "segmenter"):
        if (home / name).exists():
            os.symlink(home / name, place / name)
    shutil.copytree(garden_library.folder, place / "libraries" / "garden")
    port = _free_port()
    environment = os.environ | {"DOMAINKIT_HOME": str(place), "DOMAINKIT_DOMAINS": str(garden.folder), "PYTHONPATH": str(ROOT)}
    log = (place / "server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(ROOT / "ui" / "app.py"), "--server.port", str(port)],
        cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        else:
            pytest.fail("the app did not start:\n" + (place / "server.log").read_text("utf-8"))
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    if not CHROMIUM.exists():
        reason = "Chromium is not installed: apt-get install chromium fonts-noto-cjk"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def visit(server: str, browser: Browser) -> Iterator[Open]:
    """Return a function that opens a page of the app; afterwards nothing may have been asked of another host."""
    contexts = []
    strangers: list[str] = []
    errors: list[str] = []

    def opened(path: str = "", *, locale: str = "en-US", phone: bool = False, dark: bool = False) -> Page:
        context = browser.new_context(viewport=PHONE if phone else DESKTOP, locale=locale, color_scheme="dark" if dark else "light")
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: None if request.url.startswith((server, "data:", "blob:", "ws://127.0.0.1")) else strangers.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert strangers == [], "the app asked other hosts"
    assert errors == []
