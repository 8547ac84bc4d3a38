"""What the command line prints: JSON on stdout for programs, plain text for people, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UsageError

if TYPE_CHECKING:
    from core.types import Answer

SAID_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


def emit(value: dict[str, Any]) -> None:
    """Write one JSON object as one line to stdout."""
    # A lone surrogate has no UTF-8; what "backslashreplace" writes for it is its JSON escape.
    _write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace").decode("utf-8"))


def say(text: str) -> None:
    """Write a line for people to stdout."""
    _write(text.encode("utf-8", "replace").decode("utf-8"))


def _write(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) went away: it has what it wanted. Flushing once more at exit would only fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def note(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")


def read_batch(path: Path, *, field: str) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Yield ``(id, object, error)`` per line of a JSONL file; the object is None when the line is not usable.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    data = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield str(number), None, f"line {number}: not JSON: {error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:80]}"
                    continue
                if not isinstance(data, dict) or not isinstance(data.get(field), str):
                    yield str(number), None, f"line {number}: needs an object with a text '{field}'"
                    continue
                yield str(data.get("id", number)), data, ""
    except OSError as error:
        raise UsageError(f"cannot read '{path.name}': {error.strerror}") from error


@contextmanager
def progress(title: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar with the time left on stderr while the block runs; nothing when ``quiet``.

    Where stderr is no terminal, such as a log file, a line is written every :data:`SAID_EVERY` seconds instead.
    """
    if quiet:
        yield lambda name, done, total: None
        return
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[name]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(title, total=None, name="")

        def update(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=max(total, 1), name=name[-40:])

        yield update


def _lines(title: str) -> Callable[[str, int, int], None]:
    said = time.monotonic()

    def update(name: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SAID_EVERY:
            said = time.monotonic()
            note(f"{title}: {name}{f' {done:,} of {total:,}' if total else ''}")

    return update


def show_answer(answer: Answer) -> None:
    """Print an answer for people: text with numbered citations, their sources, the notice."""
    if answer.status == "answered":
        numbers: dict[tuple[str, int | None], int] = {}
        parts = []
        for claim in answer.claims:
            citation = claim.citations[0]
            number = numbers.setdefault((citation.document_id, citation.page), len(numbers) + 1)
            parts.append(f"{claim.text} [{number}]")
        say("\n" + ("" if answer.lang == "zh" else " ").join(parts) + "\n")
        titles = {(c.document_id, c.page): c for claim in answer.claims for c in claim.citations}
        for key, number in numbers.items():
            page = f", p. {key[1]}" if key[1] else ""
            say(f"  [{number}] {titles[key].title}{page}  ({titles[key].source})")
    else:
        say("\n" + answer.text + "\n")
        if answer.nearest:
            say(("  Nearest topics: " if answer.lang == "en" else "  相近的主题：") + " · ".join(answer.nearest))
    if answer.notice and answer.notice != answer.text:
        say(f"\n  {answer.notice}")
    say(f"\n  {answer.status.value}, confidence {answer.confidence:.2f}, {answer.timings_ms.total:.0f} ms, {answer.model}\n")
