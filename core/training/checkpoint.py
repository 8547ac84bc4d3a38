"""Checkpoints of a training run: tensors by content hash, then one JSON file that names them. Knows no model and no task."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import IntegrityError, UsageError

PROGRESS = "progress.json"
Tensors = Mapping[str, NDArray[np.float32]]


class Point(BaseModel):
    """How a run stood at a validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    loss: float
    """Mean over the steps since the validation before."""
    metrics: dict[str, float]


class RunState(BaseModel):
    """``progress.json``: what a run was started with, how far it is, and its validations so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    step: int
    steps: int
    """How many it has at most."""
    losses: tuple[float, ...] = ()
    """Of the steps since the last validation."""
    trace: tuple[tuple[int, float], ...] = ()
    """Step and mean loss shortly before it, some two hundred of them over a whole run."""
    seconds: float = 0.0
    """Spent on training so far, all attempts together."""
    state_sha256: str
    """Of the file that holds parameters and optimiser."""
    best_sha256: str
    """Of the file that holds the parameters that validated best; empty before the first validation."""
    history: tuple[Point, ...]
    goal: str = ""
    """The metric by which a validation is better."""
    finished: bool = False


def read_progress(folder: Path) -> RunState | None:
    """Return how far the run of a folder is, None when it holds none.

    Raises:
        IntegrityError: the file is damaged.
    """
    try:
        return RunState.model_validate_json((folder / PROGRESS).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{folder.name}/{PROGRESS} is damaged; delete the folder to train anew") from error


def checked_progress(folder: Path, fingerprint: str) -> RunState | None:
    """Return how far the run of a folder is, which must be the one of this fingerprint.

    Raises:
        UsageError: the folder holds another run. IntegrityError: as :func:`read_progress`.
    """
    state = read_progress(folder)
    if state is not None and state.fingerprint != fingerprint:
        raise UsageError(f"folder '{folder.name}' holds a run with other data, base or recipe; name another folder or delete it")
    return state


def write_checkpoint(folder: Path, state: RunState, *, tensors: Tensors, best: Tensors) -> None:
    """Write the tensors, then ``progress.json``, which names their hashes: a run killed in between resumes from the checkpoint before.

    Args:
        folder: of the run.
        state: how far the run is; its two hashes are filled in here.
        tensors: parameters and optimiser.
        best: the parameters that validated best; nothing before the first validation.
    """
    digests = {"state": _write(folder, "state", tensors), "best": _write(folder, "best", best) if best else ""}
    stated = state.model_copy(update={"state_sha256": digests["state"], "best_sha256": digests["best"]})
    write_whole(folder / PROGRESS, (stated.model_dump_json(indent=1) + "\n").encode())
    for kind, digest in digests.items():
        for path in folder.glob(f"{kind}-*.safetensors"):
            if path.name != _named(kind, digest):
                path.unlink()


def _write(folder: Path, kind: str, tensors: Tensors) -> str:
    from safetensors.numpy import save

    data = bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    digest = hashlib.sha256(data).hexdigest()
    path = folder / _named(kind, digest)
    if not path.is_file():
        write_whole(path, data)
    return digest


def read_tensors(folder: Path, kind: str, sha256: str) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a checkpoint's ``state`` or ``best``; they are hashed before they are parsed.

    Raises:
        IntegrityError: the file is gone or was changed on disk.
    """
    from safetensors.numpy import load

    path = folder / _named(kind, sha256)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"checkpoint {path.name} is gone or was changed on disk; delete the folder '{folder.name}' to train anew")
    return {name: np.array(value) for name, value in load(data).items()}


def _named(kind: str, sha256: str) -> str:
    return f"{kind}-{sha256[:16]}.safetensors"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
