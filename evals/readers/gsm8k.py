"""GSM8K: school problems whose answer is a number.

Cobbe et al., "Training Verifiers to Solve Math Word Problems", 2021; https://github.com/openai/grade-school-math (the answer ends in ``#### 72``).
"""

from __future__ import annotations

from evals.readers.building import Builder, Converted
from evals.readers.source import Sample, Source, field

LOOKS = "rows with question and answer, the answer a worked solution that ends in #### and the number"
MARK = "####"


def fits(sample: Sample) -> bool:
    """Whether answers end in the mark."""
    return sample.has("question", "answer") and (MARK in str(sample.first["answer"]) or MARK in str(sample.first.get("solution", "")))


def read(found: Source) -> Converted:
    """Read a set; it brings no documents."""
    builder = Builder("gsm8k")
    for where, row in found.rows():
        solution = str(row.get("solution") or field(row, where, "answer"))
        _, mark, answer = solution.rpartition(MARK)
        if not mark or not answer.strip():
            builder.leave(f"without {MARK} and a number")
            continue
        builder.item(
            where,
            id=str(row.get("id") or f"{found.name}-{where.rpartition(':')[2]}"),
            question=str(field(row, where, "question")),
            kind="numeric",
            answers=(answer.strip(),),
        )
    return builder.converted()
