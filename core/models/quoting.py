"""The embedded answerer: selects the sentences that answer, verbatim, in reading order. Never invents a word."""

from __future__ import annotations

from collections.abc import Iterator

from core.models import Draft, Quote, Request

PASSAGE_WEIGHT = 0.6
"""Weight of a passage's own score beside its sentence's when the best sentence is chosen across passages."""
RELATIVE_FLOOR = 0.62
"""A further sentence is quoted when its score reaches this share of the best sentence's."""
POOL = 3
"""Hits whose sentences compete."""


class QuotingAnswerer:
    """Quotes the best sentence and its fellows from the same passage.

    One passage, because an answer assembled from several reads as a collage and cites what was only similar.
    """

    needs_prompt = False

    def __init__(self, *, encoder_id: str = "") -> None:
        self.name = f"quoting/{encoder_id}" if encoder_id else "quoting"

    def answer(self, request: Request) -> Draft:
        """Return the quotes, in reading order; none when there are no hits."""
        best: tuple[float, int, int] | None = None
        for n, hit in enumerate(request.hits[:POOL]):
            for m, score in enumerate(hit.sentence_scores):
                value = PASSAGE_WEIGHT * hit.score + (1 - PASSAGE_WEIGHT) * score
                if best is None or value > best[0]:
                    best = (value, n, m)
        if best is None:
            return Draft()
        _, n, m = best
        scores = request.hits[n].sentence_scores
        chosen = {m}
        # The sentence after the best one usually completes it; others must earn their place.
        ranked = sorted(range(len(scores)), key=lambda s: (-(scores[s] + (0.08 if s == m + 1 else 0.0)), s))
        for s in ranked:
            if len(chosen) >= min(request.max_sentences, 3):
                break
            if scores[s] + (0.08 if s == m + 1 else 0.0) >= RELATIVE_FLOOR * scores[m]:
                chosen.add(s)
        return Draft(quotes=tuple(Quote(hit=n, sentence=s) for s in sorted(chosen)))

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the quoted sentences one by one."""
        for quote in self.answer(request).quotes:
            passage = request.hits[quote.hit].passage
            span = passage.sentences[quote.sentence]
            yield passage.text[span.start - passage.start : span.end - passage.start] + " "
