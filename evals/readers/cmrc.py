"""CMRC 2018 in its own shape: Chinese texts with questions.

Cui et al., "A Span-Extraction Dataset for Chinese Machine Reading Comprehension", EMNLP 2019; https://github.com/ymcui/cmrc2018: an array of
context_id, context_text and qas with query_text and answers.
"""

from __future__ import annotations

from evals.readers.building import Builder, Converted, source
from evals.readers.source import Sample, Source, field, texts
from evals.readers.squad import quote_of

LOOKS = "an array of entries with context_id, context_text and qas"


def fits(sample: Sample) -> bool:
    """Whether entries have a context with queries."""
    return sample.has("context_text", "qas")


def read(found: Source) -> Converted:
    """Read a set; see :mod:`evals.readers.squad`."""
    builder = Builder("cmrc")
    for where, entry in found.rows():
        context = str(field(entry, where, "context_text"))
        document = builder.document(context, id=str(entry.get("context_id") or ""), title=str(entry.get("title") or ""), lang="zh")
        for row in field(entry, where, "qas"):
            answers = texts(row.get("answers") or [], where)
            quote = quote_of(context, answers, [-1] * len(answers))
            builder.item(
                where, id=str(row.get("query_id") or ""), question=str(field(row, where, "query_text")), lang="zh", answers=tuple(dict.fromkeys(answers)),
                sources=(source(document, quote=quote),),
            )  # fmt: skip
    return builder.converted()
