"""Puts a finished folder in its place beside others: whole or not at all, and what it replaces is gone only when it stands.

Knows folders and their names, nothing of packs or of what is in a domain.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import UsageError
from core.packing.reading import sync_folder
from core.registry import REPLACED

PREFIX = ".domainkit-unpacking-"


@contextmanager
def workplace(into: Path, name: str) -> Iterator[Path]:
    """Yield an empty hidden folder in ``into``, gone afterwards; nobody else unpacks there meanwhile.

    What a killed run left is tidied first: its hidden folder goes, and a domain that it had moved aside comes back.

    Args:
        into: the folder; made where it is missing.
        name: the domain that will be put there.

    Raises:
        UsageError: another process unpacks there.
    """
    into.mkdir(parents=True, exist_ok=True)
    handle = os.open(into, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process unpacks into '{into.name}'; wait until it is done") from error
        for left in into.glob(f"{PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        _settle(into, name)
        place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=into))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(handle)


def _settle(into: Path, name: str) -> None:
    for aside in sorted(into.glob(f"{name}.replaced-*")):
        if not REPLACED.fullmatch(aside.name) or aside.is_symlink():
            continue
        if (into / name).exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(aside, into / name)


def put(made: Path, target: Path) -> None:
    """Move a folder to its place.

    A folder that stands there is called ``NAME.replaced-N`` meanwhile and removed at the end. Wherever this is interrupted, one of the two is whole:
    it comes back here, or in the next :func:`workplace` when the process was killed.

    Raises:
        UsageError: a link stands in the place.
    """
    if target.is_symlink():
        raise UsageError(f"'{target.name}' is a symbolic link; remove it, or name another folder with --into")
    if not target.exists():
        os.replace(made, target)
        sync_folder(target.parent)
        return
    aside = next(path for n in range(1, 1_000_000) if not (path := target.with_name(f"{target.name}.replaced-{n}")).exists())
    try:
        os.replace(target, aside)
        sync_folder(target.parent)
        os.replace(made, target)
    except BaseException:
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
