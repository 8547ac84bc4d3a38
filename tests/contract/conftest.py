"""The command line over a home that holds the garden's library; tests here must not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine, command_line

from core.library import Library
from core.registry import Domain


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory, home: Path, garden: Domain, garden_library: Library) -> CommandLine:
    """The shared command line."""
    return command_line(tmp_path_factory.mktemp("contract") / "home", home=home, garden=garden, library=garden_library)
