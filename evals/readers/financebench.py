"""FinanceBench: questions on filings with the page that answers.

Islam et al., "FinanceBench: A New Benchmark for Financial Question Answering", 2023; https://github.com/patronus-ai/financebench
(``financebench_open_source.jsonl``; its page numbers count from 0).
"""

from __future__ import annotations

from core.errors import UsageError
from evals.quantities import parse_quantities
from evals.readers.building import Builder, Converted, source
from evals.readers.source import Sample, Source, field

LOOKS = "rows with financebench_id, question, answer, doc_name and evidence"
FEW_WORDS = 8
"""An answer of no more words, with a quantity in it, is a number; a longer one is told in words."""


def fits(sample: Sample) -> bool:
    """Whether rows have evidence in a filing."""
    return sample.has("question", "answer", "evidence") and (sample.has("doc_name") or sample.has("financebench_id"))


def read(found: Source) -> Converted:
    """Read a set: the pages that answer are the documents, under the filing's name, so that the filing itself serves as well."""
    builder = Builder("financebench")
    for where, row in found.rows():
        sources = []
        evidence = field(row, where, "evidence")
        for one in evidence if isinstance(evidence, list) else [evidence]:
            if not isinstance(one, dict):
                raise UsageError(f"{where}: evidence is a list of objects with evidence_text and evidence_page_num")
            name = str(one.get("doc_name") or field(row, where, "doc_name"))
            number = one.get("evidence_page_num", one.get("page"))
            page = int(str(number)) + 1 if str(number).isdigit() else None
            quote = str(field(one, where, "evidence_text"))
            builder.document(
                str(one.get("evidence_text_full_page") or quote), id=name, title=name.replace("_", " "), url=str(row.get("doc_link") or ""), page=page
            )
            sources.append(source(name, quote=quote, page=page))
        answer = str(field(row, where, "answer"))
        number_wanted = len(answer.split()) <= FEW_WORDS and bool(parse_quantities(answer, "en"))
        slices = {key: str(row[key])[:100] for key in ("company", "question_type", "question_reasoning") if row.get(key)}
        builder.item(
            where, id=str(row.get("financebench_id") or row.get("id") or ""), question=str(field(row, where, "question")), lang="en",
            kind="numeric" if number_wanted else "qa", answers=(answer,), sources=tuple(sources), slice=slices,
        )  # fmt: skip
    return builder.converted()
