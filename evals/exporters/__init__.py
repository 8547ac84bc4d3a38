"""Exporters: a domain's eval items and documents → the field's formats. One format, one file; imported when asked for.

An exporter module has ``export(domain, library, items)``, which returns the files to write, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from core.errors import UsageError, unknown
from core.eval_items import EvalItem
from core.library import Library
from core.registry import Domain
from core.training.checkpoint import write_whole

FORMATS = {"beir": "evals.exporters.beir", "lm-eval": "evals.exporters.lm_eval", "squad": "evals.exporters.squad"}
"""The formats by name, and where each is written."""


def export(name: str, domain: Domain, library: Library, items: Sequence[EvalItem], *, into: Path) -> list[str]:
    """Write items, and documents where the format has them, into a folder.

    Args:
        name: of the format.
        domain: whose items they are.
        library: the domain's.
        items: what to write.
        into: made where it is missing; it may hold nothing but an earlier export.

    Returns:
        The names of the files written.

    Raises:
        UsageError: an unknown format, a folder that holds other files, or items of which none can be written so.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS)
    files: Mapping[str, str] = import_module(FORMATS[name]).export(domain, library, items)
    write_files(files, into=into)
    return sorted(files)


def write_files(files: Mapping[str, str], *, into: Path) -> None:
    """Write files into a folder that holds nothing else.

    Raises:
        UsageError: it holds other files; nothing was written.
    """
    if into.exists() and not into.is_dir():
        raise UsageError(f"'{into.name}' is a file; name a folder")
    held = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()} if into.exists() else set()
    if held - files.keys():
        raise UsageError(f"folder '{into.name}' holds '{min(held - files.keys())}' and would be mixed up; name an empty folder")
    for name, text in files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
