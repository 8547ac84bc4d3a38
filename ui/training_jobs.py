"""Training runs that the app starts: a process of their own that outlives a closed page, seen through the files of its folder. Shows nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from core.registry import Domain
from core.settings import ROOT, Settings
from core.training.checkpoint import RunState, read_progress
from core.training.report import TrainingReport, load_report
from core.training.running import NOW, Now, holder, read_now, stop

LOG, DATA = "log.txt", "data-folder.txt"
TASK = "retrieval"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the training of a domain's adapter stands."""

    folder: Path
    running: bool
    now: Now | None
    """What it does; None while it does not say."""
    state: RunState | None
    """The last checkpoint."""
    report: TrainingReport | None
    """Of a finished run."""
    error: str
    """What it ended with; empty where it ended well or was stopped."""


def folder_of(domain: Domain, settings: Settings) -> Path:
    """Return the folder of a domain's adapter run: the one that ``domainkit train retrieval DOMAIN`` uses, so that either goes on with the other's run."""
    return settings.home / "training" / domain.name / TASK


def recipe_of(domain: Domain) -> Path:
    """Return where the recipe of a domain's adapter lies; it may not exist."""
    return domain.folder / domain.manifest.paths.adapter / "recipe.toml"


def former_of(domain: Domain, settings: Settings) -> Path:
    """Return where the adapter that a trained one replaced is kept."""
    return folder_of(domain, settings).parent / "former-adapter"


def last_data(domain: Domain, settings: Settings) -> str:
    """Return the folder of public data that the last run was started with, empty where there was none."""
    path = folder_of(domain, settings).parent / DATA
    return path.read_text("utf-8") if path.is_file() else ""


def standing(domain: Domain, settings: Settings) -> Standing:
    """Return how a domain's training stands.

    Raises:
        IntegrityError, UsageError: a file of the run is damaged.
    """
    folder = folder_of(domain, settings)
    running = holder(folder) is not None
    return Standing(
        folder=folder, running=running, now=read_now(folder) if running else None, state=read_progress(folder),
        report=None if running else load_report(folder), error="" if running else _error(folder / LOG),
    )  # fmt: skip


def _error(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")


def start(domain: Domain, settings: Settings, *, data: str) -> None:
    """Start or go on with the training of a domain's adapter in a process of its own.

    Args:
        domain: whose adapter.
        settings: where the run's folder lies.
        data: folder of the public data that the recipe names; empty for none.
    """
    folder = folder_of(domain, settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOW).unlink(missing_ok=True)
    (folder.parent / DATA).write_text(data, "utf-8")
    command = [sys.executable, "-m", "ui.cli", "train", TASK, domain.name, "--json", *(["--data", data] if data else [])]
    paths = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    environment = os.environ | {"DOMAINKIT_HOME": str(settings.home.absolute()), "PYTHONPATH": paths}
    with (folder / LOG).open("w") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    # Someone has to take note of its end, or it stays in the process table.
    threading.Thread(target=process.wait, daemon=True).start()


def set_aside(domain: Domain, settings: Settings) -> None:
    """Move a run that stands still aside, so that the next begins anew; the one before the last is deleted."""
    folder = folder_of(domain, settings)
    if holder(folder) is None and folder.exists():
        before = folder.with_name(f"{TASK}-before")
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)


def ask_to_stop(domain: Domain, settings: Settings) -> bool:
    """Ask the run to end after its step; False when none is going on."""
    return stop(folder_of(domain, settings))
