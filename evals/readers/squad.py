"""SQuAD 1.1 and 2.0, and sets of their shape (DRCD, CMRC 2018 in SQuAD's shape): questions whose answer is a span of a text.

Rajpurkar, Jia and Liang, "Know What You Don't Know: Unanswerable Questions for SQuAD", ACL 2018; https://rajpurkar.github.io/SQuAD-explorer/. As one
JSON object, or as rows of id, title, context, question and answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evals.readers.building import Builder, Converted, sentence_around, source
from evals.readers.source import Row, Sample, Source, field, texts

LOOKS = "one object with data, of paragraphs with context and qas; or rows with id, context, question and answers"


def fits(sample: Sample) -> bool:
    """Whether it has articles with paragraphs, or rows with a context and answers."""
    return (isinstance(sample.whole, dict) and isinstance(sample.whole.get("data"), list)) or sample.has("context", "question", "answers")


def _questions(found: Source) -> Iterator[tuple[str, str, str, Row]]:
    """Yield where a question stands, its title, context and row."""
    if not isinstance(found.whole, dict):
        for where, row in found.rows():
            yield where, str(row.get("title") or ""), str(field(row, where, "context")), row
        return
    for number, article in enumerate(found.whole["data"], start=1):
        where = f"{found.path.name}, article {number}"
        for paragraph in field(article, where, "paragraphs"):
            context = str(field(paragraph, where, "context"))
            for row in field(paragraph, where, "qas"):
                yield where, str(article.get("title") or ""), context, row


def spans(row: Row, where: str) -> tuple[list[str], list[int]]:
    """Return the answers of a question and where each begins; -1 where the row does not say."""
    found: Any = row.get("answers") or []
    if isinstance(found, dict):
        given, starts = texts(found.get("text") or [], where), list(found.get("answer_start") or [])
    elif found and isinstance(found[0], dict):
        given, starts = [str(field(one, where, "text")) for one in found], [one.get("answer_start", -1) for one in found]
    else:
        given, starts = texts(found, where), list(row.get("answer_starts") or [])
    return given, [int(start) for start in starts] + [-1] * (len(given) - len(starts))


def quote_of(context: str, answers: Sequence[str], starts: Sequence[int]) -> str:
    """Return the sentence of a context that holds the first answer found in it, empty where none is."""
    for answer, start in zip(answers, starts, strict=False):
        at = start if start >= 0 and context[start : start + len(answer)] == answer else context.find(answer)
        if answer.strip() and at >= 0:
            return sentence_around(context, at, at + len(answer))
    return ""


def read(found: Source) -> Converted:
    """Read a set: each context is a document, the quote the sentence around the answer; an impossible question should be declined."""
    builder = Builder("squad")
    for where, title, context, row in _questions(found):
        document = builder.document(context, title=title)
        answers, starts = spans(row, where)
        possible = bool(answers) and not row.get("is_impossible", False)
        question = str(field(row, where, "question"))
        if possible:
            quote = quote_of(context, answers, starts)
            builder.item(
                where,
                id=str(row.get("id") or ""),
                question=question,
                kind="qa",
                answers=tuple(dict.fromkeys(answers)),
                sources=(source(document, quote=quote),),
            )
        else:
            builder.item(where, id=str(row.get("id") or ""), question=question, kind="qa", answerable=False, slice={"near": document})
    return builder.converted()
