"""Writes the folder of a new domain from the files under ``template/``: a complete, small vertical without code.

Knows no particular domain and builds no library: that is the caller's next step.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from core.errors import UsageError
from core.manifest import MANIFEST

TEMPLATE = Path(__file__).parent / "template"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def template_files() -> Iterator[Path]:
    """Yield the template's files relative to :data:`TEMPLATE`, the manifest last: a folder without it is not a domain yet."""
    files = (path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file() and not path.name.startswith("."))
    yield from sorted(files, key=lambda path: (path == Path(MANIFEST), path.as_posix()))


def check_name(name: str, *, taken: Collection[str] = ()) -> None:
    """Check that a new domain can be called ``name``.

    Raises:
        UsageError: not a valid name, or one that another domain has.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name[:60]}' is not a name for a domain: use 1 to 40 lower-case letters, digits and _, starting with a letter")
    if name in taken:
        raise UsageError(f"a domain is called '{name}' already; choose another name")


def write_domain(name: str, *, into: Path, taken: Collection[str] = (), today: datetime.date | None = None) -> Path:
    """Write a new domain folder ``into/name`` and return it.

    The files are written to a hidden folder that is renamed last, so an interrupted call leaves no domain behind.

    Args:
        name: the domain's id.
        into: the folder that holds domains; made when missing.
        taken: names that other domains have.
        today: the review date of the starter articles; by default the machine's day.

    Raises:
        UsageError: the name is not valid or taken, the folder exists, or ``into`` cannot hold a domain.
    """
    check_name(name, taken=taken)
    target = into / name
    if (into / MANIFEST).exists():
        raise UsageError(f"'{into.name}' is itself a domain; name the folder that shall hold the new one with --into")
    if target.exists() or target.is_symlink():
        raise UsageError(f"'{name}' exists in that folder already; choose another name or remove it first")
    values = {"@NAME@": name, "@TITLE@": name.replace("_", " ").strip().title(), "@TODAY@": (today or datetime.date.today()).isoformat()}
    try:
        into.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=into))
    except OSError as error:
        raise UsageError(f"cannot write to '{into.name or into}': {error.strerror}; choose another folder with --into") from error
    try:
        for relative in template_files():
            text = (TEMPLATE / relative).read_text("utf-8")
            for mark, value in values.items():
                text = text.replace(mark, value)
            (work / relative).parent.mkdir(parents=True, exist_ok=True)
            (work / relative).write_text(text, "utf-8")
        work.chmod(0o755)
        os.rename(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target
