"""OATutor: steps of tutored problems with their hints.

Pardos et al., "OATutor: An Open-source Adaptive Tutoring System and Curated Content Library", CHI 2023; https://github.com/CAHLR/OATutor-Content:
a folder of problems, each with ``steps/<step>/<step>.json`` and hints under ``tutoring``; or rows of steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import UsageError
from evals.quantities import parse_quantities
from evals.readers.building import Builder, Converted, source
from evals.readers.source import Row, Sample, Source, field, texts

LOOKS = "a folder of problems with steps/; or rows with problem_body, step_title, answer and hints"


def fits(sample: Sample) -> bool:
    """Whether it is a folder of problems or rows of steps."""
    return any(name.endswith("/steps") for name in sample.names) or sample.has("step_title", "answer", "hints")


def read(found: Source) -> Converted:
    """Read a set: the hints of a step are its document; a variable problem, whose figures are drawn anew for each learner, is left out."""
    builder = Builder("oatutor")
    for where, row in _folder(found.path) if found.path.is_dir() else found.rows():
        if row.get("variabilized"):
            builder.leave("with figures that are drawn anew")
            continue
        parts = (str(row.get(name) or "") for name in ("problem_title", "problem_body", "step_title", "step_body"))
        question = " ".join(dict.fromkeys(part.strip() for part in parts if part.strip()))
        answers, choices = texts(field(row, where, "answer"), where), texts(row.get("choices") or [], where)
        name = str(row.get("id") or where)
        hints = [f"{hint.get('title') or ''}\n{hint.get('text') or ''}".strip() for hint in row.get("hints") or [] if isinstance(hint, dict)]
        sources = (
            (source(builder.document("\n\n".join(hints), id=name, title=str(row.get("problem_title") or ""), url=str(row.get("oer") or ""))),)
            if any(hints)
            else ()
        )
        chosen = bool(choices) and any(answer in choices for answer in answers)
        number = not chosen and len(answers) == 1 and len(answers[0].split()) <= 3 and bool(parse_quantities(answers[0], "en"))
        slices = {key: str(row[key])[:100] for key in ("course", "lesson") if row.get(key)}
        builder.item(
            where, id=name, question=question, kind="choice" if chosen else "numeric" if number else "qa", choices=tuple(choices) if chosen else (),
            answers=tuple(answers), sources=sources, slice=slices,
        )  # fmt: skip
    return builder.converted()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read '{path.parent.name}/{path.name}' as JSON; restore it or leave it out") from error


def _folder(folder: Path) -> Iterator[tuple[str, Row]]:
    """Yield the steps of a folder of problems as rows."""
    for path in sorted(folder.glob("*/steps/*/*.json")):
        step = _json(path)
        problem_folder = path.parents[2]
        head = problem_folder / f"{problem_folder.name}.json"
        problem = _json(head) if head.is_file() else {}
        ways = sorted(path.parent.glob("tutoring/*.json"))
        hints = _json(ways[0]) if ways else []
        if not isinstance(step, dict) or not isinstance(problem, dict):
            raise UsageError(f"'{path.name}' is not an object; a step has stepAnswer, stepTitle and stepBody")
        yield path.name, {
            "id": step.get("id") or path.stem, "problem_title": problem.get("title", ""), "problem_body": problem.get("body", ""),
            "step_title": step.get("stepTitle", ""), "step_body": step.get("stepBody", ""), "answer": field(step, path.name, "stepAnswer"),
            "choices": step.get("choices") or [], "hints": hints if isinstance(hints, list) else [], "course": problem.get("courseName", ""),
            "lesson": problem.get("lesson", ""), "oer": problem.get("oer", ""), "variabilized": bool(problem.get("variabilization")),
        }  # fmt: skip
