"""The settings that the readers run under, and one door to read a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from document_samples import ReadOne, check_spans

from core.documents import read_documents, sandbox
from core.settings import Settings
from core.types import Document


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a home of their own."""
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def read_one(settings: Settings) -> ReadOne:
    """Read a file that holds exactly one document, through the sandbox, and check its spans."""

    def read(path: Path) -> Document:
        (document,) = read_documents(path, scope="corpus", settings=settings)
        check_spans(document)
        return document

    return read


@pytest.fixture(scope="session", autouse=True)
def _close_sandbox() -> Iterator[None]:
    yield
    sandbox.close()
