"""A garden that is asked about a lot, built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from busy_garden import Busy, busy_over, write_questions

from core.encoder import Encoder
from core.ingest import bring_up_to_date
from core.registry import Domain
from core.settings import Settings


@pytest.fixture(scope="session")
def busy(garden: Domain, settings: Settings, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Busy:
    """The garden with some six hundred training questions, its library built; tests that change anything make a copy."""
    place = tmp_path_factory.mktemp("busy")
    shutil.copytree(garden.folder, place / "garden")
    (place / "garden" / "training" / "questions.jsonl").unlink()
    write_questions(place / "garden" / "training")
    (place / "home").mkdir()
    os.symlink(settings.home / "encoders", place / "home" / "encoders")
    made = busy_over(place, settings, encoder)
    bring_up_to_date(made.domain, made.library, encoder, settings=made.settings)
    return made


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Fitting steps this small take longest when several threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
