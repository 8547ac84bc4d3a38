"""Runs as folders: ``config.json``, ``lock.json``, ``environment.json``, ``items.jsonl`` and, last of all, ``scores.json``. Asks nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core.errors import UsageError
from core.settings import Settings
from core.training.checkpoint import write_whole
from core.types import Frozen
from evals.aggregate import Score
from evals.cost import Cost
from evals.items import ItemResult
from evals.lockfile import Environment, Lock

CONFIG, LOCK, ENVIRONMENT, ITEMS, SCORES, COST, GATE = (
    "config.json", "lock.json", "environment.json", "items.jsonl", "scores.json", "cost.json", "gate.json",
)  # fmt: skip
_SCORES = TypeAdapter(tuple[Score, ...])


class Run(Frozen):
    """A finished run. ``lock``, ``environment`` and ``cost`` are None in runs of older versions."""

    id: str
    domain: str
    created_at: float
    split: str
    config: dict[str, Any]
    scores: tuple[Score, ...]
    items: tuple[ItemResult, ...]
    lock: Lock | None = None
    environment: Environment | None = None
    cost: Cost | None = None

    def score(self, metric: str, slice: str = "all") -> Score | None:  # noqa: A002 - the contract's own word
        """Return a score by name, None when the run does not have it."""
        return next((score for score in self.scores if score.metric == metric and score.slice == slice), None)


class RunSummary(Frozen):
    """A run as listings show it."""

    id: str
    created_at: float
    split: str
    path: Path


def write_json(path: Path, value: Any) -> None:
    """Write a pydantic model, or what JSON knows, whole or not at all."""
    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    write_whole(path, (json.dumps(plain, indent=1, ensure_ascii=False) + "\n").encode())


def list_runs(settings: Settings, name: str) -> list[RunSummary]:
    """Return the finished runs of a domain, newest first."""
    found = []
    for config in (settings.home / "runs" / name).glob(f"*/{CONFIG}"):
        if (config.parent / SCORES).is_file():
            try:
                data = json.loads(config.read_text("utf-8"))
                found.append(RunSummary(id=config.parent.name, created_at=data["created_at"], split=data["split"], path=config.parent))
            except (ValueError, KeyError, TypeError):
                continue  # a damaged run must not hide the others; naming it gives :func:`load_run`'s message
    return sorted(found, key=lambda run: -run.created_at)


def find_run(settings: Settings, name: str, wanted: str) -> Path:
    """Return the folder of a run named by a path, by its id or by the end of it; ``latest`` is the newest.

    Raises:
        UsageError: there is none, or several end so; the message lists some.
    """
    folder = Path(wanted)
    if (folder / CONFIG).is_file():
        return folder
    runs = list_runs(settings, name)
    found = runs[:1] if wanted == "latest" else [run for run in runs if run.id == wanted] or [run for run in runs if run.id.endswith(wanted)]
    if len(found) == 1:
        return found[0].path
    known = ", ".join(run.id for run in runs[:5]) or "none; run `domainkit eval` first"
    raise UsageError(f"{'several runs end' if found else 'no run is called'} '{wanted[:60]}'; name a folder or one of: {known}")


def load_items_of(path: Path) -> tuple[ItemResult, ...]:
    """Return the items of a run, whole or not, in the order in which they were asked; a last line that was cut off is left out."""
    lines = path.read_text("utf-8").split("\n")
    return tuple(ItemResult.model_validate_json(line) for line in lines[:-1] if line)


def load_run(path: Path) -> Run:
    """Read a stored run.

    Raises:
        UsageError: the folder is not a finished run.
    """
    try:
        config = json.loads((path / CONFIG).read_text("utf-8"))
        scores = _SCORES.validate_json((path / SCORES).read_text("utf-8"))
        text = (path / ITEMS).read_text("utf-8")
        items = tuple(ItemResult.model_validate_json(line) for line in text.split("\n") if line)
        return Run(
            id=path.name, domain=config["domain"], created_at=config["created_at"], split=config["split"], config=config, scores=scores, items=items,
            lock=_optional(path / LOCK, Lock), environment=_optional(path / ENVIRONMENT, Environment), cost=_optional(path / COST, Cost),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"'{path.name}' is not a finished run; run `domainkit eval` again") from error


def _optional(path: Path, schema: Any) -> Any:
    return schema.model_validate_json(path.read_text("utf-8")) if path.is_file() else None
