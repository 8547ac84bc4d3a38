"""What every training run is given beside its plan: where to read and write, what must not leak, whom to tell, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from core.eval_items import EvalItem, eval_files, read_eval_items
from core.registry import Domain
from core.settings import Settings

Progress = Callable[[str, int, int], None]
"""Called with what is being done or what validation said last, what is done and the total."""


class Stopped(Exception):
    """A run was asked to stop where it has no step to stop between."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The surroundings of one run."""

    domain: Domain | None
    """Whose adapter it becomes; None for a run that is no domain's."""
    folder: Path
    """Of the run: checkpoints, results, ``report.json``. Started again in the same folder, a run goes on where it was."""
    sources: Path
    """Folder of the TOML files that describe public sets."""
    data: Path
    """Folder of the public data."""
    settings: Settings
    items: tuple[EvalItem, ...]
    """Every eval item of every domain, which training must not see."""
    command: str
    """What a card says made it."""
    progress: Progress
    domains: tuple[Domain, ...] = ()
    """Whose articles are read by a run that is no domain's."""
    trial: bool = False
    """Whether it is one of a search, judged by its validation: what is held out for the end is not looked at, and nothing is saved but its checkpoints."""
    stop: Callable[[], bool] = lambda: False
    """Asked between steps whether to stop."""


def every_item(domains: Iterable[Domain]) -> tuple[EvalItem, ...]:
    """Return every eval item of domains, for :attr:`RunContext.items`."""
    return tuple(item for domain in domains for path in eval_files(domain.folder, domain.manifest) for item in read_eval_items(path))
