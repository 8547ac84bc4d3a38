"""The command line in this process and in one of its own, over a home that holds the garden's library."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from core.library import Library
from core.registry import Domain
from core.settings import ROOT, get_settings


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout; fails when anything else stands there."""
        (line,) = self.out.removesuffix("\n").split("\n")
        return json.loads(line)

    @property
    def lines(self) -> list[Any]:
        """One JSON object per line of stdout."""
        return [json.loads(line) for line in self.out.removesuffix("\n").split("\n")]

    @property
    def advice(self) -> str:
        """The one line that says what is wrong and what to do."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err, self.err
        return line.removeprefix("error: ")


class CommandLine:
    """``domainkit`` over one home and the garden domain."""

    def __init__(self, place: Path, *, home: Path, domains: Path) -> None:
        self.home = place
        self.domains = domains
        place.mkdir(parents=True, exist_ok=True)
        for name in ("encoders", "segmenter"):
            if (home / name).exists() and not (place / name).exists():
                os.symlink(home / name, place / name)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of the kit."""
        return {"DOMAINKIT_HOME": str(self.home), "DOMAINKIT_DOMAINS": str(self.domains), "HF_HUB_OFFLINE": "1"}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINKIT_", "PYTEST"))}
        return kept | self.variables | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}

    def __call__(self, *arguments: str, **variables: str) -> Outcome:
        """Run a command in this process."""
        from ui.cli import main

        out, err = io.StringIO(), io.StringIO()
        get_settings.cache_clear()
        try:
            with (
                mock.patch.dict(os.environ, self.variables | variables),
                mock.patch.object(sys, "argv", ["domainkit", *arguments]),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                try:
                    main()
                    code = 0
                except SystemExit as done:
                    code = int(done.code or 0)
        finally:
            get_settings.cache_clear()
        return Outcome(code=code, out=out.getvalue(), err=err.getvalue())

    def process(self, *arguments: str, **variables: str) -> Outcome:
        """Run a command in a process of its own; its streams are decoded strictly as UTF-8."""
        command = [sys.executable, "-m", "ui.cli", *arguments]
        done = subprocess.run(command, capture_output=True, env=self.environment | variables, cwd=ROOT, timeout=120)
        return Outcome(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode("utf-8", "backslashreplace"))


def command_line(place: Path, *, home: Path, garden: Domain, library: Library | None) -> CommandLine:
    """Return the command line over ``place``, with a copy of ``library`` when there is one."""
    made = CommandLine(place, home=home, domains=garden.folder)
    if library is not None:
        shutil.copytree(library.folder, place / "libraries" / garden.name)
    return made
