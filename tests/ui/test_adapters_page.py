"""The Adapters page: a domain without an adapter, a refused one, the card of a shipped one, and a training run started, stopped, resumed, installed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.registry import Domain
from core.settings import ROOT, get_settings
from core.training.checkpoint import read_progress
from core.training.running import holder
from tests.ui.conftest import App
from tests.ui.helpers import STONES_RECIPE as RECIPE
from tests.ui.helpers import labels, shown, write_stones
from ui import training_jobs
from ui.components import adapter
from ui.components.training import minutes_left


@pytest.fixture
def own(built_home: Path, garden: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Domain:
    """The garden in a folder that the test may change, with a recipe and something to train on."""
    folder = Path(shutil.copytree(garden.folder, tmp_path / "own" / "garden"))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "recipe.toml").write_text(RECIPE.format(steps=4), "utf-8")
    write_stones(tmp_path / "things.jsonl")
    monkeypatch.setenv("DOMAINKIT_DOMAINS", str(folder))
    get_settings.cache_clear()
    return Domain(manifest=garden.manifest, folder=folder, door="test")


def until(happens: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def drawn(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def test_page_of_a_domain_without_adapter_or_recipe_says_what_to_do(app: App, built_home: Path) -> None:
    at = app("adapters")
    assert "This domain has no adapter" in shown(at) and "Put a recipe.toml into" in shown(at)
    assert "训练配方" in shown(app("adapters", lang="zh"))


def test_page_of_a_refused_adapter_says_why(app: App, own: Domain) -> None:
    shutil.copytree(ROOT / "domains" / "education" / "adapter", own.folder / "adapter", dirs_exist_ok=True)
    weights = own.folder / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert "The adapter is refused" in shown(app("adapters"))


def test_page_shows_gain_proof_matrix_and_card(app: App, own: Domain) -> None:
    shutil.copytree(ROOT / "domains" / "education" / "adapter", own.folder / "adapter", dirs_exist_ok=True)
    html = shown(app("adapters"))
    assert "Gain on held-out questions" in html and "OpenStax, Rice University" in html and "education@" not in html
    # The card's proof binds hashes, not names: it stands wherever the adapter stands.
    assert "Changes 36 modules" in html and "Whole assistant at home" in html


def test_proof_of_another_adapter_is_none(own: Domain) -> None:
    from core.models.adapters import check_adapter

    found = check_adapter("education", ROOT / "domains" / "education" / "adapter", task="FEATURE_EXTRACTION")
    card = json.loads((found.folder / "card.json").read_text("utf-8"))
    assert adapter.proof_of(card, found) is not None
    card["proof"]["binding"]["adapter_sha256"] = "0" * 64
    assert adapter.proof_of(card, found) is None and adapter.proof_of({}, found) is None


def test_cells_within_the_noise_have_no_colour() -> None:
    from evals.proof import Cell

    cell = Cell(domain="a", adapter="b", n=9, base=0.5, value=0.4, low=-0.2, high=0.1, p=0.4, verdict="same")
    rows = adapter.matrix_rows((cell, cell.model_copy(update={"verdict": "worse"})), {"a": "A"}, "en")
    assert [round(row["difference"], 3) for row in rows] == [0.0, -0.1] and rows[0]["down"] == "A" and rows[0]["label"] == "-0.100"


@pytest.mark.slow
def test_training_is_started_stopped_resumed_and_put_into_the_domain(app: App, own: Domain, tmp_path: Path) -> None:
    (own.folder / "adapter" / "recipe.toml").write_text(RECIPE.format(steps=100_000), "utf-8")
    settings = get_settings()
    folder = training_jobs.folder_of(own, settings)
    at = app("adapters")
    at.text_input(key="training.data").set_value(str(tmp_path)).run()
    at.button(key="training.start").click().run()
    assert not at.exception and "Stop" in labels(at)
    until(lambda: read_progress(folder) is not None)
    at.button(key="training.stop").click().run()
    until(lambda: holder(folder) is None)
    stopped = read_progress(folder)
    assert stopped is not None and not stopped.finished and stopped.step > 0
    assert f"Stopped at step {stopped.step} of 100000" in shown(drawn(at)) and "Go on" in labels(at)

    assert at.text_input(key="training.data").value == str(tmp_path)
    at.button(key="training.start").click().run()
    until(lambda: (read_progress(folder) or stopped).step > stopped.step)
    training_jobs.ask_to_stop(own, settings)
    until(lambda: holder(folder) is None)

    (own.folder / "adapter" / "recipe.toml").write_text(RECIPE.format(steps=4), "utf-8")
    drawn(at).button(key="training.start").click().run()
    until(lambda: holder(folder) is None)
    assert "holds a run with other data, base or recipe" in shown(drawn(at))
    at.button(key="training.again").click().run()
    until(lambda: (folder / "report.html").is_file() and holder(folder) is None)
    assert read_progress(folder.with_name("retrieval-before")) is not None  # the run that was given up is set aside, not lost
    assert "Finished" in shown(drawn(at)) and "Recall@1" in shown(at)

    at.button(key="training.install").click().run()
    assert not at.exception and (own.folder / "adapter" / "card.json").is_file()
    assert "Run `domainkit calibrate garden`" in shown(at)
    assert "Rank" in shown(at) and "things.jsonl" in shown(at)


@pytest.mark.slow
def test_run_that_cannot_begin_says_why(app: App, own: Domain) -> None:
    at = app("adapters")
    at.button(key="training.start").click().run()
    until(lambda: holder(training_jobs.folder_of(own, get_settings())) is None)
    html = shown(drawn(at))
    assert "The run ended with an error" in html and "things.jsonl" in html


def test_time_left_follows_from_the_pace_so_far(own: Domain) -> None:
    from core.training.checkpoint import RunState

    state = RunState(fingerprint="f", step=10, steps=100, seconds=120.0, state_sha256="", best_sha256="", history=())
    found = training_jobs.standing(own, get_settings())
    from dataclasses import replace

    assert minutes_left(found) is None and minutes_left(replace(found, state=state)) == 18
