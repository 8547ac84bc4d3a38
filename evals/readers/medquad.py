"""MedQuAD and sets like it: rows of a question and the text that answers it.

Ben Abacha and Demner-Fushman, "A question-entailment approach to question answering", BMC Bioinformatics, 2019; https://github.com/abachaa/MedQuAD.
"""

from __future__ import annotations

from evals.readers.building import Builder, Converted, source
from evals.readers.source import Sample, Source, field

LOOKS = "rows with question and answer, the answer a text (perhaps focus, qtype, url)"


def fits(sample: Sample) -> bool:
    """Whether rows have a question and a text as its answer."""
    return sample.has("question", "answer") and isinstance(sample.first["answer"], str)


def read(found: Source) -> Converted:
    """Read a set: each answer is a document, and what a question should find; what it is about is the slice ``topic``."""
    builder = Builder("medquad")
    for where, row in found.rows():
        text = str(field(row, where, "answer"))
        if not text.strip():
            builder.leave("without an answer")
            continue
        topic = str(row.get("focus") or row.get("topic") or "")
        document = builder.document(text, title=topic, url=str(row.get("url") or row.get("document_url") or ""))
        kind = str(row.get("qtype") or row.get("question_type") or "")
        slices = {name: value[:100] for name, value in (("topic", topic), ("type", kind)) if value}
        builder.item(
            where, id=str(row.get("qid") or row.get("question_id") or row.get("id") or ""), question=str(field(row, where, "question")), kind="retrieval",
            sources=(source(document),), slice=slices,
        )  # fmt: skip
    return builder.converted()
