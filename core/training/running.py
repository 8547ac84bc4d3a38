"""One run at a time in a folder, seen from outside: who holds it, what it does now, how to stop it. Trains nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import UsageError
from core.training.checkpoint import write_whole

LOCK, NOW = "run.lock", "now.json"
TELL_EVERY = 1.0
"""Seconds between two notes of what a run does."""
PATIENCE = 1.0
"""Seconds in which another may be asking whether the folder is held."""
Progress = Callable[[str, int, int], None]


class Now(BaseModel):
    """``now.json``: what a run is doing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    done: int
    total: int
    at: float
    """Seconds since the epoch."""


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a run's folder while the block runs; the lock ends with the process, however that ends.

    Raises:
        UsageError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UsageError(f"a run is going on in '{folder.name}'; stop it first, or name another folder with --out") from error
                time.sleep(0.05)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            (folder / NOW).unlink(missing_ok=True)


def holder(folder: Path) -> int | None:
    """Return the process that runs in a folder, None while none does."""
    try:
        with (folder / LOCK).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else 0
            return None
    except FileNotFoundError:
        return None


def stop(folder: Path) -> bool:
    """Ask the run of a folder to end after its step, which checkpoints it; False when none is going on."""
    process = holder(folder)
    if not process:
        return False
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    return True


def telling(folder: Path, progress: Progress) -> Progress:
    """Return a progress function that also notes in ``now.json``, at most once a second, what the run is doing."""
    told = 0.0

    def tell(text: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            write_whole(folder / NOW, Now(text=text, done=done, total=total, at=time.time()).model_dump_json().encode())
        progress(text, done, total)

    return tell


def read_now(folder: Path) -> Now | None:
    """Return what the run of a folder said last that it does, None when it said nothing."""
    try:
        return Now.model_validate_json((folder / NOW).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
