"""PubMedQA: yes, no or maybe by an abstract.

Jin et al., "PubMedQA: A Dataset for Biomedical Research Question Answering", EMNLP 2019; https://github.com/pubmedqa/pubmedqa (``ori_pqal.json``).
"""

from __future__ import annotations

from collections.abc import Iterator

from evals.readers.building import Builder, Converted, source
from evals.readers.source import Row, Sample, Source, field, texts

LOOKS = "ori_pqal.json: one object of PMIDs, each with QUESTION, CONTEXTS and final_decision; or rows of question, contexts and answer"
CHOICES = ("yes", "no", "maybe")


def fits(sample: Sample) -> bool:
    """Whether entries have a question and the parts of an abstract."""
    return sample.has("QUESTION", "CONTEXTS") or sample.has("question", "contexts")


def _rows(found: Source) -> Iterator[tuple[str, str, Row]]:
    if isinstance(found.whole, dict):
        yield from ((f"{found.path.name}, {name}", name, row) for name, row in found.whole.items() if isinstance(row, dict))
    else:
        yield from ((where, str(row.get("id") or row.get("pubid") or ""), row) for where, row in found.rows())


def read(found: Source) -> Converted:
    """Read a set: the abstract without its conclusion is the document, the decision one of three choices."""
    builder = Builder("pubmedqa")
    for where, name, row in _rows(found):
        contexts = row.get("CONTEXTS", row.get("contexts"))
        parts = texts(contexts.get("contexts") if isinstance(contexts, dict) else contexts, where)
        decision = str(row.get("final_decision") or row.get("answer") or "").strip().lower()
        if decision not in CHOICES:
            builder.leave("without a decision of yes, no or maybe")
            continue
        question = str(field(row, where, "QUESTION", "question"))
        document = builder.document("\n\n".join(parts), id=name, title=question[:200], url=str(row.get("url") or f"https://pubmed.ncbi.nlm.nih.gov/{name}/"))
        builder.item(
            where, id=name, question=question, kind="choice", choices=CHOICES, answers=(decision,), sources=(source(document),), slice={"decision": decision}
        )
    return builder.converted()
