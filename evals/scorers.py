"""Scores of one answer against one item: short pure functions, deterministic, no judge."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.eval_items import EvalItem, EvalSource
from core.text import normalize, terms
from core.types import Answer, Citation, Status
from evals import metrics
from evals.quantities import numeric_match

# "B", "(B)", "B. the text", "the answer is B", 答案是B, 选B; a bare "A" that begins a sentence is an article.
_LETTER = re.compile(
    r"\A\W*(?P<first>[A-Z])(?:\W*\Z|[.):、：])|(?i:\b(?:answer|option|choice)\b(?:\s+is)?|答案是?|选项?|应选)\s*[:：]?\s*\(?(?P<named>[A-Z])(?![A-Za-z])"
)
HELD = 0.8
"""Share of an expected quote's words that a passage must have to hold it."""
_CLAUSE_END = re.compile(r"[.,;:!?](?=\s|\Z)|[。，；：！？\n]")


def cites_document(citation: Citation, document: str) -> bool:
    """Whether a citation is of the document called ``document``: external id, file stem, file name or title."""
    stem = citation.source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return document in {citation.external_id, citation.source, stem, citation.title, citation.document_id}


def source_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the answer was given and cites an expected document (on the expected page where the item names one)."""
    return answer.status is Status.ANSWERED and any(_of_source(citation, source) for citation in _citations(answer) for source in item.sources)


def _of_source(citation: Citation, source: EvalSource) -> bool:
    return cites_document(citation, source.document) and (source.page is None or source.page == citation.page)


def _citations(answer: Answer) -> list[Citation]:
    return [citation for claim in answer.claims for citation in claim.citations]


def citation_precision(item: EvalItem, answer: Answer) -> float:
    """Return the share of an answer's citations that are of an expected source, its page where the item names one; 0 without citations.

    After Gao et al., "Enabling Large Language Models to Generate Text with Citations", 2023, with the item's sources in place of a judge.
    """
    cited = _citations(answer)
    return sum(any(_of_source(citation, source) for source in item.sources) for citation in cited) / len(cited) if cited else 0.0


def citation_recall(item: EvalItem, answer: Answer) -> float:
    """Return the share of the expected sources, documents with their page where one is named, that the answer cites; 0 where none is expected."""
    wanted = {(source.document, source.page): source for source in item.sources}.values()
    return sum(any(_of_source(citation, source) for citation in _citations(answer)) for source in wanted) / len(wanted) if wanted else 0.0


def support(answer: Answer) -> float:
    """Return the mean support of an answer's claims; 0 where it has none."""
    return sum(claim.support for claim in answer.claims) / len(answer.claims) if answer.claims else 0.0


def _squeezed(text: str) -> str:
    return re.sub(r"\W+", "", normalize(text))


def holds(source: EvalSource, text: str) -> bool:
    """Whether a text holds an expected source's quote, whole or :data:`HELD` of its words; one without a quote is held by any text."""
    return not source.quote or _squeezed(source.quote) in _squeezed(text) or share_of(source.quote, text) >= HELD


def passage_right(item: EvalItem, answer: Answer) -> bool:
    """Whether a passage that the answer quotes holds an expected quote, or most of its words; items without quotes: the source; without sources:
    whether it :func:`gives` what is expected.

    Stricter than :func:`source_right`: the right article but the wrong section does not count.
    """
    if answer.status is not Status.ANSWERED:
        return False
    if not item.sources:
        return gives(item, answer)
    passages = {hit.passage_id: hit for hit in answer.hits}
    for claim in answer.claims:
        for citation in claim.citations:
            for source in item.sources:
                if not cites_document(citation, source.document):
                    continue
                if not source.quote:
                    return True
                held = [hit.text for hit in passages.values() if hit.document_id == citation.document_id and citation.quote in hit.text]
                if any(holds(source, text) for text in held):
                    return True
    return False


def gives(item: EvalItem, answer: Answer) -> bool:
    """Whether an answer gives an expected one: its number, its choice, or :data:`HELD` of its words."""
    if item.kind == "numeric":
        return numeric_right(item, answer)
    if item.kind in {"choice", "classification"} and item.choices:
        return choice_right(item, answer)
    return any(share_of(expected, _given(answer)) >= HELD for expected in item.answers)


def quote_right(item: EvalItem, answer: Answer) -> bool:
    """Whether a quoted sentence itself overlaps an expected quote: one holds the other, or they share most words."""
    return answer.status is Status.ANSWERED and any(
        _squeezed(citation.quote) in _squeezed(source.quote)
        or _squeezed(source.quote) in _squeezed(citation.quote)
        or share_of(source.quote, citation.quote) >= 0.6
        for claim in answer.claims
        for citation in claim.citations
        for source in item.sources
        if source.quote and cites_document(citation, source.document)
    )


def share_of(expected: str, text: str) -> float:
    """Return the share of the expected words, repeats counted, that occur in ``text``."""
    want, have = Counter(terms(expected)), Counter(terms(text))
    total = sum(want.values())
    return sum((want & have).values()) / total if total else 0.0


def token_f1(expected: str, text: str) -> float:
    """Return the harmonic mean of word precision and recall (Rajpurkar et al., SQuAD, 2016), on the kit's index terms."""
    want, have = Counter(terms(expected)), Counter(terms(text))
    shared = sum((want & have).values())
    if not shared:
        return 0.0
    precision, recall = shared / sum(have.values()), shared / sum(want.values())
    return 2 * precision * recall / (precision + recall)


def _given(answer: Answer) -> str:
    """Return the text of an answer that was given, else the empty text that an item without answers expects."""
    return answer.text if answer.status is Status.ANSWERED else ""


def exact_right(item: EvalItem, answer: Answer) -> bool:
    """Whether an answer is one of the expected ones word for word (:func:`evals.metrics.exact_match`)."""
    return metrics.exact_match(item.answers, _given(answer))


def answer_f1(item: EvalItem, answer: Answer) -> float:
    """Return how much of an expected answer the answer gives, and little else (:func:`evals.metrics.answer_f1`)."""
    return metrics.answer_f1(item.answers, _given(answer), item.lang)


def numeric_right(item: EvalItem, answer: Answer) -> bool:
    """Whether an answer gives the quantities of one of the expected ones (:func:`evals.quantities.numeric_match`)."""
    return any(numeric_match(expected, _given(answer), item.lang) for expected in item.answers)


def choice_right(item: EvalItem, answer: Answer) -> bool:
    """Whether an answer gives the expected choice, by its letter or its words; two choices, or none, are wrong."""
    wanted = {chosen(item.choices, expected) for expected in item.answers}
    return chosen(item.choices, _given(answer)) in wanted - {None}


def chosen(choices: Sequence[str], text: str) -> int | None:
    """Return which choice a text gives, counted from 0: the one it names by letter, else its first clause, else the only one whose words it holds.

    None where it gives none or several. A choice that stands within another one's words ("10" in "10 to 12") is given only where it stands alone.
    """
    letter = _LETTER.search(text)
    if letter is not None and (place := ord(letter["first"] or letter["named"]) - ord("A")) < len(choices):
        return place
    plain = [metrics.normalize_answer(choice) for choice in choices]
    first_clause = metrics.normalize_answer(_CLAUSE_END.split(text.strip())[0])
    if first_clause in plain:
        return plain.index(first_clause)
    rest, held = metrics.normalize_answer(text), []
    for place in sorted(range(len(plain)), key=lambda place: -len(plain[place])):
        words = _whole_words(plain[place])
        if words.search(rest):
            held.append(place)
            rest = words.sub(" ", rest)
    return held[0] if len(held) == 1 else None


def _whole_words(words: str) -> re.Pattern[str]:
    """Return the pattern of words that no letter or digit continues; Chinese has no such borders."""
    return re.compile(rf"(?<![^\W\u3400-\u9fff]){re.escape(words)}(?![^\W\u3400-\u9fff])" if words else r"(?!)")


def expected_status(item: EvalItem) -> Status:
    """Return the status an item expects: its own, else answered when answerable and abstained when not."""
    if item.expect_status is not None:
        return item.expect_status
    return Status.ANSWERED if item.answerable else Status.ABSTAINED


def status_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the answer has the status that the item expects."""
    return answer.status is expected_status(item)


def spans_hold(answer: Answer) -> bool:
    """Whether every claim is cited and every quote has the length its offsets state."""
    return all(citation.end - citation.start == len(citation.quote) for claim in answer.claims for citation in claim.citations)


def item_right(item: EvalItem, answer: Answer) -> bool:
    """Whether the assistant did what it should: the right status and, where an answer is due, a passage that answers."""
    if not status_right(item, answer):
        return False
    if answer.status is Status.ANSWERED and (item.sources or item.answers):
        return passage_right(item, answer)
    return True
