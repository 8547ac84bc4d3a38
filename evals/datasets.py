"""Eval items of a domain, of a file, or of a set in one of the field's formats. Knows nothing of models or scores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.errors import UsageError
from core.eval_items import EvalItem, eval_files, read_eval_items
from core.registry import Domain

Split = Literal["dev", "test", "all"]


def load_items(domain: Domain, *, split: Split = "test", file: Path | None = None, limit: int | None = None) -> list[EvalItem]:
    """Return eval items in file order.

    Args:
        domain: whose eval sets are read when ``file`` is None.
        split: ``dev``, ``test`` or ``all``.
        file: a JSONL file of eval items, or a set that :mod:`evals.readers` reads, instead of the domain's own.
        limit: keep every n-th item so that about this many remain, spread over the set.

    Raises:
        ManifestError: a line is not a valid item. UsageError: there are no items.
    """
    if file is not None and not file.exists():
        raise UsageError(f"no such eval set: '{file.name}'; name a file of eval items, or a set of another format")
    if file is not None and not _is_own(file):
        from evals.readers import read_set

        found: list[EvalItem] = list(read_set(file).items)
    else:
        found = [item for path in ([file] if file is not None else eval_files(domain.folder, domain.manifest)) for item in read_eval_items(path)]
    items = [item for item in found if split == "all" or item.split == split]
    if not items:
        raise UsageError(f"domain '{domain.name}' has no eval items in split '{split}'; add JSONL files under {domain.manifest.paths.evals}/")
    if limit is not None and 0 < limit < len(items):
        step = len(items) / limit
        items = [items[int(n * step)] for n in range(limit)]
    return items


def _is_own(file: Path) -> bool:
    """Whether a file is of eval items rather than of another format."""
    if file.is_dir() or file.suffix != ".jsonl":
        return False
    from evals.readers import FORMATS, reader
    from evals.readers.source import Source

    try:
        sample = Source(file).sample()
    except UsageError:
        return True  # reading it as eval items names the line that is wrong
    return not any(reader(name).fits(sample) for name in FORMATS)
