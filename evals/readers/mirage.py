"""MIRAGE and other multiple-choice sets: a question and its options.

Xiong et al., "Benchmarking Retrieval-Augmented Generation for Medicine", Findings of ACL 2024; https://github.com/Teddy-XiongGZ/MIRAGE
(``benchmark.json``).
"""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import UsageError
from evals.readers.building import Builder, Converted
from evals.readers.source import Row, Sample, Source, field, texts

LOOKS = "benchmark.json: one object of sets, each of questions with question, options and answer; or rows of the same"


def fits(sample: Sample) -> bool:
    """Whether entries have a question with options."""
    inner = next(iter(sample.first.values()), None)
    return sample.has("question", "options") or (isinstance(sample.whole, dict) and isinstance(inner, dict) and "options" in inner)


def _rows(found: Source) -> Iterator[tuple[str, str, str, Row]]:
    if not isinstance(found.whole, dict):
        yield from ((where, str(row.get("dataset") or ""), str(row.get("id") or ""), row) for where, row in found.rows())
        return
    for name, entries in found.whole.items():
        if isinstance(entries, dict) and "options" in entries:
            yield f"{found.path.name}, {name}", "", name, entries
        elif isinstance(entries, dict):
            yield from ((f"{found.path.name}, {name}, {key}", name, f"{name}-{key}", row) for key, row in entries.items() if isinstance(row, dict))


def read(found: Source) -> Converted:
    """Read a set. It brings no documents: the library that is asked has to."""
    builder = Builder("mirage")
    for where, name, key, row in _rows(found):
        options = field(row, where, "options")
        letters = list(options) if isinstance(options, dict) else [chr(ord("A") + n) for n in range(len(texts(options, where)))]
        choices = texts(list(options.values()) if isinstance(options, dict) else options, where)
        answer = str(field(row, where, "answer", "answer_idx"))
        if answer not in letters and answer not in choices:
            raise UsageError(f"{where}: the answer '{answer[:40]}' is none of the options")
        wanted = choices[letters.index(answer)] if answer in letters and answer not in choices else answer
        builder.item(
            where, id=key, question=str(field(row, where, "question")), kind="choice", choices=tuple(choices), answers=(wanted,),
            slice={"set": name[:100]} if name else {},
        )  # fmt: skip
    return builder.converted()
