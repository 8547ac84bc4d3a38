"""SQuAD 2.0: the passages that answer, with questions whose answer is a span of them, and questions that nothing answers.

https://rajpurkar.github.io/SQuAD-explorer/
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import UsageError
from core.eval_items import EvalItem
from core.library import Library
from core.registry import Domain
from core.types import Status
from evals.scorers import expected_status


def export(domain: Domain, library: Library, items: Sequence[EvalItem]) -> Mapping[str, str]:
    """Return ``<domain>.json``: for each passage its questions, the expected quote as the answer's span.

    A question that should be declined stands, as impossible, under the passage its slice ``near`` names, else under the first; those that should be
    escalated or refused are left out, and quotes that no passage holds character by character.

    Raises:
        UsageError: no item has a quote that a passage holds.
    """
    asked: dict[int, list[dict[str, Any]]] = defaultdict(list)
    impossible = []
    for item in items:
        if expected_status(item) is Status.ABSTAINED:
            impossible.append(item)
        elif expected_status(item) is Status.ANSWERED:
            place = _place(library, item)
            if place is not None:
                row, start, quote = place
                asked[row].append({"id": item.id, "question": item.question, "answers": [{"text": quote, "answer_start": start}], "is_impossible": False})
    if not asked:
        raise UsageError(f"no item of '{domain.name}' has a quote that a passage of its library holds; SQuAD asks for spans")
    passages = {row: stored.passage for row, (stored, _, _) in library.passages(sorted(asked)).items()}
    titles = {row: stored for row, (stored, _, _) in library.passages(sorted(asked)).items()}
    for item in impossible:
        near = next((row for row in asked if titles[row].external_id == item.slice.get("near") and passages[row].lang == item.lang), min(asked))
        asked[near].append({"id": item.id, "question": item.question, "answers": [], "is_impossible": True})
    articles: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(asked):
        articles[titles[row].title].append({"context": passages[row].text, "qas": asked[row]})
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]
    return {f"{domain.name}.json": json.dumps({"version": "v2.0", "data": data}, ensure_ascii=False, indent=1) + "\n"}


def _place(library: Library, item: EvalItem) -> tuple[int, int, str] | None:
    """Return the passage's row, the offset and the characters of an item's first quote that a passage holds."""
    for source in item.sources:
        for row, _, _ in library.places_of(external_id=source.document, lang=item.lang, quote=source.quote) if source.quote else ():
            found = library.passages([row])[row][0].passage.text
            at = found.find(source.quote)
            if at >= 0:
                return row, at, source.quote
    return None
