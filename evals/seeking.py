"""How early the passage that answers a question comes among all passages by the cosine of vectors alone: what an encoder or adapter does by itself.

The whole assistant hides much of it behind keywords, question bank and ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.eval_items import EvalItem
from core.library import Library
from core.types import Language

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sought:
    """Questions whose answering passages a library holds, and all its passages by language."""

    ids: tuple[str, ...]
    """Of the items."""
    questions: tuple[str, ...]
    languages: tuple[Language, ...]
    right: tuple[frozenset[int], ...]
    """Rows of the passages that answer each."""
    rows: Mapping[str, NDArray[np.int64]]
    row_ids: NDArray[np.int64]
    vectors: Vectors


def sought(library: Library, items: Sequence[EvalItem]) -> Sought:
    """Return the items whose expected quotes stand in passages of a library."""
    found: list[tuple[EvalItem, frozenset[int]]] = []
    for item in items:
        places = frozenset(
            row for source in item.sources if source.quote for row, _, _ in library.places_of(external_id=source.document, lang=item.lang, quote=source.quote)
        )
        if places:
            found.append((item, places))
    row_ids, vectors = library.vectors()
    return Sought(
        ids=tuple(item.id for item, _ in found), questions=tuple(item.question for item, _ in found), languages=tuple(item.lang for item, _ in found),
        right=tuple(places for _, places in found), rows=library.rows_by_language(), row_ids=row_ids, vectors=vectors,
    )  # fmt: skip


def reciprocal_ranks(asked: Vectors, found: Sought) -> NDArray[np.float64]:
    """Return 1 / rank (n,) of the first passage that answers, among all of the question's language by cosine; ``asked`` are the questions' vectors (n, d)."""
    ranks = np.zeros(len(asked))
    for lang, rows in found.rows.items():
        place_of = {row: place for place, row in enumerate(rows.tolist())}
        chosen = [n for n, language in enumerate(found.languages) if language == lang]
        scores = asked[chosen] @ found.vectors[np.searchsorted(found.row_ids, rows)].T
        for n, scored in zip(chosen, scores, strict=True):
            right = [place_of[row] for row in found.right[n] if row in place_of]
            if right:
                ranks[n] = 1 / (1 + int((scored > scored[right].max()).sum()))
    return ranks
