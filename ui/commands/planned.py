"""Commands of the contract that a later release brings: each says so and exits 1, so that scripts notice."""

from __future__ import annotations

from collections.abc import Callable

import typer

from core.errors import CheckFailed

PLANNED = {
    "pack": "Write a vertical into one hashed file.",
    "unpack": "Install a vertical from a packed file.",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, text in PLANNED.items():
        app.command(name, help=f"{text} (comes with the adapters release)", context_settings={"ignore_unknown_options": True})(_planned(name))


def _planned(name: str) -> Callable[[list[str]], None]:
    def command(arguments: list[str] = typer.Argument(None)) -> None:  # noqa: B008 - Typer reads defaults
        raise CheckFailed(f"`domainkit {name}` comes with the adapters release; this version has {', '.join(sorted({'ask', 'add', 'eval', 'check', 'new'}))}")

    command.__doc__ = PLANNED[name]
    return command
