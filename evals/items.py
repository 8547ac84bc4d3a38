"""What became of one eval item: the answer beside what was expected, and the item's value for every metric that applies to it. Runs nothing."""

from __future__ import annotations

from pydantic import Field

from core.eval_items import EvalItem
from core.text import terms
from core.types import Answer, AnswerHit, Frozen, Status
from evals import scorers
from evals.metrics.ranking import ndcg_at, recall_at, reciprocal_rank

DEPTHS = (1, 5)
"""Depths of recall that are reported; the assistant shows some eight passages."""


class ItemResult(Frozen):
    """What became of one item. ``reason`` says in words why it is not right, empty when it is."""

    id: str
    question: str
    lang: str
    kind: str
    answerable: bool
    expected_status: Status
    status: Status
    right: bool
    reason: str
    answer: str
    cited: tuple[str, ...]
    expected: tuple[str, ...]
    confidence: float
    milliseconds: float
    source_right: bool
    passage_right: bool
    quote_right: bool
    spans_hold: bool
    slice: dict[str, str]
    topic: str = ""
    """The document that the item is about; empty where it names none."""
    marks: dict[str, float] = Field(default_factory=dict)
    """The item's value by metric, of those that apply to it; empty in runs of older versions."""
    label: str = ""
    """Of a classification: the class that the answer gives, of the choices; empty where it gives none."""
    expected_label: str = ""
    tokens_read: int = 0
    """Index terms of the question and of the passages that the answer was drawn from."""
    tokens_written: int = 0


def judge(item: EvalItem, answer: Answer) -> ItemResult:
    """Score one answer."""
    wanted = scorers.expected_status(item)
    right = scorers.item_right(item, answer)
    reason = ""
    if not right:
        reason = f"expected {wanted.value}, was {answer.status.value}"
        if answer.status is wanted:
            passage = "right document, wrong passage" if scorers.source_right(item, answer) else "cites another document"
            reason = passage if item.sources else "gives another answer"
    place = scorers.chosen(item.choices, answer.text) if item.kind == "classification" and answer.status is Status.ANSWERED else None
    return ItemResult(
        id=item.id,
        question=item.question,
        lang=item.lang,
        kind=item.kind,
        answerable=item.answerable,
        expected_status=wanted,
        status=answer.status,
        right=right,
        reason=reason,
        answer=answer.text,
        cited=tuple(dict.fromkeys(f"{c.external_id}: {c.quote}" for claim in answer.claims for c in claim.citations)),
        expected=tuple(f"{source.document}: {source.quote}" for source in item.sources),
        confidence=answer.confidence,
        milliseconds=answer.timings_ms.total,
        source_right=scorers.source_right(item, answer),
        passage_right=scorers.passage_right(item, answer),
        quote_right=scorers.quote_right(item, answer),
        spans_hold=scorers.spans_hold(answer),
        slice=dict(item.slice),
        topic=item.slice.get("topic") or (item.sources[0].document if item.sources else item.slice.get("near", "")),
        marks=marks(item, answer),
        label=item.choices[place] if place is not None else "",
        expected_label=item.answers[0] if item.kind == "classification" and item.answers else "",
        tokens_read=len(terms(item.question)) + sum(len(terms(hit.text)) for hit in answer.hits),
        tokens_written=len(terms(answer.text)),
    )


def marks(item: EvalItem, answer: Answer) -> dict[str, float]:
    """Return an item's value for each metric that applies to it.

    Over answerable items that expect an answer, an abstention counting as wrong: ``source_right``, ``passage_right``, ``quote_right``, ``coverage``,
    ``recall_at_k``, ``mrr_at_10``, ``ndcg_at_10`` (of the passages found;
    the runner adds ``sought_mrr``, by cosine alone), with reference answers ``exact_match`` and ``answer_f1``, and by kind
    ``numeric_match`` and ``accuracy``. Over answers given: ``wrong_answers`` (its passage does not answer, unanswerable items included),
    ``wrong_sources``, ``support``, ``citation_precision`` and ``citation_recall``. Over items that expect an answer or an abstention: ``wrong``, an
    answer given that is wrong. Over items that expect it: ``abstention``, ``escalation``, ``refusal``. Over all: ``right``
    (the right status and, where an answer is due, a passage that answers), ``status``, ``spans_hold``.
    """
    wanted, given = scorers.expected_status(item), answer.status is Status.ANSWERED
    found: dict[str, float] = {
        "right": float(scorers.item_right(item, answer)),
        "status": float(answer.status is wanted),
        "spans_hold": float(scorers.spans_hold(answer)),
    }
    if wanted is Status.ANSWERED and item.sources:
        found |= {
            "source_right": float(scorers.source_right(item, answer)),
            "passage_right": float(scorers.passage_right(item, answer)),
            "quote_right": float(scorers.quote_right(item, answer)),
            "coverage": float(given),
        } | _ranking(item, answer)
        if given:
            found |= {"citation_precision": scorers.citation_precision(item, answer), "citation_recall": scorers.citation_recall(item, answer)}
    if wanted is Status.ANSWERED and item.answers:
        found |= {"exact_match": float(scorers.exact_right(item, answer)), "answer_f1": scorers.answer_f1(item, answer)}
        if item.kind == "numeric":
            found["numeric_match"] = float(scorers.numeric_right(item, answer))
        if item.kind in {"choice", "classification"} and item.choices:
            found["accuracy"] = float(scorers.choice_right(item, answer))
    if wanted in {Status.ANSWERED, Status.ABSTAINED}:
        found["false_alarm"] = float(answer.status in {Status.ESCALATED, Status.REFUSED})
        found["wrong"] = float(given and not scorers.passage_right(item, answer))
    if given:
        found |= {
            "wrong_answers": float(not scorers.passage_right(item, answer)),
            "wrong_sources": float(not scorers.source_right(item, answer)),
            "support": scorers.support(answer),
        }
    for status, name in ((Status.ABSTAINED, "abstention"), (Status.ESCALATED, "escalation"), (Status.REFUSED, "refusal")):
        if wanted is status:
            found[name] = float(answer.status is status)
    return found


def _ranking(item: EvalItem, answer: Answer) -> dict[str, float]:
    """Return how early a passage that answers stands among those found; several sources are several things to find."""
    ranked = [_sought(item, hit) or f"other {place}" for place, hit in enumerate(answer.hits)]
    wanted = {f"source {place}" for place in range(len(item.sources))}
    return {f"recall_at_{k}": recall_at(ranked, wanted, k) for k in DEPTHS} | {
        "mrr_at_10": reciprocal_rank(ranked, wanted, 10),
        "ndcg_at_10": ndcg_at(ranked, dict.fromkeys(wanted, 1.0), 10),
    }


def _sought(item: EvalItem, hit: AnswerHit) -> str:
    for place, source in enumerate(item.sources):
        named = source.document in {hit.external_id, hit.title, hit.document_id} and (source.page is None or source.page == hit.page)
        if named and scorers.holds(source, hit.text):
            return f"source {place}"
    return ""
