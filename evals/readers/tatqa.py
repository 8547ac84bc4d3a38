"""TAT-QA: questions on a table and the paragraphs around it.

Zhu et al., "TAT-QA: A Question Answering Benchmark on a Hybrid of Tabular and Textual Content in Finance", ACL 2021;
https://github.com/NExTplusplus/TAT-QA (``tatqa_dataset_*.json``), or rows of questions beside a file of contexts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError
from evals.quantities import parse_quantities
from evals.readers.building import Builder, Converted, around, source
from evals.readers.source import Row, Sample, Source, field, texts

LOOKS = "an array of table, paragraphs and questions; or tatqa.jsonl beside tatqa_contexts.jsonl"
CONTEXTS = ("tatqa_contexts.jsonl", "tatqa_contexts.jsonl.gz")
QUESTIONS = ("tatqa.jsonl", "tatqa.jsonl.gz")
SCALES = {"": "", "thousand": " thousand", "million": " million", "billion": " billion", "percent": "%"}


@dataclass(frozen=True, kw_only=True)
class Context:
    """A table and its paragraphs by order."""

    id: str
    table: Sequence[Sequence[Any]]
    paragraphs: Mapping[str, str]

    @property
    def text(self) -> str:
        """The paragraphs, then the table row by row, cells parted by bars."""
        rows = "\n".join(" | ".join(str(cell).strip() for cell in row) for row in self.table)
        return "\n\n".join([*self.paragraphs.values(), rows])


def fits(sample: Sample) -> bool:
    """Whether it is an array of tables with questions, or the two files of rows."""
    if sample.has("table", "paragraphs", "questions"):
        return True
    return bool(sample.names & set(QUESTIONS)) or sample.has("question", "answer", "derivation", "scale")


def read(found: Source) -> Converted:
    """Read a set: each table with its paragraphs is a document; answers carry their scale."""
    builder = Builder("tatqa")
    for where, context, row in _questions(found):
        document = builder.document(context.text, id=context.id)
        answers, number = _answers(row, where)
        named = [context.paragraphs[str(order)] for order in texts(row.get("rel_paragraphs") or [], where) if str(order) in context.paragraphs]
        plain = texts(row.get("answer"), where)
        quote = next((cut for text in named if (cut := around(text, plain))), named[0] if named else "")
        slices = {"answer_type": str(row.get("answer_type") or ""), "answer_from": str(row.get("answer_from") or "")}
        builder.item(
            where, id=str(row.get("uid") or row.get("id") or ""), question=str(field(row, where, "question")), lang="en", kind="numeric" if number else "qa",
            answers=answers, sources=(source(document, quote=quote),), slice={key: value for key, value in slices.items() if value},
        )  # fmt: skip
    return builder.converted()


def _questions(found: Source) -> Iterator[tuple[str, Context, Row]]:
    if isinstance(found.whole, list):
        for where, entry in found.rows():
            context = _nested(entry, where)
            for row in field(entry, where, "questions"):
                yield where, context, row
        return
    questions = found if found.path.is_file() else next((found.beside(name) for name in QUESTIONS if (found.path / name).is_file()), found)
    folder = questions.path.parent
    beside = next((questions.beside(name) for name in CONTEXTS if (folder / name).is_file()), None)
    if beside is None:
        raise UsageError(f"'{questions.path.name}' names tables by context_id, which stand in {CONTEXTS[0]}; put that file beside it")
    contexts = {}
    for where, row in beside.rows():
        name = str(field(row, where, "id"))
        contexts[name] = Context(
            id=name, table=field(row, where, "table"), paragraphs={str(n): text for n, text in enumerate(texts(row.get("paragraphs") or [], where), start=1)}
        )
    for where, row in questions.rows():
        name = str(field(row, where, "context_id"))
        if name not in contexts:
            raise UsageError(f"{where}: there is no context '{name[:60]}' in {beside.path.name}")
        yield where, contexts[name], row


def _nested(entry: Row, where: str) -> Context:
    table = field(entry, where, "table")
    rows = table.get("table") if isinstance(table, dict) else table
    paragraphs = {str(one.get("order", n)): str(one.get("text", "")) for n, one in enumerate(field(entry, where, "paragraphs"), start=1)}
    name = str(table.get("uid") if isinstance(table, dict) else "") or where
    return Context(id=name, table=rows or [], paragraphs=paragraphs)


def _answers(row: Row, where: str) -> tuple[tuple[str, ...], bool]:
    """Return a question's answer with its scale, and whether it is a number."""
    scale = str(row.get("scale") or "")
    if scale not in SCALES:
        raise UsageError(f"{where}: unknown scale '{scale[:20]}'; known: {', '.join(filter(None, SCALES))}")
    given = [f"{one}{SCALES[scale]}" if parse_quantities(one, "en") else one for one in texts(field(row, where, "answer"), where)]
    kind = str(row.get("answer_type") or "")
    number = kind in {"arithmetic", "count"} or bool(scale) or (len(given) == 1 and bool(parse_quantities(given[0], "en")) and len(given[0].split()) <= 3)
    return ("; ".join(given),), number
