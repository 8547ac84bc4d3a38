"""Readers of the field's eval formats: a file or folder → eval items, and the documents that answer them. One format, one file.

A reader module has ``LOOKS`` (how the format looks, for errors), ``fits(sample)`` and ``read(source)``. Imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from core.errors import UsageError, unknown
from evals.readers.building import Converted
from evals.readers.source import Source

FORMATS = ("beir", "financebench", "tatqa", "squad", "cmrc", "mirage", "pubmedqa", "oatutor", "gsm8k", "medquad")
"""The formats by name, the most particular first: :func:`read_set` takes the first that fits."""


def reader(name: str) -> Any:
    """Return the module that reads a format.

    Raises:
        UsageError: unknown; the message lists the known ones.
    """
    if name not in FORMATS:
        raise unknown("eval format", name, FORMATS)
    return import_module(f"evals.readers.{name}")


def detect(source: Source) -> str:
    """Return the name of the format that a file or folder has.

    Raises:
        UsageError: none fits; the message says how the known ones look.
    """
    for name in FORMATS:
        if reader(name).fits(source.sample()):
            return name
    looks = "; ".join(f"{name}: {reader(name).LOOKS}" for name in FORMATS)
    raise UsageError(f"'{source.path.name}' is of no known eval format; name one with --format. Known: {looks}")


def read_set(path: Path, *, name: str = "", split: Literal["dev", "test"] = "test", limit: int = 0) -> Converted:
    """Read an eval set in one of the field's formats.

    Args:
        path: a ``.json``, ``.jsonl`` or ``.csv`` file, which may end in ``.gz``, or a folder.
        name: of the format; by default the one that fits.
        split: which one the items are put into.
        limit: keep so many items at most, spread over the set; 0 keeps all. Documents are kept whole.

    Raises:
        UsageError: missing, too large, of no known format, or a row is not of the format; the message names it.
    """
    source = Source(path)
    found: Converted = reader(name or detect(source)).read(source)
    if not found.items:
        raise UsageError(f"'{path.name}' holds no question that can be asked{'; ' + '; '.join(found.notes) if found.notes else ''}")
    items = found.items
    if 0 < limit < len(items):
        items = tuple(items[int(n * len(items) / limit)] for n in range(limit))
    return found.model_copy(update={"items": tuple(item.model_copy(update={"split": split}) for item in items)})
