"""A file or folder of an eval set, read as JSON, JSON lines or CSV within bounds. Knows no format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.training.pairs import json_rows, read_rows

MAX_BYTES = 1024**3
"""Unpacked; a larger file is refused rather than read."""
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What formats are told apart by."""

    names: frozenset[str]
    """Of the files in a folder, below it with their folder's name; empty for a file."""
    first: Row
    """The first row, or the first value of a file that is one JSON object; empty where there is none."""
    whole: Any = None
    """The file's JSON where it is one value; None for rows."""

    def has(self, *fields: str) -> bool:
        """Whether the first row has all of these fields."""
        return all(field in self.first for field in fields)


class Source:
    """An eval set on disk.

    Args:
        path: of a file or folder.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UsageError(f"no such eval set: '{path.name}'; name a file or folder")
        self.path = path

    @property
    def name(self) -> str:
        """What the set is called: its file's name without endings."""
        return self.path.name.partition(".")[0]

    def beside(self, name: str) -> Source:
        """Return a file of the folder, or beside the file.

        Raises:
            UsageError: it is not there.
        """
        return Source((self.path if self.path.is_dir() else self.path.parent) / name)

    @cached_property
    def whole(self) -> Any:
        """The value of a ``.json`` file; None for rows, which some files of that name hold."""
        if self._kind() != ".json":
            return None
        text = self._text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if _is_object(text.strip().partition("\n")[0]):
                return None
            raise UsageError(f"'{self.path.name}' is not JSON: {error}") from error

    @cached_property
    def _text(self) -> str:
        try:
            with gzip.open(self.path, "rb") if self.path.suffix == ".gz" else self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, EOFError) as error:
            raise UsageError(f"cannot read '{self.path.name}': {error.strerror if isinstance(error, OSError) and error.strerror else error}") from error
        if len(data) > MAX_BYTES:
            raise UsageError(f"'{self.path.name}' is larger than {MAX_BYTES // 1024**2} MB; split it")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"'{self.path.name}' is not UTF-8 text") from error

    def _kind(self) -> str:
        return "" if self.path.is_dir() else Path(self.path.name.removesuffix(".gz")).suffix.lower()

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield where a row stands, for errors, and the row: of JSON lines, a CSV or tab-separated table, or an array of objects.

        Raises:
            UsageError: a line is not a JSON object, or the file cannot be read.
        """
        if isinstance(self.whole, list):
            for number, row in enumerate(self.whole, start=1):
                if not isinstance(row, dict):
                    raise UsageError(f"{self.path.name}, entry {number}: not an object")
                yield f"{self.path.name}, entry {number}", row
            return
        lines = json_rows(self._text.split("\n"), name=self.path.name) if self._kind() == ".json" else read_rows(self.path)
        for number, row in enumerate(lines, start=1):
            yield f"{self.path.name}:{number}", row

    def sample(self) -> Sample:
        """Return what the format is told by."""
        if self.path.is_dir():
            names = {path.relative_to(self.path).as_posix() for pattern in ("*", "*/*") for path in self.path.glob(pattern)}
            return Sample(names=frozenset(names), first={})
        whole = self.whole
        if isinstance(whole, dict):
            value = next(iter(whole.values()), None)
            return Sample(names=frozenset(), first=value if isinstance(value, dict) else {}, whole=whole)
        return Sample(names=frozenset(), first=next((row for _, row in self.rows()), {}), whole=whole)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def field(row: Row, where: str, *names: str) -> Any:
    """Return the first of some fields that a row has.

    Raises:
        UsageError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise UsageError(f"{where}: has no '{names[0]}'; name the right format with --format, or mend the row")


def texts(value: Any, where: str) -> list[str]:
    """Return a text or a list of texts as a list.

    Raises:
        UsageError: it is neither.
    """
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) for one in found):
        raise UsageError(f"{where}: wants a text or a list of texts, has {str(value)[:60]}")
    return [str(one) for one in found]
