"""Finds the files to read under given paths. Knows names and suffixes, nothing of what the files hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from core.documents.blocks import one_line
from core.errors import UsageError

SUPPORTED_SUFFIXES: tuple[str, ...] = (
    ".csv",
    ".docx",
    ".epub",
    ".htm",
    ".html",
    ".jsonl",
    ".markdown",
    ".md",
    ".pdf",
    ".pptx",
    ".tsv",
    ".txt",
    ".xlsx",
)

SkipCallback = Callable[[Path, str], None]


def iter_files(paths: Iterable[Path], *, on_skip: SkipCallback | None = None) -> Iterator[Path]:
    """Yield the readable files of ``paths``, folders recursively and in sorted order.

    Args:
        paths: files and folders. A path named here is followed when it is a symbolic link; links met inside a folder are
            followed only to files that lie in that folder.
        on_skip: told each path that is left out and why: hidden, unsupported suffix, link, not a regular file, unreadable.

    Raises:
        UsageError: a path does not exist.
    """
    skip = on_skip or (lambda path, reason: None)
    for path in paths:
        if path.is_dir():
            yield from _walk(path, skip)
        elif path.exists():
            if _suitable(path, skip):
                yield path
        else:
            raise UsageError(f"no such file or folder: '{display_name(path)}'; check the path")


def source_name(path: Path, *, root: Path | None = None) -> str:
    """Return the file's name relative to the folder it was added from, with ``/`` between parts; never an absolute path.

    ``root`` is the path the user named: a folder, or the file itself.
    """
    if root is not None and root.is_dir():
        try:
            return one_line(path.absolute().relative_to(root.absolute()).as_posix())
        except ValueError:
            pass  # not below the folder: the bare name is all that may be told
    return display_name(path)


def display_name(path: Path) -> str:
    """Return the file's name fit for messages: one line, no control characters."""
    return one_line(path.name) or one_line(path.resolve().name) or "file"


def _walk(root: Path, skip: SkipCallback) -> Iterator[Path]:
    home = root.resolve()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skip(folder, f"cannot be listed ({error.strerror or error})")
            continue
        folders: list[Path] = []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                skip(path, "hidden")
            elif entry.is_symlink() and not _stays_inside(path, home):
                skip(path, "symbolic link that leaves the folder, is broken or names a folder")
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif _suitable(path, skip):
                yield path
        pending.extend(reversed(folders))


def _stays_inside(path: Path, home: Path) -> bool:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(home)


def _suitable(path: Path, skip: SkipCallback) -> bool:
    if not path.is_file():
        skip(path, "not a regular file")
    elif path.suffix.lower() not in SUPPORTED_SUFFIXES:
        skip(path, f"unsupported suffix '{one_line(path.suffix)}'; supported: {', '.join(SUPPORTED_SUFFIXES)}")
    else:
        return True
    return False
