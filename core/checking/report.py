"""What a check found: one problem, one line. Knows nothing of what is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from core.errors import DomainkitError

Severity = Literal["error", "warning"]
_LINE = re.compile(r"\bline (\d+)")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong. ``file`` is relative to the domain's folder; ``line`` is 1-based, None where unknown."""

    severity: Severity
    file: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.severity:<7} {place}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All problems of a domain folder, errors first, and how much was read."""

    name: str
    problems: tuple[Problem, ...]
    articles: int = 0
    items: int = 0

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make the check fail."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors


@dataclass(kw_only=True)
class Findings:
    """Collects problems while a folder is read."""

    folder: Path
    found: list[Problem] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """Return a path as problems show it: relative to the folder, one printable line."""
        shown = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name
        return "".join(char if char.isprintable() else "?" for char in shown)

    def error(self, path: Path, message: str, *, line: int | None = None) -> None:
        """Note something that makes the check fail."""
        self.found.append(Problem(severity="error", file=self.name(path), message=message, line=line))

    def warn(self, path: Path, message: str, *, line: int | None = None) -> None:
        """Note something that should be mended but does not make the check fail."""
        self.found.append(Problem(severity="warning", file=self.name(path), message=message, line=line))

    def invalid(self, path: Path, error: DomainkitError | ValidationError, *, line: int | None = None) -> None:
        """Note what a loader refused: every key that a schema complains about, else the loader's own line."""
        cause = error if isinstance(error, ValidationError) else error.__cause__
        if isinstance(cause, ValidationError):
            text = path.read_text("utf-8", errors="replace") if line is None else ""
            for fault in cause.errors():
                location = [str(part) for part in fault["loc"]]
                message = fault["msg"].removeprefix("Value error, ")
                at = line or (_line_of(text, location) if location else _line_with(text, message))
                self.error(path, _explained(fault["type"], location, message, fault["input"]), line=at)
            return
        message = str(error)
        prefix, _, rest = message.partition(": ")
        message = rest if rest and path.name in prefix else message
        stated = _LINE.search(message)
        self.error(path, message, line=line or (int(stated.group(1)) if stated else None))

    def report(self, name: str, *, articles: int, items: int) -> CheckReport:
        """Return everything found: errors first, then by file and line."""
        ordered = sorted(set(self.found), key=lambda p: (p.severity, p.file, p.line or 0, p.message))
        return CheckReport(name=name, problems=tuple(ordered), articles=articles, items=items)


def _explained(kind: str, location: list[str], message: str, given: object) -> str:
    if not location:
        return message
    key = ".".join(location)
    if kind == "extra_forbidden":
        return f"unknown key '{key}'; remove it or see CONTRIBUTING.md for the allowed keys"
    return f"{key}: {message}" + ("" if kind == "missing" else f", got {str(given)[:60]!r}")


def _line_of(text: str, location: list[str]) -> int | None:
    """Return the line that most likely sets the innermost named key: TOML and YAML parsers do not tell."""
    for key in reversed([part for part in location if not part.isdigit()]):
        found = [n for n, row in enumerate(text.split("\n"), start=1) if re.match(rf"[\s\[-]*(?:[\w.]+\.)?{re.escape(key)}\s*[\]=:]", row)]
        if found:
            return found[0]
    return None


def _line_with(text: str, message: str) -> int | None:
    """Return the first line that holds the first name that a message quotes."""
    quoted = re.search(r"'([^']+)'", message)
    rows = text.split("\n") if quoted else []
    return next((n for n, row in enumerate(rows, start=1) if quoted and f'"{quoted.group(1)}"' in row), None)
