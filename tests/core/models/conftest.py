"""A tiny trained model and two adapters, made once per session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_model import make_adapter, make_tiny_model

from core.models import Request
from core.models.huggingface import close_engines
from core.settings import Settings
from core.types import Hit, Passage, Span

TEXT = "Plant tulip bulbs in October, about 15 cm deep. Tulip bulbs need a cold winter to flower."


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that says one sentence."""
    folder = tmp_path_factory.getbasetemp() / "tiny-model"
    return folder if (folder / "tokenizer.json").exists() else make_tiny_model(folder)


@pytest.fixture(scope="session")
def adapter_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a LoRA adapter of the tiny model, as peft saves it."""
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "first", seed=1)


@pytest.fixture(scope="session")
def other_adapter_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second adapter, with other weights, rank and targets."""
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "second", seed=2, rank=2, targets=("o_proj", "down_proj"))


@pytest.fixture(scope="session")
def local_settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of the local profile with the tiny model; its engine is shared by the session's tests."""
    yield Settings(home=tmp_path_factory.mktemp("local-home"), profile="local", model=str(tiny_model), device="cpu", threads=1)
    close_engines()


@pytest.fixture
def request_for() -> Request:
    """A request with one passage."""
    passage = Passage(
        id="p", document_id="d", page=None, start=0, end=len(TEXT), text=TEXT, heading="Tulips", lang="en",
        sentences=(Span(start=0, end=47), Span(start=48, end=len(TEXT))),
    )  # fmt: skip
    hit = Hit(passage=passage, external_id="tulips", title="Tulips", source="tulips.md", url="", score=0.9, dense=0.9, keyword=0.9)
    return Request(
        question="When do I plant tulips?", lang="en", hits=(hit,), prompt="Passages: [1] " + TEXT + " Question: When do I plant tulips? Answer:", max_tokens=48
    )
